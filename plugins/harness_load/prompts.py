"""A JSON Lines file of prompts: read once, strictly, every mistake with its file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from harness.errors import ScenarioError
from harness.schema import Message, Request

__all__ = ["read_prompts"]


class _Turn(Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant", "tool"]
    content: str


class _Line(Struct, frozen=True, forbid_unknown_fields=True):
    """One line. A misspelt key is refused: silently dropping a bound would change the work."""

    prompt: str | None = None
    messages: tuple[_Turn, ...] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give exactly one of `prompt` and `messages`")
        if self.messages is not None and not self.messages:
            raise ValueError("`messages` is empty")
        if self.prompt is not None and not self.prompt.strip():
            raise ValueError("`prompt` is empty")


def read_prompts(path: str, form: Literal["chat", "prompt"] | None) -> list[Request]:
    """The requests of a file, in its order; blank lines are skipped.

    `max_tokens` is None where the line gives none. Raises ScenarioError naming file and line.
    """
    try:
        data = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ScenarioError(
            f"cannot read the prompts: {error.strerror or error}",
            where=path,
            remedy="-o prompts=FILE with a JSON Lines file that exists",
        ) from None
    decoder = msgspec.json.Decoder(_Line)
    found = [
        _request(decoder, line, form, f"{path}:{number}")
        for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)
        if line.strip()
    ]
    if not found:
        raise ScenarioError(
            "the file holds no prompt: an empty workload measures nothing",
            where=path,
            remedy='put {"prompt": "…"} on a line of it',
        )
    return found


def _request(
    decoder: msgspec.json.Decoder[_Line],
    raw: bytes,
    form: Literal["chat", "prompt"] | None,
    where: str,
) -> Request:
    try:
        line = decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ScenarioError(
            f"not a prompt line: {error}", where=where, remedy='{"prompt": "…"} on one line'
        ) from None
    if line.prompt is not None:
        if form == "chat":
            message = Message(role="user", content=line.prompt)
            return Request(messages=(message,), max_tokens=line.max_tokens)
        return Request(prompt=line.prompt, max_tokens=line.max_tokens)
    if form == "prompt":
        raise ScenarioError(
            "has `messages`, and messages cannot be sent as a bare prompt",
            where=where,
            remedy="leave out `form`, or give `prompt` on this line",
        )
    turns = line.messages or ()
    messages = tuple(Message(role=turn.role, content=turn.content) for turn in turns)
    return Request(messages=messages, max_tokens=line.max_tokens)
