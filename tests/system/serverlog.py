"""What several agents' work was, by the truth server's own log: when their first request arrived,
when the last byte of their last answer went out. The client's clock readings are not asked."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from msgspec import Struct

import harness
from harness.schema import CallRecord, IterationRecord, TrialRecord
from harness.testing.sim.beside import serial_of
from harness.testing.sim.log import read_log


class PairTruth(Struct, frozen=True):
    """One pair of iterations, all in ns."""

    together: dict[str, tuple[int, int]]
    """Agent → first arrival, last send."""
    alone: dict[str, tuple[int, int]]
    outside: float
    """By what share, at most, an agent's own time (its span) exceeds that, in either: reading the
    corpus, making the prompts, seeing what was sent. The server cannot know of it."""

    @property
    def wall_ns(self):
        return max(end for _, end in self.together.values()) - min(
            start for start, _ in self.together.values()
        )

    @property
    def alone_ns(self):
        return sum(map(_length, self.alone.values()))

    @property
    def speedup(self):
        return self.alone_ns / self.wall_ns

    @property
    def slowdowns(self):
        return {
            agent: _length(self.together[agent]) / _length(self.alone[agent])
            for agent in self.together
        }

    @property
    def load_balance(self):
        return sum(map(_length, self.together.values())) / self.wall_ns


def truth_of(folder: Path) -> dict[str, list[PairTruth]]:
    """By arm, in the order of the trials. The run's backend is `sim`, with its log kept."""
    records = list(harness.load_run(folder).records())
    calls, spans = defaultdict(list), defaultdict(dict)
    for record in records:
        if isinstance(record, CallRecord):
            calls[record.arm, record.trial, record.phase, record.iteration].append(record)
        elif isinstance(record, IterationRecord):
            place = (record.arm, record.trial, record.phase, record.iteration)
            spans[place] = {one.agent: one for one in record.spans if one.name == "agent"}
    found = defaultdict(list)
    for trial in (one for one in records if isinstance(one, TrialRecord)):
        log = read_log(Path(trial.effective.details["sim"]["log"]))
        last_ns = dict(
            zip(log.rows["serial"].tolist(), log.rows["before_ns"].tolist(), strict=True)
        )

        def work(place, log=log, last_ns=last_ns):
            """Agent → (first arrival, last send)."""
            times = defaultdict(list)
            for call in calls[place]:
                serial = serial_of(call, log.boot)
                assert serial in log.requests, "a call that the server knows nothing of"
                times[call.agent] += [log.requests[serial]["arrived_ns"], last_ns[serial]]
            return {agent: (min(both), max(both)) for agent, both in times.items()}

        iterations = sorted(
            i for a, t, p, i in spans if (a, t, p) == (trial.arm, trial.trial, "measured")
        )
        for iteration in iterations:
            both = [(trial.arm, trial.trial, phase, iteration) for phase in ("measured", "solo")]
            together, alone = map(work, both)
            outside = max(
                (spans[place][agent].end_ns - spans[place][agent].start_ns) / _length(window) - 1
                for place, windows in zip(both, (together, alone), strict=True)
                for agent, window in windows.items()
            )
            found[trial.arm].append(PairTruth(together, alone, outside))
    return dict(found)


def _length(window):
    return window[1] - window[0]
