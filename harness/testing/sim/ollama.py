"""Ollama's dialect, 0.30 and later: NDJSON, figures in ns on the last line, zero ones left out.

The head goes with the first line. `context` of /api/generate holds a number per word, which names
the word and is no vocabulary's. `harness_sim` on the last line names the request in the log; real
servers have no such field.
"""

from __future__ import annotations

import time
import zlib
from typing import Any, Final

import msgspec

from harness.testing.sim.asked import Asked
from harness.testing.sim.draft import CONTENT, END, REASONING, Draft, http_head
from harness.testing.sim.timeline import Timeline
from harness.testing.sim.voice import Counts

__all__ = ["OllamaVoice", "created_at"]

VOCABULARY: Final = 32_000
HANDLING_NS: Final = 50_000
"""load_duration of a warm model: small, and never zero."""


def created_at(realtime_ns: int) -> str:
    """RFC 3339 in UTC with nanoseconds, as Go writes it."""
    seconds, ns = divmod(realtime_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ns:09d}Z"


class OllamaVoice:
    """A Voice; see there."""

    def __init__(self, asked: Asked, version: str, realtime_offset_ns: int) -> None:
        self._chat = asked.api == "ollama_chat"
        self._prompt = None if self._chat or asked.raw else asked.words
        """What `context` repeats; None: there is none."""
        self._model = asked.model
        self._version = version
        self._offset_ns = realtime_offset_ns

    def draft(self, timeline: Timeline, words: list[str], counts: Counts) -> Draft:
        draft = Draft(
            head=http_head(200, "application/x-ndjson", version=self._version), head_due_ns=None
        )
        before, between, after = self._template(reasoning=False)
        stamp, offset_ns, split = _Stamps().at, self._offset_ns, timeline.reasoning_chunks
        for word, due_ns in zip(words[:split], timeline.due_ns, strict=False):
            draft.add(self._line({"thinking": word}, due_ns), due_ns, REASONING)
        ends = {word: between + msgspec.json.encode(word) + after for word in set(words)}
        due = timeline.due_ns[split:]
        lines = [
            before + stamp(due_ns + offset_ns) + ends[word]
            for word, due_ns in zip(words[split:], due, strict=True)
        ]
        draft.extend(lines, due, CONTENT)
        draft.add(self._last(timeline, words, counts), timeline.end_ns, END)
        return draft

    def whole(self, timeline: Timeline, words: list[str], counts: Counts) -> dict[str, object]:
        split = timeline.reasoning_chunks
        said = {"content": "".join(words[split:])}
        if split:
            said["thinking"] = "".join(words[:split])
        answer = self._said(said, timeline.end_ns)
        return answer | self._figures(timeline, words, counts)

    def text_frame(self, text: str, due_ns: int) -> bytes:
        return self._line({"content": text}, due_ns)

    def empty_frames(self, due_ns: int) -> list[bytes]:
        return [self._line({"content": ""}, due_ns)] * 3

    def raw_frame(self, payload: bytes) -> bytes:
        return payload + b"\n"

    def comment(self) -> bytes:
        return b"\n"

    def error_frames(self, message: str) -> tuple[list[bytes], bool]:
        return [msgspec.json.encode({"error": message}) + b"\n"], False

    def error_body(self, status: int, message: str) -> dict[str, object]:
        return {"error": message}

    def _template(self, *, reasoning: bool) -> tuple[bytes, bytes, bytes]:
        """A line around its instant and its text."""
        line = self._line({"thinking" if reasoning else "content": "@text@"}, 0)
        before, _, rest = line.partition(created_at(self._offset_ns).encode())
        between, _, after = rest.partition(b'"@text@"')
        return before, between, after

    def _line(self, said: dict[str, str], due_ns: int) -> bytes:
        return msgspec.json.encode(self._said(said, due_ns) | {"done": False}) + b"\n"

    def _said(self, said: dict[str, str], due_ns: int) -> dict[str, Any]:
        found: dict[str, Any] = {
            "model": self._model,
            "created_at": created_at(due_ns + self._offset_ns),
        }
        content = said.get("content", "")
        thinking = {"thinking": said["thinking"]} if "thinking" in said else {}
        if self._chat:
            return found | {"message": {"role": "assistant", "content": content, **thinking}}
        return found | {"response": content, **thinking}

    def _last(self, timeline: Timeline, words: list[str], counts: Counts) -> bytes:
        found = self._said({}, timeline.end_ns) | self._figures(timeline, words, counts)
        return msgspec.json.encode(found) + b"\n"

    def _figures(self, timeline: Timeline, words: list[str], counts: Counts) -> dict[str, Any]:
        context = {}
        if self._prompt is not None:
            every = [*self._prompt, *"".join(words).split()]
            context["context"] = [zlib.crc32(word.encode()) % VOCABULARY for word in every]
        figures = {
            "total_duration": timeline.end_ns - timeline.arrived_ns,
            "load_duration": timeline.load_ns + HANDLING_NS,
            "prompt_eval_count": counts.prompt,
            "prompt_eval_duration": timeline.prompt_ns,
            "eval_count": counts.output,
            "eval_duration": timeline.end_ns - timeline.due_ns[0],
        }
        return {
            "done_reason": "stop" if timeline.stopped else "length",
            "done": True,
            "harness_sim": timeline.ident,
            **context,
            **{name: value for name, value in figures.items() if value},
        }


class _Stamps:
    """created_at, quoted, for many instants close to each other."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def at(self, realtime_ns: int) -> bytes:
        second, ns = divmod(realtime_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._text = created_at(second * 1_000_000_000)[:-10].encode()
        return b"%b%09dZ" % (self._text, ns)
