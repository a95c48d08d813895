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

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from harness.errors import StoreError
from harness.schema import CallRecord, TrialRecord
from harness.store import Run
from harness.testing.sim.draft import CONTENT, FRAMES, REASONING
from harness.testing.sim.log import REQUESTS, SimLog, punctuality, read_log

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Joined", "Pairs", "Spread", "find_log", "join", "pair", "serial_of", "spread"]

MERGED: Final = 1 << 31
"""Flag of a chunk's size: its stamp is an upper bound (harness._native.recorder)."""
_CALLS: Final = ("first", "reported", "true")
_CHUNKS: Final = ("call", "errors", "lag", "send", "content", "merged", "cut")


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
    """Of those, read together with a later one with content: their stamps are upper bounds."""
    cut: int
    """Of those, left out of the errors: the next frame was due at the same instant, and one of the
    two has no content. That they were read together is how the server cuts calls."""
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


class Pairs(Struct, frozen=True, kw_only=True):
    """Calls beside what was sent. Columns are numpy arrays, int64 ns unless said otherwise."""

    unnamed: int
    unequal: int
    serials: list[int]
    """Requests that were found, in the order of the calls."""
    kernel: list[bool]
    """Whether the call's first-token stamp is the kernel's."""
    arrival_by_kernel: list[bool]
    columns: dict[str, Any]
    """Per call: `first` (error of the first-token stamp), `reported` and `true` (its TTFT by the
    stamps and by the log). Per chunk: `call` (index of its call), `errors` (of its stamp), `lag`
    (from the send to our read's return: the error that a stamp in user space has), `send` (how long
    the send took), and as bool `content`, `merged` (read together with a later one with content:
    the stamp is an upper bound) and `cut` (see Joined)."""


def pair(calls: Iterable[CallRecord], log: SimLog) -> Pairs:
    """Each call with the request that it was, each chunk with the send that carried it."""
    import numpy as np

    sent = _by_serial(log)
    serials: list[int] = []
    kernel: list[bool] = []
    arrival_by_kernel: list[bool] = []
    columns: dict[str, list[Any]] = {name: [] for name in _CALLS + _CHUNKS}
    unnamed = unequal = 0
    for call in calls:
        serial = serial_of(call, log.boot)
        reported = call.stamp_source == "agent"
        if serial is None and reported:
            serial = _serial_by_header(call, log)
        request = None if serial is None else log.requests.get(serial)
        if serial is None or request is None:
            unnamed += 1
            continue
        rows = sent.get(serial)
        stamps = np.frombuffer(call.chunks.arrival_ns, "<i8")
        if rows is not None and reported:  # programs tell of content alone, and perhaps not when
            rows = rows[np.isin(rows["kind"], (REASONING, CONTENT))]
            if not len(stamps) and call.content_chunks == len(rows):
                rows = rows[:1]
                stamps = np.array([call.instants.first_token_ns or 0])
        if rows is None or len(rows) != len(stamps):
            unequal += 1
            continue
        content = np.isin(rows["kind"], (REASONING, CONTENT))
        instants = call.instants
        if not content.any() or instants.first_token_ns is None or instants.sent_ns is None:
            unequal += 1
            continue
        lag_ns = np.frombuffer(call.chunks.lag_ns, "<u4") if not reported else 0
        first_ns = int(rows["before_ns"][content][0])
        columns["call"].append(np.full(len(rows), len(serials)))
        columns["errors"].append(stamps - rows["before_ns"])
        columns["lag"].append(stamps + lag_ns - rows["before_ns"])
        columns["send"].append(rows["after_ns"] - rows["before_ns"])
        columns["content"].append(content)
        sizes = np.frombuffer(call.chunks.size, "<u4") if not reported else np.zeros(len(rows), int)
        flagged = sizes & MERGED != 0
        columns["merged"].append(_before_content(flagged, content))
        columns["cut"].append(_cut(rows["due_ns"], content))
        columns["first"].append(instants.first_token_ns - first_ns)
        columns["reported"].append(instants.first_token_ns - instants.sent_ns)
        columns["true"].append(first_ns - request["arrived_ns"])
        serials.append(serial)
        kernel.append(call.stamp_source in ("kernel", "tap"))
        arrival_by_kernel.append(request["arrived_by"] == "kernel")
    kinds = {"content": bool, "merged": bool, "cut": bool}
    whole = {name: np.array(columns[name], np.int64) for name in _CALLS}
    for name in _CHUNKS:
        kind = kinds.get(name, np.int64)
        whole[name] = np.concatenate([np.empty(0, kind), *columns[name]])
    return Pairs(
        unnamed=unnamed,
        unequal=unequal,
        serials=serials,
        kernel=kernel,
        arrival_by_kernel=arrival_by_kernel,
        columns=whole,
    )


def _before_content(flagged: Any, content: Any) -> Any:
    """Which chunks were read together with a later one that has content. `flagged`: with any; the
    last of a read is not."""
    import numpy as np

    index = np.arange(len(flagged))
    read = np.concatenate([[0], np.cumsum(~flagged[:-1])])
    last = np.full(len(flagged), -1)
    np.maximum.at(last, read[content], index[content])
    return flagged & (last[read] > index)


def _cut(due_ns: Any, content: Any) -> Any:
    """Which chunks have a next one due at the same instant, not both of them with content: the role
    before the first token, finish and usage behind the last."""
    import numpy as np

    found = np.zeros(len(content), bool)
    found[:-1] = (due_ns[1:] == due_ns[:-1]) & ~(content[1:] & content[:-1])
    return found


def join(run: Run, folder: Path) -> Joined:
    """Raises StoreError if the log cannot be read or has no call of this run, or if none is ok."""
    import numpy as np

    log = read_log(folder)
    calls = _ok_calls(run)
    found = pair(calls, log)
    column = found.columns
    if not found.serials:
        raise StoreError(
            "none of the run's calls is in this log",
            where=str(folder),
            remedy="the log of the server that the run measured",
        )
    return Joined(
        run=run.manifest.run_id,
        log=str(folder),
        calls=len(calls),
        joined=len(found.serials),
        unnamed=found.unnamed,
        unequal=found.unequal,
        chunks=len(column["errors"]),
        merged=int(column["merged"].sum()),
        cut=int(column["cut"].sum()),
        kernel_stamped=sum(found.kernel),
        first_token=spread(column["first"]),
        all_chunks=spread(column["errors"][~column["cut"]]),
        unmerged_chunks=spread(column["errors"][~column["cut"] & ~column["merged"]]),
        send=spread(column["send"]),
        ttft_bias=spread(column["reported"] - column["true"]),
        ttft_reported_median_ns=float(np.median(column["reported"])),
        ttft_true_median_ns=float(np.median(column["true"])),
        arrival_by_kernel=sum(found.arrival_by_kernel),
        punctuality=punctuality(log.rows),
    )


def _ok_calls(run: Run) -> list[CallRecord]:
    """The measured ones of which a first token is known. Raises StoreError if there is none."""
    found: list[CallRecord] = []
    elsewhere: set[int] = set()
    for record in run.records():
        if isinstance(record, TrialRecord) and record.home_ns is not None:
            elsewhere.add(record.trial)
        elif (
            isinstance(record, CallRecord)
            and record.phase == "measured"
            and record.status == "ok"
            and not record.no_first_token
        ):
            found.append(record)
    ours = [call for call in found if call.trial not in elsewhere]
    if found and not ours:
        raise StoreError(
            "its trials ran on other machines: their clocks are not the log's",
            where=str(run.path),
            remedy="the executor `local`",
        )
    found = ours
    if not found:
        raise StoreError(
            "none of the run's measured calls is ok and has a first token: only those are joined",
            where=str(run.path),
            remedy=f"harness show {run.path} says what became of them",
        )
    return found


def serial_of(call: CallRecord, boot: str) -> int | None:
    """The number of the request that this call was to the server of that name; None: to another."""
    name, _, serial = _name(call).partition("-")
    return int(serial) if name == boot and serial.isdigit() else None


def _serial_by_header(call: CallRecord, log: SimLog) -> int | None:
    """Of a call that its program reports, and whose answer does not name itself in that report: its
    X-Request-ID is agent, stream and stage (docs/agent-protocol.md), and it arrived meanwhile."""
    begin_ns, end_ns = call.instants.sent_ns, call.instants.closed_ns
    if begin_ns is None or end_ns is None:
        return None
    found = [
        serial
        for serial, request in log.requests.items()
        if begin_ns <= request["arrived_ns"] <= end_ns
        and str(request["request_id"]).startswith(f"{call.agent}.")
        and str(request["request_id"]).endswith(f".{call.stage}")
    ]
    return found[0] if len(found) == 1 else None


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


def spread(values: np.ndarray[Any, Any]) -> Spread:
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
