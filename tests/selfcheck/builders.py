"""Checks that nobody made, for tests of what is done with one."""

from __future__ import annotations

import msgspec

from harness.schema import SelfCheck, SelfCheckLoad
from harness.selfcheck import Check, Highest, LoadFound, Machine, Step
from harness.testing.sim import Spread

US = 1_000.0


def figures(streams=64, **changes):
    base = SelfCheckLoad(
        streams=streams,
        rate_tok_s=100.0,
        calls=128,
        chunks=3584,
        kernel_share=1.0,
        first_token_p50_ns=1.1 * US,
        first_token_p99_ns=13 * US,
        first_token_max_ns=29.7 * US,
        chunk_p50_ns=1.8 * US,
        chunk_p99_ns=20.5 * US,
        chunk_max_ns=51.3 * US,
        ttft_bias_p50_ns=2.7 * US,
        inter_chunk_bias_p50_ns=-0.04 * US,
        inter_chunk_error_p99_ns=18.7 * US,
        client_lag_p50_ns=89.2 * US,
        client_lag_p99_ns=531.3 * US,
        client_lag_max_ns=3074.6 * US,
        cpu_ns_per_chunk=17.6 * US,
        merged_share=0.04,
        held=True,
    )
    return msgspec.structs.replace(base, **changes)


def selfcheck(*loads, **changes):
    base = SelfCheck(
        at="2026-11-21T10:15:00+00:00",
        mode="quick",
        native_digest="0123456789abcdef",
        loads=loads or (figures(),),
        chunks_per_s_max=6_400.0,
        requests_per_s_max=1_000.0,
    )
    return msgspec.structs.replace(base, **changes)


def found(one, **changes):
    some = Spread(n=one.chunks, p50_ns=2.0 * US, p99_ns=15.0 * US, max_ns=60.0 * US, min_ns=500.0)
    base = LoadFound(
        name=f"{one.streams} streams",
        figures=one,
        planned=one.calls,
        unnamed=0,
        unequal=0,
        first_token=some,
        chunks=some,
        send=some,
        server_lateness={"sends": 10, "p50_ns": 1, "p99_ns": 65_000, "max_ns": 9, "held_up": 0},
        ttft_bias=some,
        ttft_reported_p50_ns=50e6,
        ttft_true_p50_ns=50e6,
        arrival_by_kernel=one.calls,
        chunks_per_s=7_000.0,
    )
    return msgspec.structs.replace(base, **changes)


def check(*loads, **changes):
    loads = loads or (found(figures(1, first_token_p99_ns=None)), found(figures(64)))
    base = Check(
        selfcheck=selfcheck(*(one.figures for one in loads)),
        machine=Machine(
            cpu="A processor",
            kernel="6.1",
            cores=2,
            client_cores=(0,),
            server_cores=(1,),
            load_average=0.1,
            realtime=True,
            host_digest="h" * 16,
            native_digest="0123456789abcdef",
        ),
        loads=loads,
        chunk_rate=Highest(per_s=6_400.0, more=True),
        request_rate=Highest(
            per_s=1_000.0,
            steps=(
                Step(per_s=1_000.0, held=True),
                Step(per_s=2_000.0, held=False, slipped=("client: too late",)),
            ),
        ),
        seconds=9.0,
    )
    return msgspec.structs.replace(base, **changes)
