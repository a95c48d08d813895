"""The dialects of OpenAI-compatible servers: SSE, and how each differs from the others.

The differences are data (TRAITS); reference: the servers' own code, by versions of 2026.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from harness.testing.sim.asked import Asked
from harness.testing.sim.draft import COMMENT, CONTENT, EMPTY, END, REASONING, Draft, http_head
from harness.testing.sim.spec import Dialect, SimSpec
from harness.testing.sim.timeline import Timeline
from harness.testing.sim.voice import Counts

__all__ = ["TRAITS", "OpenAIVoice", "Traits"]


class Traits(Struct, frozen=True, kw_only=True):
    """What one server does and another does not."""

    reasoning: str | None = "reasoning_content"
    """The field of a delta; None: it has none, and reasoning is not shown."""
    head_at_start: bool = True
    """The HTTP head is sent when the request's turn comes; else with the first frame."""
    role: Literal["start", "first", "none"] = "first"
    """A frame of its own with the role: before generating, or right before the first content."""
    role_content: str | None = ""
    usage: Literal["asked", "finish", "always"] = "asked"
    """A frame of its own if asked for; on the finish frame; a frame of its own in any case."""
    continuous_usage: bool = False
    done: bool = True
    done_after_error: bool = False
    error: Literal["object", "flat", "text", "lost", "choice"] = "object"
    timings: bool = False
    finish: tuple[tuple[str, Any], ...] = ()
    """More fields of the finish choice."""
    more: tuple[tuple[str, Any], ...] = ()
    """More fields of every frame."""


TRAITS: Final[dict[Dialect, Traits]] = {
    "openai": Traits(reasoning=None, role="first", more=(("system_fingerprint", "fp_sim"),)),
    "vllm": Traits(
        reasoning="reasoning",
        continuous_usage=True,
        done_after_error=True,
        finish=(("stop_reason", None),),
    ),
    "sglang": Traits(
        continuous_usage=True,
        done_after_error=True,
        error="flat",
        finish=(("matched_stop", None),),
    ),
    "llamacpp": Traits(
        role="start",
        role_content=None,
        timings=True,
        more=(("system_fingerprint", "b10488-sim"),),
    ),
    "transformers": Traits(role="start", usage="finish", done=False, error="text"),
    "ollama": Traits(
        reasoning="reasoning",
        head_at_start=False,
        role="none",
        error="lost",
        more=(("system_fingerprint", "fp_ollama"),),
    ),
    "openrouter": Traits(
        reasoning="reasoning",
        role="none",
        usage="always",
        error="choice",
        more=(("provider", "harness-sim"),),
    ),
}


class OpenAIVoice:
    """A Voice; see there."""

    def __init__(self, spec: SimSpec, asked: Asked, ident: str, version: str, unix_s: int) -> None:
        self._spec = spec
        self._traits = TRAITS[spec.dialect]
        self._asked = asked
        self._chat = asked.api == "chat"
        self._version = version
        kind = "chat.completion" if self._chat else "text_completion"
        self._base: dict[str, Any] = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-sim-{ident}",
            "object": f"{kind}.chunk" if self._chat else kind,
            "created": unix_s,
            "model": asked.model,
            **dict(self._traits.more),
        }

    # ---------------------------------------------------------------------------------- a stream

    def draft(self, timeline: Timeline, words: list[str], counts: Counts) -> Draft:
        traits = self._traits
        head = http_head(200, "text/event-stream; charset=utf-8", version=self._version)
        draft = Draft(head=head, head_due_ns=timeline.start_ns if traits.head_at_start else None)
        first_ns = timeline.due_ns[0]
        if self._spec.dialect == "openrouter":
            for _ in range(self._spec.comments):
                draft.add(b": OPENROUTER PROCESSING\n\n", timeline.start_ns, COMMENT)
        if self._chat and traits.role != "none":
            due_ns = timeline.start_ns if traits.role == "start" else first_ns
            draft.add(self._role(), due_ns, EMPTY)
        self._add_content(draft, timeline, words, counts)
        self._add_end(draft, timeline, counts)
        return draft

    def _add_content(
        self, draft: Draft, timeline: Timeline, words: list[str], counts: Counts
    ) -> None:
        fill = self._filler(counts)
        tokens = 0
        for index, (word, due_ns) in enumerate(zip(words, timeline.due_ns, strict=True)):
            tokens += timeline.tokens[index]
            reasoning = self._chat and index < timeline.reasoning_chunks
            if reasoning and self._traits.reasoning is None:
                continue
            if reasoning or fill is None:
                more = self._running(timeline, counts, tokens, due_ns)
                frame = self._delta(word, reasoning=reasoning, **more)
            else:
                frame = fill(word, tokens)
            draft.add(frame, due_ns, REASONING if reasoning else CONTENT)

    def _filler(self, counts: Counts) -> Callable[[str, int], bytes] | None:
        """Makes content frames from a template: nearly every frame is one of these, and there may
        be a hundred thousand a second. None: they differ in more than text and counts."""
        if self._traits.timings and self._asked.timings_per_token:
            return None
        encode = msgspec.json.encode
        if not self._counts_usage():
            before, _, after = self._delta("@text@").partition(b'"@text@"')
            return lambda word, tokens: before + encode(word) + after
        usage = {
            "prompt_tokens": counts.prompt,
            "completion_tokens": 10**11,
            "total_tokens": 10**12,
        }
        frame = self._delta("@text@", usage=usage)
        before, _, rest = frame.partition(b'"@text@"')
        between, _, after = rest.partition(b'100000000000,"total_tokens":1000000000000')
        prompt = counts.prompt
        return lambda word, tokens: (
            b'%b%b%b%d,"total_tokens":%d%b'
            % (
                before,
                encode(word),
                between,
                tokens,
                prompt + tokens,
                after,
            )
        )

    def _add_end(self, draft: Draft, timeline: Timeline, counts: Counts) -> None:
        traits, end_ns = self._traits, timeline.end_ns
        separate = traits.usage == "always" or (
            traits.usage == "asked" and self._asked.include_usage
        )
        more: dict[str, Any] = {}
        if traits.usage == "finish":
            more["usage"] = self._usage(counts)
        timings = {"timings": _timings(timeline, counts, counts.output, end_ns)}
        if traits.timings and not separate:
            more |= timings
        draft.add(self._finish(timeline, more), end_ns, END)
        if separate:
            more = {"usage": self._usage(counts)} | (timings if traits.timings else {})
            draft.add(self._event({**self._base, "choices": [], **more}), end_ns, END)
        if traits.done:
            draft.add(b"data: [DONE]\n\n", end_ns, END)

    def _counts_usage(self) -> bool:
        asked = self._asked
        return self._traits.continuous_usage and asked.include_usage and asked.continuous_usage

    def _running(
        self, timeline: Timeline, counts: Counts, tokens: int, now_ns: int
    ) -> dict[str, Any]:
        if self._traits.timings and self._asked.timings_per_token:
            return {"timings": _timings(timeline, counts, tokens, now_ns)}
        if not self._counts_usage():
            return {}
        usage = {
            "prompt_tokens": counts.prompt,
            "completion_tokens": tokens,
            "total_tokens": counts.prompt + tokens,
        }
        return {"usage": usage}

    # -------------------------------------------------------------------------------- its frames

    def _event(self, payload: dict[str, Any]) -> bytes:
        return b"data: " + msgspec.json.encode(payload) + b"\n\n"

    def _choice(self, delta: dict[str, Any], finish: str | None, **more: Any) -> dict[str, Any]:
        said = {"delta": delta} if self._chat else {"text": delta.get("content") or ""}
        return {"index": 0, **said, "logprobs": None, "finish_reason": finish, **more}

    def _delta(self, text: str, *, reasoning: bool = False, **more: Any) -> bytes:
        delta: dict[str, Any] = {"content": text}
        if reasoning:
            assert self._traits.reasoning is not None
            delta = {self._traits.reasoning: text}
            if self._spec.dialect == "openrouter":
                delta |= {
                    "content": "",
                    "reasoning_details": [{"type": "reasoning.text", "text": text}],
                }
        elif self._chat and self._spec.dialect in ("ollama", "openrouter"):
            delta = {"role": "assistant", "content": text}
        return self._event({**self._base, "choices": [self._choice(delta, None)], **more})

    def _role(self) -> bytes:
        delta = {"role": "assistant", "content": self._traits.role_content}
        return self._event({**self._base, "choices": [self._choice(delta, None)]})

    def _finish(self, timeline: Timeline, more: dict[str, Any]) -> bytes:
        reason = "stop" if timeline.stopped else "length"
        extra = dict(self._traits.finish)
        if self._spec.dialect == "openrouter":
            extra["native_finish_reason"] = reason
        choice = self._choice({}, reason, **extra)
        return self._event({**self._base, "choices": [choice], **more})

    def _usage(self, counts: Counts) -> dict[str, Any]:
        dialect = self._spec.dialect
        usage: dict[str, Any] = {
            "prompt_tokens": counts.prompt,
            "completion_tokens": counts.output,
            "total_tokens": counts.prompt + counts.output,
        }
        shown = self._spec.cached_tokens_shown and dialect in ("vllm", "sglang")
        if shown or dialect in ("openai", "openrouter"):
            usage["prompt_tokens_details"] = {"cached_tokens": counts.cached}
        if dialect == "sglang":
            usage["reasoning_tokens"] = counts.reasoning
        if dialect in ("openai", "openrouter"):
            usage["completion_tokens_details"] = {"reasoning_tokens": counts.reasoning}
        if dialect == "openrouter":
            cost = (counts.prompt + counts.output) * self._spec.cost_usd_per_token
            usage |= {"cost": cost, "cost_details": {"upstream_inference_cost": None}}
        return usage

    # ------------------------------------------------------------------------------ and the rest

    def whole(self, timeline: Timeline, words: list[str], counts: Counts) -> dict[str, object]:
        split = timeline.reasoning_chunks if self._chat else 0
        text = "".join(words[split:])
        choice: dict[str, Any] = {
            "index": 0,
            "logprobs": None,
            "finish_reason": "stop" if timeline.stopped else "length",
        }
        if self._chat:
            message: dict[str, Any] = {"role": "assistant", "content": text}
            if split and self._traits.reasoning:
                message[self._traits.reasoning] = "".join(words[:split])
            choice["message"] = message
        else:
            choice["text"] = text
        kind = "chat.completion" if self._chat else "text_completion"
        found = {**self._base, "object": kind, "choices": [choice], "usage": self._usage(counts)}
        if self._traits.timings:
            found["timings"] = _timings(timeline, counts, counts.output, timeline.end_ns)
        return found

    def text_frame(self, text: str, due_ns: int) -> bytes:
        return self._delta(text)

    def empty_frames(self, due_ns: int) -> list[bytes]:
        return [self._role(), self._delta(""), self._event({**self._base, "choices": []})]

    def raw_frame(self, payload: bytes) -> bytes:
        return b"data: " + payload + b"\n\n"

    def comment(self) -> bytes:
        return b": keep-alive\n\n"

    def error_frames(self, message: str) -> tuple[list[bytes], bool]:
        traits = self._traits
        detail = {"message": message, "type": "server_error", "param": None, "code": 500}
        match traits.error:
            case "object":
                frames = [self._event({"error": detail})]
            case "flat":
                frames = [self._event({"object": "error", **detail})]
            case "text":
                frames = [self._event({"error": message})]
            case "lost":
                frames = [self._delta("")]
            case "choice":
                choice = self._choice({"content": ""}, "error")
                error = {"code": 502, "message": message, "metadata": {"error_type": "upstream"}}
                frames = [self._event({**self._base, "error": error, "choices": [choice]})]
        if traits.done_after_error:
            frames.append(b"data: [DONE]\n\n")
        return frames, self._spec.dialect in ("openai", "llamacpp")

    def error_body(self, status: int, message: str) -> dict[str, object]:
        kind = "server_error" if status >= 500 else "invalid_request_error"
        match self._traits.error:
            case "flat":
                return {"object": "error", "message": message, "type": kind, "code": status}
            case "text":
                return {"detail": message}
            case "choice":
                return {"error": {"code": status, "message": message}}
            case _:
                detail = {"message": message, "type": kind, "param": None, "code": status}
                return {"error": detail}


def _timings(timeline: Timeline, counts: Counts, tokens: int, now_ns: int) -> dict[str, Any]:
    """llama.cpp's, in ms; the timer starts when the slot does."""
    evaluated = counts.prompt - counts.cached
    prompt_ms = timeline.prompt_ns / 1e6
    predicted_ms = (now_ns - timeline.due_ns[0]) / 1e6
    return {
        "cache_n": counts.cached,
        "prompt_n": evaluated,
        "prompt_ms": prompt_ms,
        "prompt_per_token_ms": prompt_ms / evaluated,
        "prompt_per_second": 1e3 * evaluated / prompt_ms if prompt_ms else None,
        "predicted_n": tokens,
        "predicted_ms": predicted_ms,
        "predicted_per_token_ms": predicted_ms / tokens,
        "predicted_per_second": 1e3 * tokens / predicted_ms if predicted_ms else None,
    }
