"""Streams that share a bandwidth: processor sharing, and what it makes of every stream's instants.

With k streams decoding, each gets min(1 / gap, shared / k): alone it goes at the pace of its own
gaps, and where all of them together would exceed `shared_tok_s`, all are slowed down alike. A
stream decodes from its first chunk with content to its last; prompts are read apart.

So one clock does for all of them. *Work* is what a chunk takes alone; while every stream is slowed
down s-fold, each does 1 / s ns of work in a ns. The work that a stream could have done since the
beginning is a function of time that bends where a stream joins or leaves, and a chunk is due where
it reaches the chunk's own. Joins and leaves of requests that are here are known beforehand, so that
instants change only when a request comes, or a client goes.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from itertools import accumulate, pairwise

from msgspec import Struct, field

from harness.testing.sim.laws import Replay, mean_ms
from harness.testing.sim.spec import SimSpec
from harness.testing.sim.timeline import Timeline

__all__ = ["Sharing"]


class Stream(Struct, kw_only=True):
    """One answer under way. Work in ns."""

    works: list[float]
    """Up to each chunk, from the first on: begins with 0."""
    due_ns: list[int]
    """As last planned."""
    planned: bool = False


class Bend(Struct, frozen=True):
    """From here on, each ns of work takes `slowness` ns."""

    at_ns: float
    work: float
    slowness: float


class Entry(Struct, frozen=True):
    """Where a stream joined: the work done by then, and the first bend that concerns it."""

    work: float
    bend: int


class Flow(Struct, kw_only=True):
    """Where the work stands, and what comes next: ends by work, joins by instant."""

    at_ns: float = -math.inf
    work: float = 0.0
    ends: list[tuple[float, int]] = field(default_factory=list)
    joins: list[tuple[float, int]] = field(default_factory=list)
    bends: list[Bend] = field(default_factory=list)
    """Since the last plan; the first is where that was made."""
    entries: dict[int, Entry] = field(default_factory=dict)

    def copy(self) -> Flow:
        return Flow(
            at_ns=self.at_ns,
            work=self.work,
            ends=[*self.ends],
            joins=[*self.joins],
            bends=[*self.bends],
            entries={**self.entries},
        )


class Sharing:
    """Use: join and leave as requests come and go, then plan() for the instants that changed."""

    def __init__(self, spec: SimSpec) -> None:
        """spec.shared_tok_s is given."""
        assert spec.shared_tok_s is not None and not isinstance(spec.gap, Replay)
        gap_s = mean_ms(spec.gap) / 1e3
        self._shared_tok_s = spec.shared_tok_s
        self._alone_tok_s = spec.tokens_per_chunk / gap_s if gap_s else None
        """None: nothing else bounds a stream."""
        self._flow = Flow()
        self._streams: dict[int, Stream] = {}

    def slowness(self, streams: int) -> float:
        """How many times as long as alone a chunk takes."""
        if self._alone_tok_s is None:
            return float(streams)
        return max(1.0, streams * self._alone_tok_s / self._shared_tok_s)

    def join(self, serial: int, at_ns: int, timeline: Timeline) -> None:
        """A request that came at `at_ns`, or whose turn did; `timeline` is as if it were alone."""
        self._run(self._flow, at_ns)
        due_ns = timeline.due_ns
        if self._alone_tok_s is None:
            gaps = [tokens / self._shared_tok_s * 1e9 for tokens in timeline.tokens[1:]]
        else:
            gaps = [float(b - a) for a, b in pairwise(due_ns)]
        works = list(accumulate(gaps, initial=0.0))
        self._streams[serial] = Stream(works=works, due_ns=[*due_ns])
        heappush(self._flow.joins, (max(float(due_ns[0]), self._flow.at_ns), serial))

    def leave(self, serial: int, at_ns: int) -> None:
        """Its client went away, or its answer ended before all was sent. Nothing happens for one
        that had all."""
        flow = self._flow
        self._run(flow, at_ns)
        if self._streams.pop(serial, None) is None:
            return
        flow.entries.pop(serial, None)
        flow.ends = [end for end in flow.ends if end[1] != serial]
        flow.joins = [join for join in flow.joins if join[1] != serial]
        heapify(flow.ends)
        heapify(flow.joins)
        flow.bends.append(self._bend(flow))

    def plan(self) -> dict[int, list[int]]:
        """Of each stream whose instants have changed since the last plan: when each chunk is due.
        What was due before that plan stays as it was."""
        flow = self._flow
        ahead = flow.copy()
        self._run(ahead, math.inf)
        changed: dict[int, list[int]] = {}
        for serial, stream in self._streams.items():
            due_ns = _due(stream, ahead.entries[serial], ahead.bends)
            if not stream.planned or _differ(due_ns, stream.due_ns):
                stream.due_ns, stream.planned = due_ns, True
                changed[serial] = due_ns
        for serial in self._streams.keys() - {serial for _, serial in [*flow.ends, *flow.joins]}:
            del self._streams[serial]  # it had all
            flow.entries.pop(serial, None)
        flow.entries = {serial: Entry(entry.work, 0) for serial, entry in flow.entries.items()}
        flow.bends = [self._bend(flow)]
        return changed

    # ------------------------------------------------------------------------------------------

    def _run(self, flow: Flow, to_ns: float) -> None:
        """Up to this instant. Time does not go back: stamps of two requests may be a little out of
        order."""
        while (following := self._next_ns(flow)) <= to_ns and following < math.inf:
            self._pass(flow, following)
            flow.bends.append(self._bend(flow))
        if flow.at_ns < to_ns < math.inf:
            self._pass(flow, to_ns)

    def _next_ns(self, flow: Flow) -> float:
        """Of the next join or end; never before now."""
        found = flow.joins[0][0] if flow.joins else math.inf
        if flow.ends:
            left = max(0.0, flow.ends[0][0] - flow.work)
            found = min(found, flow.at_ns + left * self.slowness(len(flow.ends)))
        return found

    def _pass(self, flow: Flow, to_ns: float) -> None:
        """Go on to the next event, or to before it."""
        if flow.ends:
            flow.work += (to_ns - flow.at_ns) / self.slowness(len(flow.ends))
        flow.at_ns = to_ns
        # An end that rounding puts a hair ahead is now: waiting for it would take no time at all,
        # and its last chunk must not be left over for whoever decodes next.
        while flow.ends and self._next_end_ns(flow) <= to_ns:
            flow.work = max(flow.work, heappop(flow.ends)[0])
        while flow.joins and flow.joins[0][0] <= to_ns:
            serial = heappop(flow.joins)[1]
            heappush(flow.ends, (flow.work + self._streams[serial].works[-1], serial))
            flow.entries[serial] = Entry(flow.work, len(flow.bends))

    def _next_end_ns(self, flow: Flow) -> float:
        left = flow.ends[0][0] - flow.work
        return flow.at_ns + left * self.slowness(len(flow.ends))

    def _bend(self, flow: Flow) -> Bend:
        return Bend(flow.at_ns, flow.work, self.slowness(len(flow.ends)))


def _due(stream: Stream, entry: Entry, bends: list[Bend]) -> list[int]:
    """By the bends, which are in order. What was done when the first was made is as it was."""
    found: list[int] = []
    at, last = entry.bend, len(bends) - 1
    done = bends[0].work if stream.planned and entry.bend == 0 else -math.inf
    for index, work in enumerate(stream.works):
        target = entry.work + work
        if target <= done:
            found.append(stream.due_ns[index])
            continue
        while at < last and bends[at + 1].work < target:
            at += 1
        bend = bends[at]
        found.append(round(bend.at_ns + (target - bend.work) * bend.slowness))
    return found


def _differ(one: list[int], other: list[int]) -> bool:
    """By more than rounding."""
    return any(abs(a - b) > 1 for a, b in zip(one, other, strict=True))
