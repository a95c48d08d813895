"""Answers of OpenAI-compatible servers: SSE, with the differences that dialects.py lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from harness.testing.sim.asked import Asked
from harness.testing.sim.dialects import TRAITS, error_body, error_payload, timings_of, usage_of
from harness.testing.sim.draft import COMMENT, CONTENT, EMPTY, END, REASONING, Draft, http_head
from harness.testing.sim.openrouter import Route
from harness.testing.sim.spec import SimSpec
from harness.testing.sim.timeline import Timeline
from harness.testing.sim.voice import Counts

__all__ = ["OpenAIVoice"]

PADS: Final = "aBcDeFgHiJkLmNoPqRsTuVwX"
"""OpenAI's frames are padded to hide how long a token is."""
DONE: Final = b"data: [DONE]\n\n"


class OpenAIVoice:
    """A Voice; see there."""

    def __init__(
        self,
        spec: SimSpec,
        asked: Asked,
        ident: str,
        version: str,
        unix_s: int,
        *,
        route: Route | None = None,
        metadata: bool = False,
        from_cache: bool = False,
    ) -> None:
        """`route`: where OpenRouter sends it; `metadata`: it is to say so; `from_cache`: the answer
        is an earlier one, and costs nothing."""
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
        if route is not None:
            self._base["provider"] = route.provider
        self._routed = {"openrouter_metadata": route.metadata} if route and metadata else {}
        self._from_cache = from_cache
        self._pads = self._traits.obfuscation and asked.obfuscation
        self._no_usage: dict[str, Any] = {}
        """Of frames that have none."""
        if self._traits.usage_null and asked.include_usage:
            self._no_usage = {"usage": None}

    # ---------------------------------------------------------------------------------- a stream

    def draft(self, timeline: Timeline, words: list[str], counts: Counts) -> Draft:
        traits = self._traits
        if self._from_cache:
            counts = Counts(0, 0, 0, 0)
        media = "text/event-stream; charset=utf-8"
        head = http_head(200, media, version=self._version, more=self.headers)
        draft = Draft(head=head, head_due_ns=timeline.start_ns if traits.head_at_start else None)
        first_ns = timeline.due_ns[0]
        if traits.waiting is not None:
            for _ in range(self._spec.comments):
                draft.add(self.comment(), timeline.start_ns, COMMENT)
        if self._chat and traits.role != "none":
            due_ns = timeline.start_ns if traits.role == "start" else first_ns
            draft.add(self._role(**self._so_far(counts, 0)), due_ns, EMPTY)
        self._add_content(draft, timeline, words, counts)
        self._add_end(draft, timeline, counts)
        return draft

    @property
    def ident(self) -> str:
        return str(self._base["id"])

    @property
    def headers(self) -> tuple[str, ...]:
        """Of an answer, beside those of any HTTP."""
        if self._spec.dialect != "openrouter":
            return ()
        cached = ("X-OpenRouter-Cache-Status: HIT",) if self._from_cache else ()
        return (f"X-Generation-Id: {self.ident}", *cached)

    def _add_content(
        self, draft: Draft, timeline: Timeline, words: list[str], counts: Counts
    ) -> None:
        fill = self._filler(counts)
        if fill and not timeline.reasoning_chunks and not self._counts_usage():
            frames = {word: fill(word, 0) for word in set(words)}  # of which there are few
            draft.extend([frames[word] for word in words], timeline.due_ns, CONTENT)
            return
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
            before, _, rest = self._delta("@text@").partition(b'"@text@"')
            if not self._pads:
                return lambda word, tokens: before + encode(word) + rest
            between, _, after = rest.partition(_pad("@text@").encode())
            return lambda word, tokens: (
                before + encode(word) + between + _pad(word).encode() + after
            )
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
            more["usage"] = usage_of(self._spec, counts)
        else:
            more |= self._so_far(counts, counts.output)
        timings = {}
        if traits.timings:
            timings = {"timings": timings_of(timeline, counts, counts.output, end_ns)}
        if not separate:
            more |= timings
        draft.add(self._finish(timeline, more), end_ns, END)
        if separate:
            more = {"usage": usage_of(self._spec, counts)} | timings | self._routed
            draft.add(self._event({**self._base, "choices": [], **more}), end_ns, END)
        if traits.done:
            draft.add(DONE, end_ns, END)

    def _counts_usage(self) -> bool:
        asked = self._asked
        return self._traits.continuous_usage and asked.include_usage and asked.continuous_usage

    def _running(
        self, timeline: Timeline, counts: Counts, tokens: int, now_ns: int
    ) -> dict[str, Any]:
        if self._traits.timings and self._asked.timings_per_token:
            return {"timings": timings_of(timeline, counts, tokens, now_ns)}
        return self._so_far(counts, tokens)

    def _so_far(self, counts: Counts, tokens: int) -> dict[str, Any]:
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
        return self._frame(self._choice(delta, None), more, text)

    def _role(self, **more: Any) -> bytes:
        delta = {"role": "assistant", "content": self._traits.role_content}
        return self._frame(self._choice(delta, None), more)

    def _frame(self, choice: dict[str, Any], more: dict[str, Any], text: str = "") -> bytes:
        found = {**self._base, "choices": [choice], **self._no_usage, **more}
        if self._pads:
            found["obfuscation"] = _pad(text)
        return self._event(found)

    def _finish(self, timeline: Timeline, more: dict[str, Any]) -> bytes:
        reason = "stop" if timeline.stopped else "length"
        extra = dict(self._traits.finish)
        if self._spec.dialect == "openrouter":
            extra["native_finish_reason"] = reason
        choice = self._choice({}, reason, **extra)
        return self._frame(choice, more)

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
        usage = usage_of(self._spec, counts)
        found = {**self._base, "object": kind, "choices": [choice], "usage": usage, **self._routed}
        if self._traits.timings:
            found["timings"] = timings_of(timeline, counts, counts.output, timeline.end_ns)
        return found

    def text_frame(self, text: str, due_ns: int) -> bytes:
        return self._delta(text)

    def empty_frames(self, due_ns: int) -> list[bytes]:
        return [self._role(), self._delta(""), self._event({**self._base, "choices": []})]

    def raw_frame(self, payload: bytes) -> bytes:
        return b"data: " + payload + b"\n\n"

    def comment(self) -> bytes:
        return f": {self._traits.waiting or 'keep-alive'}\n\n".encode()

    def error_frames(self, message: str) -> tuple[list[bytes], bool]:
        payload = error_payload(self._traits, self._base, message)
        frames = [self._delta("") if payload is None else self._event(payload)]
        if self._traits.done_after_error:
            frames.append(DONE)
        return frames, self._spec.dialect in ("openai", "llamacpp")

    def error_body(self, status: int, message: str) -> dict[str, object]:
        return error_body(self._traits, status, message)


def _pad(text: str) -> str:
    return PADS[: 16 - len(text) % 16]
