"""The truth server's log beside a run's records: how true the run's stamps are.

Both stamp with CLOCK_MONOTONIC of the same machine, so that a difference is an error and nothing
else. A call is found in the log by the name that its answer carries: `id` of the OpenAI dialects,
`harness_sim` on Ollama's last line. Chunks are paired by their order; a call whose number of chunks
differs from what was sent is counted and left out.

stamp error   the call's stamp of a chunk − the instant right before the send that carried it. On
              loopback the kernel delivers within send(), so the error holds some µs of the send
              itself; `send` says how long those took.
TTFT bias     the call's TTFT − (first content sent − request arrived), the arrival being the
              server's kernel stamp of the request where it has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from harness.errors import StoreError
from harness.schema import CallRecord
from harness.store import Run
from harness.testing.sim.draft import CONTENT, FRAMES, REASONING
from harness.testing.sim.log import REQUESTS, SimLog, punctuality, read_log

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Joined", "Spread", "find_log", "join"]

MERGED: Final = 1 << 31
"""Flag of a chunk's size: its stamp is an upper bound (harness._native.recorder)."""


class Spread(Struct, frozen=True, kw_only=True):
    """Of many figures, in ns. None: there were none."""

    n: int
    p50_ns: float | None = None
    p90_ns: float | None = None
    p99_ns: float | None = None
    max_ns: float | None = None
    min_ns: float | None = None
    mean_ns: float | None = None


class Joined(Struct, frozen=True, kw_only=True):
    """What `harness sim --join` shows."""

    run: str
    log: str
    calls: int
    """Measured calls of the run that are ok."""
    joined: int
    unnamed: int
    """Not found in the log: answered by another server, or without a name."""
    unequal: int
    """With another number of chunks than were sent."""
    chunks: int
    merged: int
    """Of those, read together with a later one: their stamps are upper bounds."""
    kernel_stamped: int
    """Calls."""
    first_token: Spread
    all_chunks: Spread
    unmerged_chunks: Spread
    send: Spread
    """How long the sends of those chunks took."""
    ttft_bias: Spread
    ttft_reported_median_ns: float | None
    ttft_true_median_ns: float | None
    arrival_by_kernel: int
    """Calls whose arrival the server's kernel stamped."""
    punctuality: dict[str, Any]
    """Of the server, over its whole log."""


def find_log(run: Run, root: Path) -> Path:
    """The log below `root` whose server answered this run. Raises StoreError."""
    boots = {name.partition("-")[0] for name in map(_name, _ok_calls(run)) if name}
    for path in sorted(root.glob(f"*/{REQUESTS}"), reverse=True):
        with path.open("rb") as file:
            first = file.readline()
        try:
            if msgspec.json.decode(first).get("boot") in boots:
                return path.parent
        except (msgspec.DecodeError, AttributeError):
            continue
    raise StoreError(
        f"no truth server's log below {root} belongs to this run",
        where=str(run.path),
        remedy="--log FOLDER, as `harness sim` was given it",
    )


def join(run: Run, folder: Path) -> Joined:
    """Raises StoreError if the log cannot be read, or has no call of this run."""
    import numpy as np

    log = read_log(folder)
    sent = _by_serial(log)
    calls = list(_ok_calls(run))
    first: list[int] = []
    reported: list[int] = []
    true: list[int] = []
    errors, merged, spans = [], [], []
    unnamed = unequal = kernel = arrivals = 0
    for call in calls:
        boot, _, serial = _name(call).partition("-")
        request = log.requests.get(int(serial)) if boot == log.boot and serial.isdigit() else None
        if request is None:
            unnamed += 1
            continue
        rows = sent.get(int(serial))
        stamps = np.frombuffer(call.chunks.arrival_ns, "<i8")
        if rows is None or len(rows) != len(stamps):
            unequal += 1
            continue
        content = rows[np.isin(rows["kind"], (REASONING, CONTENT))]
        instants = call.instants
        if not len(content) or instants.first_token_ns is None or instants.sent_ns is None:
            unequal += 1
            continue
        errors.append(stamps - rows["before_ns"])
        spans.append(rows["after_ns"] - rows["before_ns"])
        merged.append(np.frombuffer(call.chunks.size, "<u4") & MERGED != 0)
        first.append(instants.first_token_ns - int(content["before_ns"][0]))
        reported.append(instants.first_token_ns - instants.sent_ns)
        true.append(int(content["before_ns"][0]) - request["arrived_ns"])
        kernel += call.stamp_source == "kernel"
        arrivals += request["arrived_by"] == "kernel"
    if not first:
        raise StoreError(
            "none of the run's calls is in this log",
            where=str(folder),
            remedy="the log of the server that the run measured",
        )
    everything = np.concatenate(errors)
    late = np.concatenate(merged)
    bias = np.array(reported) - np.array(true)
    return Joined(
        run=run.manifest.run_id,
        log=str(folder),
        calls=len(calls),
        joined=len(first),
        unnamed=unnamed,
        unequal=unequal,
        chunks=len(everything),
        merged=int(late.sum()),
        kernel_stamped=kernel,
        first_token=_spread(np.array(first)),
        all_chunks=_spread(everything),
        unmerged_chunks=_spread(everything[~late]),
        send=_spread(np.concatenate(spans)),
        ttft_bias=_spread(bias),
        ttft_reported_median_ns=float(np.median(reported)),
        ttft_true_median_ns=float(np.median(true)),
        arrival_by_kernel=arrivals,
        punctuality=punctuality(log.rows),
    )


def _ok_calls(run: Run) -> Iterator[CallRecord]:
    for record in run.records():
        if isinstance(record, CallRecord) and record.phase == "measured" and record.status == "ok":
            yield record


def _name(call: CallRecord) -> str:
    """`boot-serial`, or empty."""
    name = call.server.get("harness_sim")
    if isinstance(name, str):
        return name
    ident = call.server.get("id")
    _, found, name = ident.partition("-sim-") if isinstance(ident, str) else ("", "", "")
    return name if found else ""


def _by_serial(log: SimLog) -> dict[int, Any]:
    """The rows that are chunks to a client, by request, in the order of sending."""
    import numpy as np

    rows = log.rows[np.isin(log.rows["kind"], FRAMES)]
    rows = rows[np.argsort(rows["serial"], kind="stable")]
    serials, starts = np.unique(rows["serial"], return_index=True)
    parts = np.split(rows, starts[1:])
    return {int(serial): part for serial, part in zip(serials, parts, strict=True)}


def _spread(values: np.ndarray[Any, Any]) -> Spread:
    import numpy as np

    if not len(values):
        return Spread(n=0)
    p50, p90, p99 = np.quantile(values, (0.5, 0.9, 0.99))
    return Spread(
        n=len(values),
        p50_ns=float(p50),
        p90_ns=float(p90),
        p99_ns=float(p99),
        max_ns=float(values.max()),
        min_ns=float(values.min()),
        mean_ns=float(values.mean()),
    )
