"""All that a program said from its start to its end, read once and put in order: which call, which
phase, and whether it keeps to the rules that can be judged by its words alone.

`judge` looks at everything and gives every rule that was broken; a run ends at the first, and
`harness agent check` shows them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from msgspec import Struct, field

from harness.text import listed, one_line
from harness_agents.protocol import (
    VERSION,
    Begin,
    CallEnd,
    CallMark,
    CallSent,
    Clock,
    Event,
    Extra,
    Failed,
    Hello,
    Job,
    PhaseMark,
    Ready,
    Result,
    Violation,
    read_event,
)

__all__ = ["Call", "Transcript", "judge", "read_transcript"]

_EXTRAS_MAX = 1000


class Call(Struct, kw_only=True):
    """What was said of one call."""

    name: str
    sent: CallSent | None = None
    first: CallMark | None = None
    last: CallMark | None = None
    end: CallEnd | None = None


class Transcript(Struct, kw_only=True):
    """Events in their order, and by what they are about."""

    events: list[Event] = field(default_factory=list)
    broken: list[Violation] = field(default_factory=list)
    """Found while reading: what is no event at all, or comes twice."""
    hello: Hello | None = None
    ready: bool = False
    begin: Begin | None = None
    phases: list[tuple[str, int, int]] = field(default_factory=list)
    """(name, start_ns, end_ns), by end."""
    calls: dict[str, Call] = field(default_factory=dict)
    result: Result | None = None
    failed: Failed | None = None
    extras: list[dict[str, Any]] = field(default_factory=list)
    extras_left_out: int = 0
    unreadable: bool = False
    """A line was not understood: what follows from all of them cannot be judged."""


def read_transcript(lines: Iterable[bytes]) -> Transcript:
    """Lines of standard output, without LF. Never raises on any bytes."""
    script = Transcript()
    open_phases: dict[str, int] = {}
    for line in lines:
        event = read_event(line)
        if isinstance(event, Violation):
            script.broken.append(event)
            script.unreadable |= event.rule != "event"
            continue
        if script.result is not None or script.failed is not None:
            script.broken.append(Violation("result", f"{_kind(event)} comes behind the end"))
        if not script.events and not isinstance(event, Hello | Failed):  # a refusal comes first
            script.broken.append(Violation("hello", f"{_kind(event)} comes before hello"))
        script.events.append(event)
        script.broken += _note(script, event, open_phases)
    if _complete(script):
        script.broken += [
            Violation("phases", f"{one_line(name, 60)} is never ended") for name in open_phases
        ]
    return script


def _note(script: Transcript, event: Event, open_phases: dict[str, int]) -> Iterator[Violation]:
    match event:
        case Hello():
            if script.hello is not None:
                yield Violation("hello", "comes twice")
            script.hello = event
        case Ready():
            if script.ready:
                yield Violation("ready", "comes twice")
            script.ready = True
        case Clock():
            if script.ready:
                yield Violation("clock", "an answer comes behind ready")
        case Begin():
            if script.begin is not None:
                yield Violation("barrier", "begin comes twice")
            if not script.ready:
                yield Violation("ready", "begin comes before ready")
            script.begin = event
        case PhaseMark(t="phase_start"):
            if event.name in open_phases:
                yield Violation("phases", f"{one_line(event.name, 60)} is started twice")
            open_phases[event.name] = event.at_ns
        case PhaseMark():
            started_ns = open_phases.pop(event.name, None)
            if started_ns is None:
                yield Violation("phases", f"{one_line(event.name, 60)} ends without a start")
            else:
                script.phases.append((event.name, started_ns, event.at_ns))
        case CallSent() | CallMark() | CallEnd():
            yield from _note_call(script.calls, event)
        case Result():
            script.result = script.result or event
        case Failed():
            script.failed = script.failed or event
        case Extra():
            if len(script.extras) < _EXTRAS_MAX:
                script.extras.append(event.fields)
            else:
                script.extras_left_out += 1


def _note_call(calls: dict[str, Call], event: CallSent | CallMark | CallEnd) -> Iterator[Violation]:
    call = calls.setdefault(event.call, Call(name=event.call))
    slot = {
        CallSent: "sent",
        CallEnd: "end",
        CallMark: "first" if getattr(event, "t", "") == "call_first_token" else "last",
    }[type(event)]
    if getattr(call, slot) is not None:
        yield Violation("calls", f"{_shown(event.call)}: {_kind(event)} comes twice")
        return
    if slot != "sent" and call.sent is None:
        yield Violation("calls", f"{_shown(event.call)}: {_kind(event)} comes before call_sent")
    setattr(call, slot, event)


# ------------------------------------------------------------------------------------------ judging


def judge(script: Transcript, job: Job, *, start_ns: int | None) -> list[Violation]:
    """Every rule that these words break. `start_ns`: of the barrier; None: it was never given."""
    found = list(script.broken)
    found += _judge_opening(script)
    if start_ns is not None and not script.unreadable:
        found += _judge_barrier(script, start_ns)
        found += _judge_phases(script, job)
        found += _judge_calls(script, job)
        found += _judge_stamps(script)
        if job.chunk_stamps:
            found += _judge_chunks(script)
        found += _judge_end(script)
    return found


def _judge_opening(script: Transcript) -> Iterator[Violation]:
    hello = script.hello
    if hello is None and not any(broken.rule == "hello" for broken in script.broken):
        yield Violation("hello", "there is none")
    elif hello is not None and hello.protocol != VERSION:
        yield Violation("hello", f"of protocol {hello.protocol}, not {VERSION}")


def _judge_barrier(script: Transcript, start_ns: int) -> Iterator[Violation]:
    if script.begin is None:
        if script.failed is None:
            yield Violation("barrier", "there is no begin")
        return
    for what, at_ns in _stamps(script):
        if at_ns < start_ns:
            early_ms = (start_ns - at_ns) / 1e6
            yield Violation("barrier", f"{what} is {early_ms:.3f} ms before the start instant")
            return


def _stamps(script: Transcript) -> Iterator[tuple[str, int]]:
    if script.begin is not None:
        yield "begin", script.begin.at_ns
    for name, start_ns, end_ns in script.phases:
        yield f"phase {one_line(name, 60)}", min(start_ns, end_ns)
    for call in script.calls.values():
        for event in (call.sent, call.first, call.last, call.end):
            if event is not None and event.at_ns is not None:
                yield f"{_kind(event)} of {_shown(call.name)}", event.at_ns


def _judge_phases(script: Transcript, job: Job) -> Iterator[Violation]:
    for name, start_ns, end_ns in script.phases:
        if end_ns < start_ns:
            yield Violation("phases", f"{one_line(name, 60)} ends before it starts")
    if not _complete(script):
        return
    wanted = ["ingest"] * (job.corpus is not None)
    if job.streams == 1:
        ran = {call.sent.stage for call in script.calls.values() if call.sent is not None}
        wanted += [stage.name for stage in job.stages if stage.name in ran]
    had = {name: start_ns for name, start_ns, _ in reversed(script.phases)}
    missing = [name for name in wanted if name not in had]
    if missing:
        yield Violation("phases", f"missing: {listed(missing)}")
        return
    twice = [name for name, times in Counter(p[0] for p in script.phases).items() if times > 1]
    if any(name in wanted for name in twice):
        yield Violation("phases", f"more than once: {listed(twice)}")
    if any(had[one] > had[two] for one, two in pairwise(wanted)):
        yield Violation("phases", f"not in the order {listed(wanted)}")


def _judge_calls(script: Transcript, job: Job) -> Iterator[Violation]:
    planned = {name: (stream, stage) for stream, stage, name in job.call_names()}
    for name, call in script.calls.items():
        if name not in planned:
            yield Violation("calls", f"{_shown(name)} is no call of this job")
        elif call.sent is not None and call.sent.stage != planned[name][1]:
            yield Violation("calls", f"{_shown(name)} is said to be of stage {call.sent.stage!r}")
        if call.end is None and _complete(script):
            yield Violation("calls", f"{_shown(name)} was sent and never ended")
        elif call.end is not None:
            yield from _judge_fields(call.end, job)
    if not _complete(script):
        return
    for stream in range(job.streams):
        yield from _judge_stream(script, job, stream)


def _judge_fields(end: CallEnd, job: Job) -> Iterator[Violation]:
    if end.status != "ok":
        if end.error is None:
            yield Violation("fields", f"call_end of {_shown(end.call)} has no error")
    elif job.keep_text and end.text is None:
        yield Violation("fields", f"call_end of {_shown(end.call)} has no text")


def _judge_stream(script: Transcript, job: Job, stream: int) -> Iterator[Violation]:
    """Each stage once, one after another; none behind one that failed."""
    before: CallEnd | None = None
    for stage in job.stages:
        name = f"{job.agent}.{stream}.{stage.name}"
        call = script.calls.get(name)
        if before is not None and before.status != "ok":
            if call is not None:
                yield Violation("calls", f"{_shown(name)} was made after one that failed")
            continue
        if call is None or call.sent is None:
            yield Violation("calls", f"{_shown(name)} was never made")
            return
        if before is not None and call.sent.at_ns < before.at_ns:
            yield Violation("calls", f"{_shown(name)} was sent before the stage before it ended")
        if call.end is None:
            return
        before = call.end


def _judge_stamps(script: Transcript) -> Iterator[Violation]:
    begin_ns = script.begin.at_ns if script.begin else None
    end_ns = script.result.at_ns if script.result else None
    for call in script.calls.values():
        events = [e for e in (call.sent, call.first, call.last, call.end) if e is not None]
        stamped = [(_kind(e), e.at_ns) for e in events if e.at_ns is not None]
        course = [("begin", begin_ns), *stamped, ("result", end_ns)]
        known = [(what, at_ns) for what, at_ns in course if at_ns is not None]
        for (one, one_ns), (two, two_ns) in pairwise(known):
            if two_ns < one_ns:
                yield Violation("stamps", f"{_shown(call.name)}: {two} is earlier than {one}")
        for mark in (call.first, call.last):
            if mark is not None and mark.at_ns is None and not (mark.reason or "").strip():
                yield Violation("reason", f"{_shown(call.name)}: {mark.t} is null without one")
        yield from _judge_tokens(call)


def _judge_tokens(call: Call) -> Iterator[Violation]:
    """Content has a first and a last token; no content has none."""
    end = call.end
    if end is None:
        return
    marks = (call.first, call.last)
    if end.content_chunks and None in marks:
        yield Violation("fields", f"{_shown(call.name)}: content, and no first or last token")
    if not end.content_chunks and any(mark and mark.at_ns is not None for mark in marks):
        yield Violation("stamps", f"{_shown(call.name)}: a token, and no content")


def _judge_chunks(script: Transcript) -> Iterator[Violation]:
    """`chunk_ns`, of a job that asked for it."""
    for call in script.calls.values():
        end, first, last = call.end, call.first, call.last
        if end is None or (first is not None and first.at_ns is None):
            continue  # who cannot see the first token cannot see the others either
        stamps = end.chunk_ns
        if stamps is None:
            if end.content_chunks:
                yield Violation("chunks", f"{_shown(call.name)}: there are none")
            continue
        if len(stamps) != end.content_chunks:
            many = f"{len(stamps)} stamps of {end.content_chunks} chunks"
            yield Violation("chunks", f"{_shown(call.name)}: {many}")
        elif any(two < one for one, two in pairwise(stamps)):
            yield Violation("chunks", f"{_shown(call.name)}: they do not ascend")
        elif stamps and (
            (first and stamps[0] != first.at_ns) or (last and stamps[-1] != last.at_ns)
        ):
            what = "not from the first token's to the last token's"
            yield Violation("chunks", f"{_shown(call.name)}: {what}")


def _judge_end(script: Transcript) -> Iterator[Violation]:
    if script.failed is not None:
        return
    result = script.result
    if result is None:
        yield Violation("result", "there is none")
        return
    bad = [call.name for call in script.calls.values() if call.end and call.end.status != "ok"]
    if result.status == "ok" and bad:
        yield Violation("result", f"ok, though a call is not: {listed(bad, 3)}")


def _complete(script: Transcript) -> bool:
    """Whether it says that it came to its end: else what is missing is no fault of its own."""
    return script.result is not None


def _kind(event: Event) -> str:
    if isinstance(event, PhaseMark | CallMark):
        return event.t
    names: dict[type, str] = {
        Hello: "hello",
        Clock: "clock",
        Ready: "ready",
        Begin: "begin",
        CallSent: "call_sent",
        CallEnd: "call_end",
        Result: "result",
        Failed: "error",
    }
    return names.get(type(event), "an event of its own")


def _shown(name: str) -> str:
    return one_line(name, 80)
