"""Ollama's dialect, 0.30 and later: NDJSON, figures in ns on the last line, zero ones left out.

The head goes with the first line. `context` of /api/generate is not sent: its numbers would be
invented. `harness_sim` on the last line names the request in the log; real servers have no such
field.
"""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec

from harness.testing.sim.asked import Asked
from harness.testing.sim.draft import CONTENT, END, REASONING, Draft, http_head
from harness.testing.sim.timeline import Timeline
from harness.testing.sim.voice import Counts

__all__ = ["OllamaVoice", "created_at"]

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
        self._model = asked.model
        self._version = version
        self._offset_ns = realtime_offset_ns

    def draft(self, timeline: Timeline, words: list[str], counts: Counts) -> Draft:
        draft = Draft(
            head=http_head(200, "application/x-ndjson", version=self._version), head_due_ns=None
        )
        before, between, after = self._template(reasoning=False)
        stamps = _Stamps()
        for index, (word, due_ns) in enumerate(zip(words, timeline.due_ns, strict=True)):
            if index < timeline.reasoning_chunks:
                line = self._line({"thinking": word}, due_ns)
                draft.add(line, due_ns, REASONING)
                continue
            stamp = stamps.at(due_ns + self._offset_ns)
            line = before + stamp + between + msgspec.json.encode(word) + after
            draft.add(line, due_ns, CONTENT)
        draft.add(self._last(timeline, counts), timeline.end_ns, END)
        return draft

    def whole(self, timeline: Timeline, words: list[str], counts: Counts) -> dict[str, object]:
        split = timeline.reasoning_chunks
        said = {"content": "".join(words[split:])}
        if split:
            said["thinking"] = "".join(words[:split])
        answer = self._said(said, timeline.end_ns)
        return answer | self._figures(timeline, counts)

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

    def _last(self, timeline: Timeline, counts: Counts) -> bytes:
        found = self._said({}, timeline.end_ns) | self._figures(timeline, counts)
        return msgspec.json.encode(found) + b"\n"

    def _figures(self, timeline: Timeline, counts: Counts) -> dict[str, Any]:
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
            **{name: value for name, value in figures.items() if value},
        }


class _Stamps:
    """created_at, quoted, for many instants close to each other."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def at(self, realtime_ns: int) -> bytes:
        second, ns = divmod(realtime_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._text = created_at(second * 1_000_000_000)[:-10]
        return f"{self._text}{ns:09d}Z".encode()
