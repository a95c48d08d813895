"""A run that is taken up again: what of it stands, what is void, and whether it is the same run.

Trials are the unit. One that ended stands; one that was cut short runs again from its beginning,
with the seeds of its place in the plan. What was recorded of it before stays in the log, and is
void.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

import msgspec

import harness
from harness._native.clock import realtime_offset_ns
from harness.engine.guard import DOES_NOT_FIT
from harness.engine.plan import Plan, make_plan
from harness.engine.specfile import digest, plain
from harness.engine.till import BUDGET
from harness.errors import SpecError, StoreError
from harness.host import Host
from harness.protocols import RunData
from harness.schema import (
    Environment,
    Manifest,
    Record,
    RetryRecord,
    RunSpec,
    SessionRecord,
    TrialRecord,
)

__all__ = [
    "Resume",
    "conditions",
    "differences",
    "is_unpaid",
    "new_session",
    "same_plan",
    "session_after",
    "standing",
]

SHOWN_MAX = 3

CONDITIONS = (
    "hostname_digest",
    "cpu_model",
    "cpu_count",
    "cpu_affinity",
    "cpu_governor",
    "kernel",
    "gpus",
    "python",
    "harness_version",
    "packages",
    "native_build",
)
"""Of an environment: what may change a figure."""


class Resume(msgspec.Struct, frozen=True, kw_only=True):
    """Handed to `run`: an earlier run of the same spec, as it was loaded."""

    run: RunData
    begin: Callable[[Manifest, SessionRecord], object] = lambda manifest, session: None
    """Called in place of the sink's `begin`: from now on its records are of this session."""
    paid: Callable[[], Iterable[Record | RetryRecord | SessionRecord]] | None = None
    """Every record that there is, void ones too: what they say was spent is spent. None: as
    `run.records()`."""
    retry_failed: bool = False
    """Trials that ended in an error run again, too, and those whose model did not fit."""


def same_plan(resume: Resume, plan: Plan, host: Host) -> Plan:
    """The plan of the earlier run, in the order in which its spec was written. Raises SpecError if
    `plan` is another one, naming the first fields that differ."""
    manifest = resume.run.manifest
    where = f"run {manifest.run_id}"
    same_version = manifest.environment.harness_version == harness.__version__
    if same_version and digest(manifest.spec) != manifest.spec_digest:
        raise StoreError(
            "the spec in its run.json is not the one that it was made with",
            where=where,
            remedy="restore run.json, or run again from the start",
        )
    if digest(manifest.spec) != plan.digest:
        found = differences(manifest.spec, plan.spec)
        more = f" and {len(found) - SHOWN_MAX} more" if len(found) > SHOWN_MAX else ""
        raise SpecError(
            f"the spec is another one: {'; '.join(found[:SHOWN_MAX])}{more}",
            where=where,
            remedy=f"harness run --resume {manifest.run_id} goes on with its own; or start a new "
            "run",
        )
    plan = make_plan(manifest.spec, host)
    planned = tuple((t.arm.name, t.cell, t.trial) for t in plan.trials)
    if planned != manifest.plan:
        raise SpecError(
            f"this version plans it in another order ({harness.__version__}; it was begun with "
            f"{manifest.environment.harness_version})",
            where=where,
            remedy="the version that it was begun with, or a new run",
        )
    return plan


def differences(old: RunSpec, new: RunSpec) -> list[str]:
    """`path: old → new` of every field that differs, defaults filled in."""
    before, after = _leaves(plain(old)), _leaves(plain(new))
    return [
        f"{path}: {before.get(path, 'nothing')} → {after.get(path, 'nothing')}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]


def _leaves(value: object, path: str = "$") -> dict[str, str]:
    if isinstance(value, dict) and value:
        found: dict[str, str] = {}
        for key, item in value.items():
            found |= _leaves(item, f"{path}.{key}")
        return found
    text = msgspec.json.encode(value).decode()
    return {path: text if len(text) <= 60 else f"{text[:59]}…"}


def session_after(resume: Resume) -> SessionRecord:
    """Which trials stand, and which are void and run again."""
    begun: set[int] = set()
    ends: dict[int, TrialRecord] = {}
    for record in resume.run.records():
        begun.add(record.trial)
        if isinstance(record, TrialRecord):
            ends[record.trial] = record
    void = _void(resume, begun, ends)
    return SessionRecord(
        started=datetime.now(UTC).isoformat(timespec="milliseconds"),
        realtime_offset_ns=realtime_offset_ns()[0],
        superseded=tuple(sorted(void)),
        stands=tuple(sorted(begun - void)),
    )


def new_session(resume: Resume, environment: Environment) -> SessionRecord:
    """What is to be written where the run goes on."""
    before = [one.environment for one in resume.run.sessions if one.environment is not None]
    last = before[-1] if before else resume.run.manifest.environment
    session = session_after(resume)
    if _lasting(environment) == _lasting(last):
        return session
    return msgspec.structs.replace(session, environment=environment)


def standing(resume: Resume, session: SessionRecord) -> Iterator[Record]:
    """What was recorded before and still counts."""
    void = frozenset(session.superseded)
    return (record for record in resume.run.records() if record.trial not in void)


def _void(resume: Resume, begun: set[int], ends: dict[int, TrialRecord]) -> set[int]:
    """Trials without an end, or with one that an interrupt made; and those whose failure ended the
    run. What was skipped because of figures that are void now is decided anew."""
    whole = {trial for trial, end in ends.items() if end.status != "cancelled"}
    void = begun - whole
    # What the budget ended has failed of nothing, and there is no money to do it again.
    failed = {trial for trial, end in ends.items() if end.status == "error" and not is_unpaid(end)}
    if resume.retry_failed:
        void |= failed | {trial for trial, end in ends.items() if _did_not_fit(end)}
    elif resume.run.manifest.state == "failed":
        void |= failed & _last_ended(resume, [*ends.values()])
    if void & failed:
        void.update(trial for trial, end in ends.items() if end.status == "skipped")
    return void


def is_unpaid(end: TrialRecord) -> bool:
    return end.error is not None and end.error.code == BUDGET


def _did_not_fit(end: TrialRecord) -> bool:
    """There may be more memory now."""
    return end.error is not None and end.error.code == DOES_NOT_FIT


def _last_ended(resume: Resume, ends: list[TrialRecord]) -> set[int]:
    """Trials of the last session after whose end none was begun that ended well. With several at
    once the one that ended the run need not be the last in the log."""
    sessions = resume.run.sessions
    before = frozenset(sessions[-1].stands) if sessions else frozenset()
    own = [end for end in ends if end.trial not in before]
    begun_ns = max((_span_ns(end)[0] for end in own if end.status == "ok"), default=0)
    return {end.trial for end in own if _span_ns(end)[1] >= begun_ns}


def _span_ns(end: TrialRecord) -> tuple[int, int]:
    """By the run's own clock."""
    return end.home_ns or (end.start_ns, end.end_ns)


def _lasting(environment: Environment) -> Environment:
    """Without what differs from one minute to the next: what plugins call so is under `now`."""
    collected = {
        plugin: {name: fact for name, fact in facts.items() if name != "now"}
        if isinstance(facts, dict)
        else facts
        for plugin, facts in environment.collected.items()
    }
    return msgspec.structs.replace(environment, load_average=None, collected=collected)


def conditions(environment: Environment) -> dict[str, str]:
    """What may change a figure, flat: name → value as text."""
    found: dict[str, str] = {}
    for name in CONDITIONS:
        value = getattr(environment, name)
        if isinstance(value, dict):
            found |= {f"{name}.{key}": str(item) for key, item in value.items()}
        elif value not in (None, ()):
            found[name] = str(value)
    ours = {key: v for key, v in environment.variables.items() if not key.startswith("HARNESS_")}
    return found | {f"variables.{key}": item for key, item in ours.items()}
