"""What can go wrong, done to an answer before it is sent.

Three sorts: the text or the counts are changed before the answer is made (prepared), the frames
afterwards (spoilt), or there is no stream at all (the desk answers instead).
"""

from __future__ import annotations

from random import Random
from typing import Final

from harness.testing.sim.asked import Asked
from harness.testing.sim.draft import (
    CLOSE,
    COMMENT,
    EMPTY,
    END,
    HOLD,
    RESET,
    Draft,
)
from harness.testing.sim.spec import Fault, SimSpec
from harness.testing.sim.timeline import Timeline
from harness.testing.sim.voice import Counts, Voice

__all__ = ["HTTP_STATUS", "UNSHARED", "UNSTREAMED", "counts_of", "fault_for", "reworded", "spoil"]

HTTP_STATUS: Final = {"http_400": 400, "http_429": 429, "http_500": 500, "http_503": 503}
UNSTREAMED: Final = ("refuse", "reset_before", "stall_before", "http_status", *HTTP_STATUS)
"""Those that leave nothing of the stream."""
UNSHARED: Final = ("trickle",)
"""Those whose answer, once it is made, goes its own way whatever other streams do: there is a piece
for each byte, and another instant may be another number of bytes."""

LONG_LINE: Final = 10 * 1024 * 1024
COMMENT_NS: Final = 100_000_000
COMMENTS_MAX: Final = 6_000

SEPARATORS: Final = "one\u2028two\u2029three\u0085four\x0bfive\x0csix\x1cseven "
HOSTILE: Final = (
    "\x1b[2J\x1b[31mred\x1b[0m\x07 ",
    "\x1b]0;title\x07\x1b]52;c;aGk=\x07 ",
    "\x1b]8;;http://127.0.0.1/\x1b\\link\x1b]8;;\x1b\\ ",
    "<script>alert(1)</script><img src=x onerror=alert(1)> ",
    "](javascript:alert(1)) | `x` | ![i](http://127.0.0.1/) ",
    "\u202egnp.exe\u202c \u200b\ufeff =1+1 @SUM(A1) ",
    "\r\n\r\nHTTP/1.1 200 OK\r\n\r\ndata: [DONE]\n\n{{7*7}}${7*7} \x00 ",
)


def fault_for(spec: SimSpec, asked: Asked, ordinal: int) -> Fault | None:
    """The first that concerns this request. One number is drawn for all rates, which lie side by
    side between 0 and 1: each fault has its whole share, wherever it stands."""
    drawn = Random(f"{spec.seed}/fault/{ordinal}").random()
    for fault in spec.faults:
        if fault.match is not None:
            hit = fault.match in asked.text
        elif fault.rate is not None:
            hit = drawn < fault.rate
            drawn -= fault.rate
        else:
            hit = ordinal in fault.requests
        if hit:
            return fault
    return None


def reworded(fault: Fault | None, words: list[str]) -> list[str]:
    """The text of each chunk, hostile where it is to be."""
    match fault.kind if fault else None:
        case "line_separators":
            return [SEPARATORS] * len(words)
        case "hostile_text":
            return [HOSTILE[i % len(HOSTILE)] for i in range(len(words))]
        case _:
            return words


def counts_of(fault: Fault | None, timeline: Timeline) -> Counts:
    """As the server reports them."""
    prompt, output = timeline.prompt_tokens, timeline.output_tokens
    if fault is not None and fault.kind == "wrong_usage":
        output = 2 * output + 7
    return Counts(prompt, timeline.cached_tokens, output, timeline.reasoning_tokens)


def spoil(draft: Draft, fault: Fault, voice: Voice) -> None:
    """Change `draft` in place. Kinds that are not of this sort leave it as it is."""
    content = draft.content()
    at = content[min(len(content) - 1, int(fault.at * len(content)))]
    due_ns = draft.due_ns[at]
    match fault.kind:
        case "reset_mid":
            _break_off(draft, at, RESET)
        case "close_mid":
            _break_off(draft, at, CLOSE)
        case "stall_mid":
            _break_off(draft, at, HOLD)
        case "truncated_chunk":
            draft.cut(at + 1)
            draft.cut_last, draft.last_chunk, draft.ending = True, False, CLOSE
        case "no_end":
            draft.cut(draft.kinds.index(END))
        case "error_mid":
            draft.cut(at)
            frames, closes = voice.error_frames("the truth server was told to fail here")
            for frame in frames:
                draft.add(frame, due_ns, END)
            if closes:
                draft.ending = CLOSE
        case "malformed_json":
            draft.frames[at] = voice.raw_frame(b'{"choices": [{"delta": {"content": "half')
        case "invalid_utf8":
            draft.frames[at] = draft.frames[at].replace(b' "', b'\xff\xfe\xc3(\xed\xa0\x80"', 1)
        case "long_line":
            draft.frames[at] = voice.text_frame("ten megabytes " * (LONG_LINE // 14), due_ns)
        case "empty_chunks":
            _insert(draft, content[0], voice.empty_frames(draft.due_ns[content[0]]))
        case "comments_only":
            _only_comments(draft, voice, draft.due_ns[content[0]])
        case "duplicate_done":
            first = draft.kinds.index(END)
            for frame in draft.frames[first:]:
                draft.add(frame, draft.due_ns[-1], END)
        case "trickle":
            draft.step_ns = round(fault.step_ms * 1e6)
        case _:
            pass


def _break_off(draft: Draft, at: int, ending: int) -> None:
    """Nothing from frame `at` on; the connection ends when that frame was due."""
    draft.tail_due_ns = draft.due_ns[at]
    draft.cut(at)
    draft.last_chunk, draft.ending = False, ending


def _insert(draft: Draft, at: int, frames: list[bytes]) -> None:
    due_ns = draft.due_ns[at]
    draft.frames[at:at] = frames
    draft.due_ns[at:at] = [due_ns] * len(frames)
    draft.kinds[at:at] = [EMPTY] * len(frames)


def _only_comments(draft: Draft, voice: Voice, due_ns: int) -> None:
    draft.cut(0)
    for index in range(COMMENTS_MAX):
        draft.add(voice.comment(), due_ns + index * COMMENT_NS, COMMENT)
    draft.last_chunk, draft.ending = False, HOLD
