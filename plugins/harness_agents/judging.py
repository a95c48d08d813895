"""Whether a program kept to the rules that can be judged by its words alone.

`judge` looks at everything and gives every rule that was broken; a run ends at the first, and
`harness agent check` shows them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from harness.text import listed, one_line
from harness_agents.protocol import VERSION, CallEnd, Job, Violation
from harness_agents.transcript import Call, Transcript, kind_of, shown

__all__ = ["judge"]


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
                yield f"{kind_of(event)} of {shown(call.name)}", event.at_ns


def _judge_phases(script: Transcript, job: Job) -> Iterator[Violation]:
    for name, start_ns, end_ns in script.phases:
        if end_ns < start_ns:
            yield Violation("phases", f"{one_line(name, 60)} ends before it starts")
    if not script.complete:
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
            yield Violation("calls", f"{shown(name)} is no call of this job")
        elif call.sent is not None and call.sent.stage != planned[name][1]:
            yield Violation("calls", f"{shown(name)} is said to be of stage {call.sent.stage!r}")
        if call.end is None and script.complete:
            yield Violation("calls", f"{shown(name)} was sent and never ended")
        elif call.end is not None:
            yield from _judge_fields(call.end, job)
    if not script.complete:
        return
    for stream in range(job.streams):
        yield from _judge_stream(script, job, stream)


def _judge_fields(end: CallEnd, job: Job) -> Iterator[Violation]:
    if end.status != "ok":
        if end.error is None:
            yield Violation("fields", f"call_end of {shown(end.call)} has no error")
    elif job.keep_text and end.text is None:
        yield Violation("fields", f"call_end of {shown(end.call)} has no text")


def _judge_stream(script: Transcript, job: Job, stream: int) -> Iterator[Violation]:
    """Each stage once, one after another; none behind one that failed."""
    before: CallEnd | None = None
    for stage in job.stages:
        name = f"{job.agent}.{stream}.{stage.name}"
        call = script.calls.get(name)
        if before is not None and before.status != "ok":
            if call is not None:
                yield Violation("calls", f"{shown(name)} was made after one that failed")
            continue
        if call is None or call.sent is None:
            yield Violation("calls", f"{shown(name)} was never made")
            return
        if before is not None and call.sent.at_ns < before.at_ns:
            yield Violation("calls", f"{shown(name)} was sent before the stage before it ended")
        if call.end is None:
            return
        before = call.end


def _judge_stamps(script: Transcript) -> Iterator[Violation]:
    begin_ns = script.begin.at_ns if script.begin else None
    end_ns = script.result.at_ns if script.result else None
    for call in script.calls.values():
        events = [e for e in (call.sent, call.first, call.last, call.end) if e is not None]
        stamped = [(kind_of(e), e.at_ns) for e in events if e.at_ns is not None]
        course = [("begin", begin_ns), *stamped, ("result", end_ns)]
        known = [(what, at_ns) for what, at_ns in course if at_ns is not None]
        for (one, one_ns), (two, two_ns) in pairwise(known):
            if two_ns < one_ns:
                yield Violation("stamps", f"{shown(call.name)}: {two} is earlier than {one}")
        for mark in (call.first, call.last):
            if mark is not None and mark.at_ns is None and not (mark.reason or "").strip():
                yield Violation("reason", f"{shown(call.name)}: {mark.t} is null without one")
        yield from _judge_tokens(call)


def _judge_tokens(call: Call) -> Iterator[Violation]:
    """Content has a first and a last token; no content has none."""
    end = call.end
    if end is None:
        return
    marks = (call.first, call.last)
    if end.content_chunks and None in marks:
        yield Violation("fields", f"{shown(call.name)}: content, and no first or last token")
    if not end.content_chunks and any(mark and mark.at_ns is not None for mark in marks):
        yield Violation("stamps", f"{shown(call.name)}: a token, and no content")


def _judge_chunks(script: Transcript) -> Iterator[Violation]:
    """`chunk_ns`, of a job that asked for it."""
    for call in script.calls.values():
        end, first, last = call.end, call.first, call.last
        if end is None or (first is not None and first.at_ns is None):
            continue  # who cannot see the first token cannot see the others either
        stamps = end.chunk_ns
        if stamps is None:
            if end.content_chunks:
                yield Violation("chunks", f"{shown(call.name)}: there are none")
            continue
        if len(stamps) != end.content_chunks:
            many = f"{len(stamps)} stamps of {end.content_chunks} chunks"
            yield Violation("chunks", f"{shown(call.name)}: {many}")
        elif any(two < one for one, two in pairwise(stamps)):
            yield Violation("chunks", f"{shown(call.name)}: they do not ascend")
        elif stamps and (
            (first and stamps[0] != first.at_ns) or (last and stamps[-1] != last.at_ns)
        ):
            what = "not from the first token's to the last token's"
            yield Violation("chunks", f"{shown(call.name)}: {what}")


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
