"""A recorded run played again: the n-th request for text gets the times of its n-th call.

Counted are the measured calls that are ok, of one arm where it is named, in the order in which they
were sent; behind the last comes the first again. TTFT is from the request's last byte to the first
chunk with content, the gaps are those between successive chunks with content, both by the run's
stamps. An answer with more chunks than its call goes through the call's gaps again; a call of one
chunk, which has no gap, borrows those of the next call that has some.

Instead of a run, a JSON Lines file will do: an object a line with `ttft_ms`, `gaps_ms` (a list) or
both. The `jsonl` export of a run is one, for TTFT.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any, Final, Literal, TypeAlias

import msgspec

from harness.errors import SpecError
from harness.metrics import session_of
from harness.metrics.chunks import content_arrivals
from harness.schema import CallRecord, TrialRecord
from harness.store import Run, load_run
from harness.testing.sim.laws import MS, Constant, Replay, sampler
from harness.testing.sim.spec import SimSpec

__all__ = ["Pace", "read_recording"]

Column: TypeAlias = Literal["ttft", "gap"]
LINES: Final = (".jsonl", ".ndjson")


class Pace:
    """The times of requests, by the spec's laws. Reads what is to be replayed once.

    Raises SpecError or StoreError."""

    def __init__(self, spec: SimSpec) -> None:
        self._ttft, self._gap = spec.ttft, spec.gap
        self._ttfts_ns = _ttfts(spec.ttft) if isinstance(spec.ttft, Replay) else []
        self._gaps_ns = _gaps(spec.gap) if isinstance(spec.gap, Replay) else []

    def ttft_ns(self, ordinal: int, random: Random) -> int:
        """Of the request for text with this number, from 1 on."""
        if isinstance(self._ttft, Replay):
            return self._ttfts_ns[(ordinal - 1) % len(self._ttfts_ns)]
        return sampler(self._ttft, random)()

    def gaps_ns(self, count: int, ordinal: int, random: Random) -> list[int]:
        """The gaps behind its first `count` chunks."""
        if isinstance(self._gap, Replay):
            gaps = self._gaps_ns[(ordinal - 1) % len(self._gaps_ns)]
            return list(islice(cycle(gaps), count))
        if isinstance(self._gap, Constant):
            return [round(self._gap.ms * MS)] * count
        draw = sampler(self._gap, random)
        return [draw() for _ in range(count)]


def _ttfts(law: Replay) -> list[int]:
    return [round(found / law.speed) for found in read_recording(law, "ttft")]


def _gaps(law: Replay) -> list[list[int]]:
    gaps = [[round(gap / law.speed) for gap in found] for found in read_recording(law, "gap")]
    filled, following = [], next(found for found in gaps if found)
    for found in reversed(gaps):
        following = found or following
        filled.append(following)
    return filled[::-1]


def read_recording(law: Replay, column: Column) -> list[Any]:
    """ns per call: an int for `ttft`, a list of ints for `gap`, of which one at least is not empty.
    Raises SpecError or StoreError."""
    path = Path(law.run)
    if path.suffix in LINES and path.is_file():
        found = list(_from_lines(path, column))
    else:
        found = _from_run(load_run(law.run), law, column)
    if not any(entry != [] for entry in found):
        what = "TTFT" if column == "ttft" else "gap between chunks"
        raise SpecError(f"there is no {what} to replay in {law.run}", where=f"$.{column}")
    return found


def _from_run(run: Run, law: Replay, column: Column) -> list[Any]:
    calls = [call for call in _ok_calls(run) if law.arm in (None, call.arm)]
    if not calls:
        arms = ", ".join(dict.fromkeys(arm.arm for arm in run.summary.arms))
        raise SpecError(
            f"{run.path} has no ok call to replay"
            + (f" in the arm {law.arm!r} (there are: {arms})" if law.arm is not None else ""),
            where=f"$.{column}",
        )
    # Instants of two sessions, or of two machines, cannot be compared.
    session, begun = session_of(run.sessions), _begun_ns(run)
    calls.sort(
        key=lambda call: (
            session(call.trial),
            begun.get(call.trial, call.instants.sent_ns or 0),
            call.instants.sent_ns or 0,
        )
    )
    if column == "ttft":
        return [_ttft_ns(call) for call in calls]
    return [_gaps_ns(call, run) for call in calls]


def _begun_ns(run: Run) -> dict[int, int]:
    """Trials that ran on another machine → when they began, by the clock of this one."""
    return {
        record.trial: record.home_ns[0]
        for record in run.records()
        if isinstance(record, TrialRecord) and record.home_ns is not None
    }


def _ok_calls(run: Run) -> Iterator[CallRecord]:
    for record in run.records():
        if not isinstance(record, CallRecord) or record.phase != "measured":
            continue
        instants = record.instants
        if record.status == "ok" and None not in (instants.sent_ns, instants.first_token_ns):
            yield record


def _ttft_ns(call: CallRecord) -> int:
    first_ns, sent_ns = call.instants.first_token_ns, call.instants.sent_ns
    assert first_ns is not None and sent_ns is not None
    return max(0, first_ns - sent_ns)


def _gaps_ns(call: CallRecord, run: Run) -> list[int]:
    arrivals = content_arrivals(call)
    if arrivals is None:
        raise SpecError(
            f"the stamps of the chunks of {run.path} were not kept",
            where="$.gap",
            remedy="record it again with --set keep.chunks=true, or replay its TTFT only",
        )
    # Stamps of two sources may stand the wrong way round by some µs: no gap is below 0.
    return [max(0, int(gap)) for gap in arrivals[1:] - arrivals[:-1]]


def _from_lines(path: Path, column: Column) -> Iterator[Any]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                found = msgspec.json.decode(line, type=dict[str, Any])
                value = found.get("ttft_ms" if column == "ttft" else "gaps_ms")
                if value is None or found.get("status", "ok") != "ok":
                    continue
                yield _ns(value) if column == "ttft" else [_ns(gap) for gap in value]
            except (msgspec.DecodeError, UnicodeDecodeError, TypeError, ValueError) as error:
                raise SpecError(
                    f"line {number} of {path} is no record of times: {error}",
                    where=f"$.{column}",
                    remedy='{"ttft_ms": 50, "gaps_ms": [10, 11]}',
                ) from None


def _ns(ms: float) -> int:
    if isinstance(ms, bool) or not 0 <= ms < 1e12:
        raise ValueError(f"{ms!r} is no time in ms")
    return round(ms * MS)
