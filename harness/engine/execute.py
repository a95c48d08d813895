"""`run`: the whole of a run, on one page."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime

import msgspec

from harness._native.clock import realtime_offset_ns
from harness.engine.environment import collect_environment
from harness.engine.limits import provide_files
from harness.engine.plan import Plan, make_plan
from harness.engine.seams import Observer, RunSink, Scene, Silent, TransportFactory
from harness.engine.trial import Trial
from harness.errors import StoreError
from harness.host import Host
from harness.schema import (
    SCHEMA_VERSION,
    Environment,
    Manifest,
    RunSpec,
    RunState,
    TrialRecord,
)
from harness.transport import open_transport

__all__ = ["Outcome", "run"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended. What it measured went to the sink."""

    manifest: Manifest
    """As it began, with the state in which it ended."""
    error: BaseException | None = None


async def run(
    spec: RunSpec,
    host: Host,
    sink: RunSink,
    observer: Observer | None = None,
    *,
    open_transport: TransportFactory = open_transport,
) -> Outcome:
    """Execute `spec` and hand every record to `sink` as it is made.

    Raises SpecError before anything is started. An interrupt (task cancellation) is not raised but
    is the outcome's state, so that the caller can save what there is; so is a failure of the first
    trial. Failures of later trials are recorded, and the run goes on, unless it is the sink that
    failed. StoreError, if the sink takes no record at all.
    """
    seen = observer or Silent()
    plan = make_plan(spec, host)
    spec = plan.spec
    provide_files(plan)
    environment = collect_environment(spec, host)
    manifest = _manifest(spec, plan, environment)
    sink.begin(manifest)
    host.run_started(spec, environment)
    scene = Scene(plan, manifest.run_id, host, sink, seen, open_transport)
    state: RunState = "finished"
    failure: BaseException | None = None
    for planned in plan.trials:
        seen.trial_started(planned, len(plan.trials))
        record, failure = await _uncancelled(Trial(planned, scene))
        host.trial_finished(record)
        if isinstance(failure, asyncio.CancelledError):
            state = "interrupted"
            break
        if failure is not None and (planned.trial == 0 or isinstance(failure, StoreError)):
            state = "failed"
            break
        failure = None
    ended = msgspec.structs.replace(manifest, state=state, ended=_now())
    return Outcome(manifest=ended, error=failure)


async def _uncancelled(trial: Trial) -> tuple[TrialRecord, BaseException | None]:
    """Execute `trial`; our own cancellation interrupts it, and it ends with what it has."""
    running = asyncio.ensure_future(trial.execute())
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await trial.interrupt(running)
        record, _ = await running
        return record, asyncio.CancelledError()


def _manifest(spec: RunSpec, plan: Plan, environment: Environment) -> Manifest:

    return Manifest(
        schema_version=SCHEMA_VERSION,
        run_id=secrets.token_hex(4),
        name=spec.name or spec.scenario.name,
        state="running",
        spec=spec,
        spec_digest=plan.digest,
        plan=tuple((t.arm.name, t.cell, t.trial) for t in plan.trials),
        cells=plan.cells,
        environment=environment,
        started=_now(),
        realtime_offset_ns=realtime_offset_ns()[0],
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
