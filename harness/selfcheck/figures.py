"""From calls and the server's log to figures. Nothing here touches a clock.

error           stamp − the instant right before the send that carried the chunk
TTFT bias       the call's TTFT − (first content sent − request arrived)
inter-chunk     gap between two successive content chunks of a call, by the stamps − by the log
cut             a chunk that is read with its neighbour by how calls are cut (testing.sim.beside):
                left out of the errors of chunks and gaps
client lag      when our read returned − the instant right before the send, of every chunk. A run
                knows only user-space − kernel stamp, by read: there, of chunks that were read
                together only the last counts, and a long stall hides behind it
held            see `slips`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from harness.engine.rules import ArmView, RunView, timing
from harness.errors import StoreError
from harness.schema import ArmSummary, SelfCheckLoad
from harness.selfcheck.drive import Driven
from harness.selfcheck.found import LoadFound
from harness.selfcheck.loads import GAP_MS, Load
from harness.statistics import NEEDED
from harness.testing.sim import Spread
from harness.testing.sim.beside import Pairs, pair, spread
from harness.testing.sim.log import SimLog, punctuality

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["figures_of", "request_slips", "slips"]

GAP_NS: Final = int(GAP_MS * 1e6)
ANSWER_MAX_NS: Final = 20_000_000
"""A server that takes longer to begin an answer that is due at once has requests waiting."""
HELD_UP_MAX: Final = 0.01
"""Share of sends that found the client's socket full."""


def figures_of(
    load: Load, driven: Sequence[Driven], log: SimLog, *, done_again: int = 0
) -> LoadFound:
    """All repeats of one load as one sample. Raises StoreError if the log knows none of them."""
    import numpy as np

    calls = [call for one in driven for call in one.calls]
    good = [call for call in calls if call.status == "ok"]
    pairs = pair(good, log)
    if not pairs.serials:
        raise StoreError(
            f"{load.name}: none of {len(calls)} calls is in the truth server's log",
            where=str(log.folder),
            remedy="harness doctor",
        )
    late = _punctuality(pairs, log)
    column = pairs.columns
    content = column["content"]
    errors, lags = (column[name][~column["cut"]] for name in ("errors", "lag"))
    gaps = _gap_errors(pairs)
    received = sum(call.chunks.count for call in calls)
    withheld: dict[str, int] = {}

    def p99(name: str, values: NDArray[Any]) -> float | None:
        if len(values) >= NEEDED["p99"]:
            return round(float(np.quantile(values, 0.99)))
        withheld[name] = NEEDED["p99"]
        return None

    def p50(values: NDArray[Any]) -> float | None:
        return round(float(np.median(values))) if len(values) else None

    def largest(values: NDArray[Any]) -> float | None:
        return round(float(values.max())) if len(values) else None

    reasons = tuple(slips(driven, late, column["lag"]))
    if len(good) < len(calls) or pairs.unnamed or pairs.unequal:
        whole = len(pairs.serials)
        reasons += (f"client: {len(calls) - whole} of {len(calls)} calls did not come whole",)
    figures = SelfCheckLoad(
        streams=load.streams,
        rate_tok_s=load.rate_tok_s,
        calls=len(pairs.serials),
        chunks=len(column["errors"]),
        kernel_share=sum(pairs.kernel) / len(pairs.kernel),
        first_token_p50_ns=p50(column["first"]),
        first_token_p99_ns=p99("first_token_p99_ns", column["first"]),
        first_token_max_ns=largest(column["first"]),
        chunk_p50_ns=p50(errors),
        chunk_p99_ns=p99("chunk_p99_ns", errors),
        chunk_max_ns=largest(errors),
        ttft_bias_p50_ns=p50(column["reported"] - column["true"]),
        inter_chunk_bias_p50_ns=p50(gaps),
        inter_chunk_error_p99_ns=p99("inter_chunk_error_p99_ns", np.abs(gaps)),
        client_lag_p50_ns=p50(lags),
        client_lag_p99_ns=p99("client_lag_p99_ns", lags),
        client_lag_max_ns=largest(lags),
        cpu_ns_per_chunk=round(sum(one.cpu_ns for one in driven) / received) if received else None,
        merged_share=float(column["merged"][content].mean()),
        held=None if load.rate_tok_s is None else not reasons,
    )
    return LoadFound(
        name=load.name,
        figures=figures,
        planned=load.requests * load.repeats,
        unnamed=pairs.unnamed,
        unequal=pairs.unequal,
        done_again=done_again,
        withheld=withheld,
        slipped=() if load.rate_tok_s is None else reasons,
        first_token=_shown(spread(column["first"])),
        chunks=_shown(spread(errors)),
        send=_shown(spread(column["send"])),
        server_lateness={
            name: late.get(name) for name in ("sends", "p50_ns", "p99_ns", "max_ns", "held_up")
        },
        ttft_bias=_shown(spread(column["reported"] - column["true"])),
        ttft_reported_p50_ns=round(float(np.median(column["reported"]))),
        ttft_true_p50_ns=round(float(np.median(column["true"]))),
        arrival_by_kernel=sum(pairs.arrival_by_kernel),
        chunks_per_s=round(sum(call.chunks.count for call in good) / _span_s(driven), 1),
    )


def server_was_late(driven: Driven, log: SimLog) -> bool:
    """By a whole gap, in more than 1 % of its sends."""
    pairs = pair(driven.calls, log)
    return bool(pairs.serials) and _punctuality(pairs, log).get("p99_ns", 0) > GAP_NS


def _punctuality(pairs: Pairs, log: SimLog) -> dict[str, Any]:
    """Of the sends to these calls."""
    import numpy as np

    return punctuality(log.rows[np.isin(log.rows["serial"], pairs.serials)])


def slips(driven: Sequence[Driven], late: dict[str, Any], lags: NDArray[Any]) -> Iterator[str]:
    """Why a load was not held: sends or reads that were a whole gap late, a server that found our
    sockets full, or what our own rules say of a run whose chunks were read late and together. A
    delay below a gap moves chunks and loses none."""
    import numpy as np

    sends = late["sends"] + late["held_up"]
    if late.get("p99_ns", 0) > GAP_NS:
        yield f"server: 1 % of its sends began over {_ms(late['p99_ns'])} late"
    if late["held_up"] > HELD_UP_MAX * sends:
        yield f"client: {late['held_up'] / sends:.0%} of the sends were held up by full sockets"
    if (lag_ns := float(np.quantile(lags, 0.99))) > GAP_NS:
        yield f"client: it read 1 % of the chunks over {_ms(lag_ns)} late"
    for caveat in [found for one in driven for found in timing.client_lag(_view(one))][:1]:
        yield f"client: {caveat.message}"


def _ms(ns: float) -> str:
    return f"{ns / 1e6:,.3g} ms" if ns < 1e9 else f"{ns / 1e6:,.0f} ms"


def request_slips(driven: Driven, log: SimLog, due_s: float) -> Iterator[str]:
    """The same for an open loop of short calls, due within `due_s`."""
    import numpy as np

    good = [call for call in driven.calls if call.status == "ok"]
    if len(good) < len(driven.calls):
        yield f"client: {len(driven.calls) - len(good)} of {len(driven.calls)} calls failed"
    for caveat in timing.schedule_slip(_view(driven)):
        yield f"client: {caveat.message}"
    if driven.wall_ns > 1.05e9 * due_s + 2e8:
        yield f"client: it took {driven.wall_ns / 1e9:.2f} s to read what was due in {due_s:.2f} s"
    pairs = pair(good, log)
    column = pairs.columns
    if not pairs.serials:
        yield "server: its log has none of the calls"
    elif (true_ns := float(np.quantile(column["true"], 0.99))) > ANSWER_MAX_NS:
        yield f"server: 1 % of its answers began over {_ms(true_ns)} after the request"


def _view(driven: Driven) -> RunView:
    """The run as the rules see it; they look at calls, not at the summary."""
    summary = ArmSummary(
        arm="default",
        cell="base",
        trials=len(driven.trials),
        iterations=len(driven.iterations),
        calls={},
        planned=len(driven.calls),
        metrics=(),
    )
    arm = ArmView(
        calls=driven.calls,
        iterations=driven.iterations,
        trials=driven.trials,
        summary=summary,
        load=driven.manifest.spec.load,
    )
    return RunView(manifest=driven.manifest, state="finished", arms=(arm,))


def _gap_errors(pairs: Pairs) -> NDArray[np.int64]:
    """Differences of successive errors within each call, content chunks alone, none that is cut."""
    import numpy as np

    column = pairs.columns
    errors, call, cut = (column[name][column["content"]] for name in ("errors", "call", "cut"))
    found: NDArray[np.int64] = np.diff(errors)[(np.diff(call) == 0) & ~cut[1:] & ~cut[:-1]]
    return found


def _span_s(driven: Sequence[Driven]) -> float:
    """From the first chunk to the last, over all repeats."""
    total_ns = 0
    for one in driven:
        ok = [call.instants for call in one.calls if call.status == "ok"]
        firsts = [at.first_chunk_ns for at in ok if at.first_chunk_ns is not None]
        ends = [at.end_ns for at in ok if at.end_ns is not None]
        total_ns += max(ends) - min(firsts) if firsts and ends else 0
    return max(total_ns, 1) / 1e9


def _shown(found: Spread) -> Spread:
    """In whole ns, as the stamps are, and by the house rule for quantiles."""
    import msgspec

    least = {"p99_ns": NEEDED["p99"], "p90_ns": NEEDED["p95"]}
    times = {
        name: None if value is None or found.n < least.get(name, 0) else round(value)
        for name, value in msgspec.structs.asdict(found).items()
        if name != "n"
    }
    return msgspec.structs.replace(found, **times)
