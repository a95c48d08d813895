"""`run`: the whole of a run, on one page."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import msgspec

from harness._native.clock import realtime_offset_ns
from harness.engine.budget import begin_spending, budgeted
from harness.engine.checks import check_agents
from harness.engine.crew import work
from harness.engine.environment import collect_environment
from harness.engine.limits import provide_files
from harness.engine.places import check_gpus
from harness.engine.placing import LOCAL
from harness.engine.plan import Plan, make_plan
from harness.engine.pricing import prices_for
from harness.engine.resume import Resume, new_session, same_plan, standing
from harness.engine.schedule import Schedule, make_schedule
from harness.engine.seams import Observer, RunSink, Scene, Silent, TapFactory, TransportFactory
from harness.host import Host
from harness.protocols import Executor
from harness.schema import (
    SCHEMA_VERSION,
    Environment,
    Manifest,
    PriceRecord,
    RunSpec,
)
from harness.transport import open_transport
from harness.transport.tap import open_tap

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
    open_tap: TapFactory = open_tap,
    resume: Resume | None = None,
    executor: Executor | None = None,
) -> Outcome:
    """Execute `spec` and hand every record to `sink` as it is made. With `resume`, only what is
    missing of that earlier run of the same spec. `executor` places the trials that are to run in
    processes of their own (default: the one that the spec names); it is closed at the end.

    Raises SpecError before anything is started, and BackendError where an agent's program is not
    there. An interrupt (task cancellation) is not raised but
    is the outcome's state, so that the caller can save what there is; so is a failure of the first
    trial. Failures of later trials are recorded, and the run goes on, unless it is the sink that
    failed. StoreError, if the sink takes no record at all.
    """
    seen = observer or Silent()
    asked, plan = spec, make_plan(spec, host)
    if resume is not None:
        plan = same_plan(resume, plan, host)
        asked = plan.spec
    spec = plan.spec
    check_agents(dict.fromkeys(name for arm in plan.arms for name in arm.agents), host.agents)
    if plan.isolation == "process" and plan.executor.name == LOCAL:
        check_gpus(spec.placement, "$.placement")
    provide_files(plan)
    environment = collect_environment(spec, host)
    prices = _prices(plan, resume)
    schedule = budgeted(make_schedule(plan), plan, prices)
    seen.run_started(plan)
    manifest, salt = _begin(plan, prices, environment, sink, schedule, seen, resume)
    host.run_started(spec, environment)
    scene = Scene(plan, salt, host, sink, seen, open_transport, open_tap, prices)
    executor = (
        (executor or plan.executor.make(spec.placement)) if plan.isolation == "process" else None
    )
    state, failure = await work(scene, sink, schedule, asked, executor)
    ended = msgspec.structs.replace(manifest, state=state, ended=_now())
    return Outcome(manifest=ended, error=failure)


def _prices(plan: Plan, resume: Resume | None) -> tuple[PriceRecord, ...]:
    """Those of the day on which the run began: no figure of it changes with the price."""
    if resume is not None:
        return resume.run.manifest.prices
    return prices_for(plan, datetime.now(UTC).date().isoformat())


def _begin(
    plan: Plan,
    prices: tuple[PriceRecord, ...],
    environment: Environment,
    sink: RunSink,
    schedule: Schedule,
    seen: Observer,
    resume: Resume | None,
) -> tuple[Manifest, str]:
    """The manifest, which the sink has then taken, and what its prompts are salted with: something
    new for each session, since a server may know the prompts of a trial that was cut short."""
    if resume is None:
        manifest = _manifest(plan.spec, plan, prices, environment)
        sink.begin(manifest)
        begin_spending(schedule)
        return manifest, manifest.run_id
    session = new_session(resume, environment)
    for record in standing(resume, session):
        schedule.see(record)
        seen.recorded_before(record)
    begin_spending(schedule, resume.paid or resume.run.records)
    manifest = msgspec.structs.replace(resume.run.manifest, state="running", ended=None, error=None)
    resume.begin(manifest, session)
    return manifest, f"{manifest.run_id}.{len(resume.run.sessions) + 1}"


def _manifest(
    spec: RunSpec, plan: Plan, prices: tuple[PriceRecord, ...], environment: Environment
) -> Manifest:
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
        prices=prices,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
