"""The instrument's own error, in one line: the self-check that the run found, at the load that is
no easier than the run was, of the stamps that its calls carry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from statistics import median
from typing import Final

from msgspec import Struct, field

from harness.report.figures import number
from harness.schema import CallRecord, Manifest, Record, SelfCheck, SelfCheckLoad, TrialRecord

__all__ = ["instrument_line"]

FAST: Final = 10
"""Streams that come this many times faster than a load's are more like those without a pace."""


class _Seen(Struct):
    """Of the run: what the choice of a load depends on."""

    stamped: int = 0
    """Measured calls with a chunk …"""
    user: int = 0
    """… and of those, with stamps of user space."""
    spans: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Trial → (sent, over) of each call."""
    rates_per_s: list[float] = field(default_factory=list)
    """Content chunks of a call."""
    transports: set[str] = field(default_factory=set)


def instrument_line(manifest: Manifest, records: Iterable[Record]) -> str | None:
    """None where there is no check, or no call that it speaks of. `records` are read only where
    there is one."""
    found = manifest.environment.selfcheck
    if found is None or not found.loads:
        return None
    seen = _seen(records)
    if not seen.stamped:
        return None
    in_flight = max(map(_in_flight, seen.spans.values()), default=1)
    rate = median(seen.rates_per_s) if seen.rates_per_s else 0.0
    one = _cited(found.loads, in_flight, rate)
    where = f" at {_load(one)}"
    if in_flight > one.streams:
        where += f", unknown for more streams than were checked (here {in_flight:,})"
    stamp = _figure(one, "first_token", one.calls)
    if not seen.user:
        return f"instrument: first-token stamp error {stamp}{where} {_source(found, one)}"
    share = "" if seen.user == seen.stamped else f" in {seen.user} of {seen.stamped} calls"
    other = "; its reader is not the portable one's" if "portable" in seen.transports else ""
    return (
        f"instrument: stamps of user space{share}: client lag "
        f"{_figure(one, 'client_lag', one.chunks)}, the stamp error ({stamp}) included,{where} "
        f"{_source(found, one, other)}"
    )


def _seen(records: Iterable[Record]) -> _Seen:
    seen = _Seen()
    for record in records:
        if isinstance(record, TrialRecord):
            seen.transports.add(record.transport)
        if not isinstance(record, CallRecord) or record.phase != "measured":
            continue
        at = record.instants
        over_ns = at.end_ns or at.closed_ns
        if at.sent_ns is not None and over_ns is not None:
            seen.spans.setdefault(record.trial, []).append((at.sent_ns, over_ns))
        # Of stamps that the model's own process took, the check of ours says nothing.
        if not record.chunks.count or record.stamp_source == "in_process":
            continue
        seen.stamped += 1
        seen.user += record.stamp_source == "user"
        if at.first_token_ns is not None and at.last_token_ns is not None:
            took_ns = at.last_token_ns - at.first_token_ns
            if took_ns > 0:
                seen.rates_per_s.append((record.content_chunks - 1) * 1e9 / took_ns)
    return seen


def _in_flight(spans: list[tuple[int, int]]) -> int:
    """Calls at once, at most. One that ends as another is sent is not at once with it."""
    steps = sorted([(over, -1) for _, over in spans] + [(sent, 1) for sent, _ in spans])
    return max(1, *accumulate(step for _, step in steps))


def _cited(loads: Sequence[SelfCheckLoad], in_flight: int, rate_per_s: float) -> SelfCheckLoad:
    """The smallest load that was held and is no smaller than the run's, else the largest that was
    held: the error grows with the number of streams, and the line must not flatter."""
    paced = [one for one in loads if one.rate_tok_s is not None]
    flat_out = [one for one in loads if one.rate_tok_s is None]
    fast = bool(flat_out) and all(rate_per_s > FAST * (one.rate_tok_s or 0.0) for one in paced)
    alike = flat_out if fast else paced or flat_out
    known = [one for one in alike if one.first_token_p99_ns is not None] or alike
    held = [one for one in known if one.held is not False] or known
    ordered = sorted(held, key=lambda one: one.streams)
    return next((one for one in ordered if one.streams >= in_flight), ordered[-1])


def _figure(one: SelfCheckLoad, name: str, n: int) -> str:
    """The p99; the largest where n carries none."""
    p99_ns = getattr(one, f"{name}_p99_ns")
    if p99_ns is not None:
        return f"p99 {number(p99_ns / 1e3, 2)} µs"
    largest_ns = getattr(one, f"{name}_max_ns")
    shown = number(None if largest_ns is None else largest_ns / 1e3, 2)
    return f"max {shown} µs (n = {n})"


def _load(one: SelfCheckLoad) -> str:
    plural = "" if one.streams == 1 else "s"
    pace = "flat out" if one.rate_tok_s is None else f"x {one.rate_tok_s:g} tok/s"
    return f"{one.streams:,} stream{plural} {pace}"


def _source(found: SelfCheck, one: SelfCheckLoad, more: str = "") -> str:
    held = ", not held" if one.held is False else ""
    return f"(selfcheck {found.at[:10]}, {found.mode}{held}{more})"
