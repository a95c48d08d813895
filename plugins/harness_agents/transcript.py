"""All that a program said from its start to its end, read once and put in order: which call, which
phase. judging.py says whether it keeps to the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct, field

from harness.text import one_line
from harness_agents.protocol import (
    Begin,
    CallEnd,
    CallMark,
    CallSent,
    Clock,
    Event,
    Extra,
    Failed,
    Hello,
    PhaseMark,
    Ready,
    Result,
    Violation,
    read_event,
)

__all__ = ["Call", "Transcript", "kind_of", "read_transcript", "shown"]

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

    @property
    def complete(self) -> bool:
        """Whether it says that it came to its end: else what is missing is no fault of its own."""
        return self.result is not None


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
            script.broken.append(Violation("result", f"{kind_of(event)} comes behind the end"))
        if not script.events and not isinstance(event, Hello | Failed):  # a refusal comes first
            script.broken.append(Violation("hello", f"{kind_of(event)} comes before hello"))
        script.events.append(event)
        script.broken += _note(script, event, open_phases)
    if script.complete:
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
        yield Violation("calls", f"{shown(event.call)}: {kind_of(event)} comes twice")
        return
    if slot != "sent" and call.sent is None:
        yield Violation("calls", f"{shown(event.call)}: {kind_of(event)} comes before call_sent")
    setattr(call, slot, event)


def kind_of(event: Event) -> str:
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


def shown(name: str) -> str:
    return one_line(name, 80)
