"""What a call's record keeps of its prompt: its length, a digest, and what was said of it.

The prompt itself is not kept: it may be large, and it may be somebody's own. Length and digest are
enough to see that a server cut it, or knew it before. Computed when the reply is there: before the
send it would be latency.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct

from harness.schema import Request

__all__ = ["PromptFacts", "facts_of", "texts_of"]

DIGEST_BYTES: Final = 12
"""Among 10⁹ different prompts, two share a digest of 96 bits with a chance of 10⁻¹¹."""


class PromptFacts(Struct, frozen=True, kw_only=True):
    """See the fields of the same names in CallRecord."""

    prompt_chars: int
    prompt_digest: str
    cold_prompt: bool


def facts_of(request: Request) -> PromptFacts:
    """About 4 µs for a prompt of 1 kB, and 2 to 3 ms for one of 1 MB. Raises nothing: the call is
    over, and will be recorded, whatever a scenario put into its request."""
    texts = texts_of(request)
    digest = blake2b(digest_size=DIGEST_BYTES)
    for role, text in texts:
        # Lengths keep ("ab", "c") and ("a", "bc") apart. What a surrogate stands for is nothing
        # that a server could get, but it must not stop us here.
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(b"%b %d\n%b" % (role.encode(), len(raw), raw))
    more = [message.tool_calls for message in request.messages if message.tool_calls]
    if request.tools or more:  # servers render them into the prompt
        digest.update(_encoded((request.tools, more)))
    return PromptFacts(
        prompt_chars=sum(len(text) for _, text in texts),
        prompt_digest=digest.hexdigest(),
        cold_prompt=request.cold,
    )


def texts_of(request: Request) -> list[tuple[str, str]]:
    """(role, text) of each message; a bare prompt has no role."""
    if request.prompt is not None:
        return [("", str(request.prompt))]
    return [(str(message.role), str(message.content)) for message in request.messages]


def _encoded(value: object) -> bytes:
    try:
        return msgspec.json.encode(value, order="sorted")
    except (TypeError, ValueError, msgspec.MsgspecError):  # the backend says so, not we
        return repr(value).encode("utf-8", "surrogatepass")
