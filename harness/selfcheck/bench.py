"""`check`: the whole of a self-check, on one page."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from harness.engine.environment import cpu_model, host_digest, native_digest
from harness.engine.limits import raise_file_limit
from harness.errors import HarnessError
from harness.host import Host
from harness.schema import ClosedLoad, OpenLoad, SelfCheck
from harness.selfcheck.cores import allowed_cores, siblings, split_cores
from harness.selfcheck.drive import AnswerWith, Driven, Options, drive, prepare_host
from harness.selfcheck.figures import figures_of, request_slips, server_was_late
from harness.selfcheck.found import Check, Highest, LoadFound, Machine, Step
from harness.selfcheck.highest import search
from harness.selfcheck.loads import FLAT_OUT, PACED, TOK_S, Load, Plan
from harness.selfcheck.server import Truth, merged, on_cores
from harness.testing.sim.log import SimLog

__all__ = ["Bench", "Progress", "check"]

Progress = Callable[[str], None]
"""Told what is about to be tried, in a few words."""

RAMP: Final = (2_000, 4_000)
"""Streams that are tried beyond the loads."""
FILES_BESIDE: Final = 256
"""Open files that are not streams: ours, the transport's reserve, the server's."""
RAMP_TOKENS: Final = 60
REQUESTS_MIN: Final = 100
"""Of a step: the p99 of the send lag decides."""
LEAD_S: Final = 0.05
"""The engine's: from the start of an open loop to its first request."""


def check(
    plan: Plan,
    host: Host,
    progress: Progress = lambda _: None,
    answer_with: AnswerWith = lambda _: None,
) -> Check:
    """Makes the check on this machine; takes some 15 s or two minutes. Raises HarnessError where it
    cannot be made, KeyboardInterrupt where it was interrupted; the servers are gone either way.

    `answer_with` is cli.signals.Signals', so that a signal cancels the load that is being driven.
    """
    began = time.monotonic()
    prepare_host(host)
    files = raise_file_limit()
    plan, left_out = _possible(plan, files)
    allowed, load_average = allowed_cores(), os.getloadavg()[0]
    client, server = split_cores(allowed, siblings)
    with on_cores(client), _bench(host, server, progress, answer_with) as bench:
        loads = _all_loads(plan, bench)
        chunk_rate = _chunk_rate(plan, loads, bench, files)
        request_rate = _request_rate(plan, bench)
    machine = Machine(
        cpu=cpu_model(),
        kernel=platform.release(),
        cores=len(allowed),
        load_average=load_average,
        client_cores=client,
        server_cores=server,
        realtime=bench.realtime,
        host_digest=host_digest(),
        native_digest=native_digest(),
    )
    return Check(
        selfcheck=SelfCheck(
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            mode=plan.mode,
            native_digest=machine.native_digest,
            loads=tuple(one.figures for one in loads),
            chunks_per_s_max=chunk_rate.per_s,
            requests_per_s_max=request_rate.per_s,
        ),
        machine=machine,
        loads=loads,
        chunk_rate=chunk_rate,
        request_rate=request_rate,
        seconds=time.monotonic() - began,
        left_out=left_out,
    )


def _all_loads(plan: Plan, bench: Bench) -> tuple[LoadFound, ...]:
    """Repeats go round all loads, so that a bad moment of the machine is not one load's alone.

    Where it was the server that came late, the load was not the one that was asked for: it is done
    once more, and counts as that turns out. What we ourselves did is never done again."""
    made: dict[Load, list[tuple[Driven, SimLog]]] = {load: [] for load in plan.loads}
    again = dict.fromkeys(plan.loads, 0)
    for repeat in range(max((load.repeats for load in plan.loads), default=0)):
        for load, found in made.items():
            if repeat >= load.repeats:
                continue
            driven, log = bench.load(load)
            if load.rate_tok_s is not None and server_was_late(driven, log):
                again[load] += 1
                driven, log = bench.load(load)
            found.append((driven, log))
    return tuple(
        figures_of(
            load,
            [driven for driven, _ in found],
            merged([log for _, log in found]),
            done_again=again[load],
        )
        for load, found in made.items()
    )


def _chunk_rate(plan: Plan, loads: Sequence[LoadFound], bench: Bench, files: int | None) -> Highest:
    """The paced loads are the first steps. The full check goes on from there, and tries those that
    slipped once more: it has the time not to take another program's turn for our limit."""
    figures = [one.figures for one in loads]
    known = [
        Step(
            per_s=one.streams * one.rate_tok_s,
            held=bool(one.held),
            slipped=found.slipped,
        )
        for one, found in zip(figures, loads, strict=True)
        if one.rate_tok_s is not None
    ]

    def attempt(per_s: float) -> tuple[str, ...]:
        streams = max(1, round(per_s / TOK_S))
        load = Load(streams=streams, requests=streams, tokens=RAMP_TOKENS)
        driven, log = bench.load(load)
        return figures_of(load, [driven], log).slipped

    if not plan.bisect:
        return search(attempt, (), known=known)
    held = [step for step in known if step.held]
    most = max((step.per_s for step in held), default=0.0)
    again = [step.per_s for step in known if step.per_s > most]
    ramp = [n * TOK_S for n in RAMP if files is None or n + FILES_BESIDE <= files]
    return search(attempt, [*again, *ramp], known=held, bisect=True)


def _request_rate(plan: Plan, bench: Bench) -> Highest:
    def attempt(per_s: float) -> tuple[str, ...]:
        requests = max(REQUESTS_MIN, round(per_s * plan.request_s))
        driven, log = bench.requests(per_s, requests)
        return tuple(request_slips(driven, log, LEAD_S + requests / per_s))

    return search(attempt, plan.request_rates, bisect=plan.bisect)


class Bench:
    """Two servers, one that paces its answers and one that does not, and the way to drive them."""

    def __init__(
        self,
        host: Host,
        paced: Truth,
        flat_out: Truth,
        progress: Progress,
        answer_with: AnswerWith,
    ) -> None:
        self._host = host
        self._paced = paced
        self._flat_out = flat_out
        self._progress = progress
        self._answer_with = answer_with

    @property
    def realtime(self) -> bool | None:
        """Of both; None if it is not known of one."""
        both = {self._paced.realtime, self._flat_out.realtime}
        return None if None in both else both == {True}

    def load(self, load: Load) -> tuple[Driven, SimLog]:
        self._progress(load.name)
        truth = self._flat_out if load.rate_tok_s is None else self._paced
        shape = ClosedLoad(concurrency=load.streams, requests=load.requests)
        options = Options(tokens=load.tokens, prompt_words=load.settle_ms)
        driven = drive(self._host, truth.url, shape, options, self._answer_with)
        return driven, truth.log_of(driven.calls)

    def requests(self, per_s: float, requests: int) -> tuple[Driven, SimLog]:
        """An open loop of calls with a single token."""
        self._progress(f"{per_s:,.0f} requests per second")
        shape = OpenLoad(rate_per_s=per_s, arrival="constant", requests=requests)
        url, options = self._flat_out.url, Options(tokens=1)
        driven = drive(self._host, url, shape, options, self._answer_with)
        return driven, self._flat_out.log_of(driven.calls)


@contextmanager
def _bench(
    host: Host, cores: Sequence[int], progress: Progress, answer_with: AnswerWith
) -> Iterator[Bench]:
    """Servers that run while this is open. They start side by side, on `cores`."""
    progress("starting the truth server")
    words = ["--dialect", "vllm", *(["--realtime"] if cores else [])]
    with tempfile.TemporaryDirectory(prefix="harness-selfcheck-") as folder, ExitStack() as stack:
        paced = Truth(Path(folder) / "paced", [*words, *PACED], cores)
        stack.callback(paced.stop)
        flat_out = Truth(Path(folder) / "flat-out", [*words, *FLAT_OUT], cores)
        stack.callback(flat_out.stop)
        paced.wait()
        flat_out.wait()
        yield Bench(host, paced, flat_out, progress, answer_with)


def _possible(plan: Plan, files: int | None) -> tuple[Plan, tuple[str, ...]]:
    """The loads that the limit on open files allows, and the names of the others. Raises
    HarnessError if none is left."""
    if files is None:
        return plan, ()
    loads = tuple(load for load in plan.loads if load.streams + FILES_BESIDE <= files)
    if not loads:
        raise HarnessError(
            f"the limit on open files is {files}", remedy=f"ulimit -n {4 * FILES_BESIDE}"
        )
    left_out = tuple(load.name for load in plan.loads if load not in loads)
    return msgspec.structs.replace(plan, loads=loads), left_out
