"""Do the records fit one another and the plan: counted in one pass, and held to no more than keys.

A record that was taken out leaves a log that reads well: every record has a checksum of its own,
and none of the next. What betrays it is that counts no longer balance: an iteration says how many
calls it made, a trial how many iterations it was to make, the plan which trials there are.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, TypeAlias

import msgspec

from harness.compare.audit.finding import SHOWN, Finding
from harness.compare.audit.stamps import SLACK_NS, call_oddities, span_oddities
from harness.schema import CallRecord, Effective, IterationRecord, Manifest, Record, TrialRecord
from harness.text import one_line

__all__ = ["audit_records"]

_Place: TypeAlias = tuple[int, str, int]
"""(trial, phase, iteration)"""

ODD: Final[dict[str, tuple[Literal["wrong", "doubtful"], str]]] = {
    "impossible-stamps": ("wrong", "have instants that cannot be"),
    "impossible-chunks": ("wrong", "have chunks that cannot be"),
    "impossible-rate": ("doubtful", "are faster than any hardware"),
    "impossible-figure": ("wrong", "have figures that cannot be"),
    "server-account": ("doubtful", "took less time than the server says it worked on them"),
    "zero-tokens": ("doubtful", "are ok, and gave no token: a rate of 0 or none at all"),
    "beyond-bound": ("doubtful", "gave more tokens than were allowed"),
}


def audit_records(manifest: Manifest, records: Iterable[Record]) -> Iterator[Finding]:
    """One pass over the log; then what it amounts to."""
    book = _Book(manifest)
    for record in records:
        book.enter(record)
    yield from book.twice()
    yield from book.plan()
    yield from book.balance()
    yield from book.oddities()
    yield from book.settings()


class _Book:
    """What a pass over the records leaves behind."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._planned = {trial: (arm, cell) for arm, cell, trial in manifest.plan}
        self._ids: Counter[str] = Counter()
        self._bodies: Counter[bytes] = Counter()
        self._calls: Counter[_Place] = Counter()
        self._windows: dict[_Place, list[int]] = {}
        self._iterations: dict[_Place, IterationRecord] = {}
        self._iterations_twice: list[_Place] = []
        self._trials: dict[int, TrialRecord] = {}
        self._trials_twice: list[int] = []
        self._misplaced: list[str] = []
        self._misnamed: list[str] = []
        self._odd: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._effective: dict[tuple[str, str], list[tuple[int, Effective]]] = defaultdict(list)
        self._encoder = msgspec.msgpack.Encoder()

    def enter(self, record: Record) -> None:
        self._bodies[hashlib.blake2b(self._encoder.encode(record), digest_size=16).digest()] += 1
        if self._planned.get(record.trial) != (record.arm, record.cell):
            self._misplaced.append(_name(record))
        if isinstance(record, CallRecord):
            self._enter_call(record)
        elif isinstance(record, IterationRecord):
            place = record.trial, record.phase, record.iteration
            if place in self._iterations:
                self._iterations_twice.append(place)
            self._iterations[place] = msgspec.structs.replace(
                record, metrics=(), data={}, token_checks=(), artifacts=()
            )
            self._note(_name(record), span_oddities(record))
        else:
            if record.trial in self._trials:
                self._trials_twice.append(record.trial)
            self._trials[record.trial] = record
            self._effective[record.arm, record.cell].append((record.trial, record.effective))
            self._note(_name(record), span_oddities(record))

    def _enter_call(self, call: CallRecord) -> None:
        self._ids[call.call_id] += 1
        place = call.trial, call.phase, call.iteration
        self._calls[place] += 1
        # 0003.m1.00012: an id is made of the place, and tells where a call was moved from.
        begins = f"{call.trial:04d}.{call.phase[0]}{call.iteration}."
        if not call.call_id.startswith(begins):
            self._misnamed.append(call.call_id)
        self._note(call.call_id, self._odd_call(call))
        if call.status == "not_sent":  # it was never made, and is dated when that was known
            return
        instants = call.instants
        done = instants.closed_ns or instants.end_ns or instants.due_ns
        window = self._windows.setdefault(place, [instants.due_ns, done])
        window[0], window[1] = min(window[0], instants.due_ns), max(window[1], done)

    def _odd_call(self, call: CallRecord) -> Iterator[tuple[str, str]]:
        slack = self._manifest.spec.validity.token_slack_max
        return call_oddities(call, token_slack=slack)

    def _note(self, name: str, odd: Iterator[tuple[str, str]]) -> None:
        for code, what in odd:
            self._odd[code].append((name, what))

    # ---- what it amounts to

    def twice(self) -> Iterator[Finding]:
        calls = [call_id for call_id, count in self._ids.items() if count > 1]
        same = sum(count - 1 for count in self._bodies.values() if count > 1)
        again = [*map(_place, self._iterations_twice), *(f"trial {t}" for t in self._trials_twice)]
        if calls or same or again:
            yield Finding(
                code="duplicate-records",
                severity="wrong",
                message=f"{same} records are in the log twice over, {len(calls)} call ids belong to"
                f" more than one call, {len(again)} iterations or trials ended twice",
                evidence={"call_ids": calls[:SHOWN], "ended_twice": again[:SHOWN]},
                remedy="each counts double in every figure: run it again",
            )

    def plan(self) -> Iterator[Finding]:
        if self._misplaced:
            yield Finding(
                code="not-in-plan",
                severity="wrong",
                message=f"{len(self._misplaced)} records are of another arm or cell than the plan "
                "gives their trial: arms were swapped, or records moved",
                evidence={"records": self._misplaced[:SHOWN]},
            )
        if self._misnamed:
            yield Finding(
                code="moved-call",
                severity="wrong",
                message=f"{len(self._misnamed)} calls have the id of another trial or iteration",
                evidence={"calls": self._misnamed[:SHOWN]},
            )
        if self._manifest.state != "finished":
            return
        lost = [trial for trial in self._planned if trial not in self._trials]
        if lost:
            cells = {self._planned[trial] for trial in lost}
            yield Finding(
                code="missing-trials",
                severity="wrong",
                message=f"{len(lost)} planned trials, of {len(cells)} arms and cells, have no "
                "record, although the run says that it finished",
                evidence={"trials": lost[:SHOWN], "arms_and_cells": sorted(cells)[:SHOWN]},
                remedy="harness run --resume, or run it again",
            )
        measured = {self._planned.get(trial) for trial, phase, _ in self._iterations}
        skipped = {t for t, record in self._trials.items() if record.status == "skipped"}
        empty = sorted(
            key
            for key in set(self._planned.values()) - measured
            if not all(trial in skipped for trial, at in self._planned.items() if at == key)
        )
        if empty and not lost:
            yield Finding(
                code="missing-cells",
                severity="doubtful",
                message=f"{len(empty)} arms and cells of the plan have no iteration at all",
                evidence={"arms_and_cells": empty[:SHOWN]},
            )

    def balance(self) -> Iterator[Finding]:
        """An interrupt, or a request that was refused, ends an iteration before all its calls have
        begun: it is not `ok` then, and may have fewer."""
        wrong = [
            {"where": _place(place), "planned": one.planned_calls, "recorded": self._calls[place]}
            for place, one in self._iterations.items()
            if self._calls[place] != one.planned_calls
            and not (one.status != "ok" and self._calls[place] < one.planned_calls)
        ]
        wrong += [
            {"where": _place(place), "planned": None, "recorded": count}
            for place, count in self._calls.items()
            if place not in self._iterations and self._ended_well(place[0])
        ]
        if wrong:
            yield Finding(
                code="unbalanced",
                severity="wrong",
                message=f"{len(wrong)} iterations made another number of calls than is recorded: "
                "records are missing, or were added",
                evidence={"iterations": wrong[:SHOWN]},
            )
        yield from self._iterations_per_trial()
        yield from self._within()

    def _iterations_per_trial(self) -> Iterator[Finding]:
        asked = self._manifest.spec.iterations
        wanted = {"cold": asked.cold, "warmup": asked.warmup, "measured": asked.measured}
        found = Counter((trial, phase) for trial, phase, _ in self._iterations)
        with_solo = {self._planned.get(trial) for trial, phase in found if phase == "solo"}
        wrong = [
            {"trial": trial, "phase": phase, "planned": count, "recorded": found[trial, phase]}
            for trial, record in self._trials.items()
            if record.status == "ok" and not _is_imported(record)
            for phase, count in [
                *wanted.items(),
                ("solo", asked.measured * (self._planned.get(trial) in with_solo)),
            ]
            if found[trial, phase] != count
        ]
        if wrong:
            yield Finding(
                code="missing-iterations",
                severity="wrong",
                message=f"{len(wrong)} times a trial that ended well has another number of "
                "iterations than the spec asks for",
                evidence={"trials": wrong[:SHOWN]},
            )

    def _within(self) -> Iterator[Finding]:
        """Calls within their iteration, iterations within their trial."""
        outside = []
        for place, (first, last) in self._windows.items():
            one = self._iterations.get(place)
            if one is not None and not (
                one.start_ns - SLACK_NS <= first and last <= one.end_ns + SLACK_NS
            ):
                outside.append(f"calls of {_place(place)}")
        for place, one in self._iterations.items():
            trial = self._trials.get(place[0])
            if trial is not None and not (
                trial.start_ns - SLACK_NS <= one.start_ns and one.end_ns <= trial.end_ns + SLACK_NS
            ):
                outside.append(_place(place))
        if outside:
            yield Finding(
                code="impossible-stamps",
                severity="wrong",
                message=f"{len(outside)} times something lies outside of what it is part of",
                evidence={"outside": outside[:SHOWN]},
            )

    def oddities(self) -> Iterator[Finding]:
        stubs = {t for t, record in self._trials.items() if record.effective.simulated}
        for code, (severity, what) in ODD.items():
            found = self._odd.get(code, [])
            if code == "impossible-rate":  # a stub may send as fast as it likes
                found = [one for one in found if int(one[0].split(".")[0]) not in stubs]
            if found:
                yield Finding(
                    code=code,
                    severity=severity,
                    message=f"{len(found)} records {what}; {found[0][0]}: {found[0][1]}",
                    evidence={"records": [list(one) for one in found[:SHOWN]]},
                    remedy="harness export RUN --format jsonl shows the calls",
                )

    def settings(self) -> Iterator[Finding]:
        """Did the server stay the same between the trials of one arm and cell."""
        names = ("server", "server_version", "model", "model_digest", "context_length")
        for (arm, cell), trials in self._effective.items():
            changed: dict[str, list[Any]] = {}
            for name in names:
                seen = dict.fromkeys(
                    value for _, one in trials if (value := getattr(one, name)) is not None
                )
                if len(seen) > 1:
                    changed[name] = list(seen)
            if changed:
                yield Finding(
                    code="server-changed",
                    severity="doubtful",
                    message=f"{', '.join(changed)} changed between the trials of this arm",
                    evidence={"changed": changed},
                    where=one_line(f"{arm}/{cell}", 120),
                    remedy="run it again on one server",
                )

    def _ended_well(self, trial: int) -> bool:
        record = self._trials.get(trial)
        return record is not None and record.status == "ok"


def _is_imported(record: TrialRecord) -> bool:
    return record.transport == "imported"


def _name(record: Record) -> str:
    if isinstance(record, CallRecord):
        return record.call_id
    if isinstance(record, IterationRecord):
        return _place((record.trial, record.phase, record.iteration))
    return f"trial {record.trial}"


def _place(place: _Place) -> str:
    trial, phase, iteration = place
    return f"trial {trial}, {phase} iteration {iteration}"
