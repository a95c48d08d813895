"""Are the schedule and the stamps what they seem."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from harness.engine.rules.view import ArmView, RunView
from harness.metrics import Gaps, call_metric, gaps
from harness.schema import CallRecord, Caveat, OpenLoad, ValiditySpec

__all__ = ["Slip", "client_lag", "clock_step", "schedule_slip", "slip", "user_stamps"]

USER_SHARE_MIN: Final = 0.01
"""User-stamped calls below which no figure up to p99 can be moved by them."""

LATE_CALLS_MAX, LATE_CALLS_SHARE_MAX = 1, 0.01
"""Of an open loop's requests, those that may be late: from 100 on this is the p99 of the send lag.
Of fewer there is no p99, and one hiccup is no lost schedule."""

LATE_SHARE_OF_GAP: Final = 0.25
"""See `_merged_by_us`."""


# ---- the schedule of an open loop


class Slip(Struct, frozen=True, kw_only=True):
    """What an open loop's requests did to its schedule."""

    problems: tuple[str, ...]
    """Empty: they kept to it."""
    late: tuple[CallRecord, ...]
    """Those that went out later than the bound allows."""
    evidence: dict[str, Any]


def slip(calls: Sequence[CallRecord], bounds: ValiditySpec) -> Slip | None:
    """Of one open load's calls. None: nothing was sent."""
    send_lag_ms = call_metric("send_lag_ms").formula
    lags_ms = [lag_ms for call in calls if (lag_ms := send_lag_ms(call)) is not None]
    if not lags_ms:
        return None
    e2e_ms = _quantile([call_metric("e2e_ms").formula(call) for call in calls], 0.5)
    bound_ms = max(bounds.send_lag_max_ms, bounds.send_lag_share_max * (e2e_ms or 0.0))
    late = tuple(call for call in calls if (send_lag_ms(call) or 0.0) > bound_ms)
    # One that was late, the last above all, must not make a short run slow either.
    latest = max(calls, key=lambda call: send_lag_ms(call) or 0.0)
    rate = _rate_share([call for call in calls if call is not latest])
    problems = []
    if len(late) > max(LATE_CALLS_MAX, LATE_CALLS_SHARE_MAX * len(lags_ms)):
        problems.append(
            f"{len(late)} of {len(lags_ms)} requests went out more than {bound_ms:.4g} ms late "
            f"(up to {max(lags_ms):.4g} ms)"
        )
    if rate is not None and rate < bounds.rate_share_min:
        problems.append(f"requests went out at {rate:.1%} of the offered rate")
    return Slip(
        problems=tuple(problems),
        late=late,
        evidence={
            "late": len(late),
            "sent": len(lags_ms),
            "late_share_max": LATE_CALLS_SHARE_MAX,
            "send_lag_p50_ms": _quantile(lags_ms, 0.5),
            "send_lag_worst_ms": max(lags_ms),
            "send_lag_max_ms": bound_ms,
            "achieved_share": rate,
            "achieved_share_min": bounds.rate_share_min,
        },
    )


def schedule_slip(view: RunView) -> Iterator[Caveat]:
    """Requests went out late, or fewer per second than asked for: then the load is not the one that
    the report names, and latency from the instant of sending hides the wait before it."""
    for arm in view.arms:
        if not isinstance(arm.load, OpenLoad):
            continue
        found = slip(view.judged(arm), view.manifest.spec.validity)
        if found is not None and found.problems:
            yield Caveat(
                code="schedule-slip",
                severity="doubtful",
                message=f"{'; '.join(found.problems)}: read the figures from the due instant",
                evidence=found.evidence,
                remedy="a lower --rate, a higher load.concurrency_max where one is set, or less "
                "other work on this machine",
                arm=arm.name,
            )


def _rate_share(calls: Sequence[CallRecord]) -> float | None:
    """Achieved / offered rate: requests sent over the time it took to send them, by requests due
    over the time in which they were due; iterations taken together. None below two of each."""
    by_iteration: dict[tuple[int, int], list[CallRecord]] = defaultdict(list)
    for call in calls:
        by_iteration[call.trial, call.iteration].append(call)
    due = [[c.instants.due_ns for c in group] for group in by_iteration.values()]
    sent = [
        [c.instants.sent_ns for c in group if c.instants.sent_ns is not None]
        for group in by_iteration.values()
    ]
    offered, achieved = _rate(due), _rate(sent)
    return achieved / offered if offered and achieved else None


def _rate(starts: Sequence[Sequence[int]]) -> float | None:
    gaps = sum(len(group) - 1 for group in starts if group)
    span_ns = sum(max(group) - min(group) for group in starts if group)
    return gaps / span_ns if gaps > 0 and span_ns > 0 else None


# ---- our own delay


def client_lag(view: RunView) -> Iterator[Caveat]:
    """Our own process was late enough to be seen in the figures.

    Which figures it can be seen in depends on who took the stamps. In user-space stamps all of the
    lag is. In the kernel's none is, and the reader even waits up to 500 µs on purpose, to take in
    many sockets at once; what remains is that chunks which arrived apart were read together, and
    share the stamp of the last.
    """
    bounds = view.manifest.spec.validity
    for arm in view.arms:
        ok = [call for call in arm.calls if call.status == "ok"]
        yield from _late_stamps(arm, ok, bounds)
        yield from _late_reads(arm, ok, bounds)


def _late_stamps(arm: ArmView, ok: Sequence[CallRecord], bounds: ValiditySpec) -> Iterator[Caveat]:
    """User-stamped calls, where other reads of the same call tell how late we came."""
    user = [call for call in ok if call.stamp_source == "user"]
    if len(user) < USER_SHARE_MIN * len(ok):
        return
    lag_us = _quantile([call_metric("client_lag_p99_us").formula(call) for call in user], 0.99)
    if lag_us is None:
        return
    gap_ms = _quantile([call_metric("inter_chunk_p50_ms").formula(call) for call in user], 0.5)
    bound_us = 1e3 * bounds.client_lag_max_ms
    if gap_ms:
        bound_us = min(bound_us, 1e3 * bounds.client_lag_share_max * gap_ms)
    if lag_us > bound_us:
        yield Caveat(
            code="client-lag",
            severity="doubtful",
            message=f"{len(user)} of {len(ok)} calls carry user-space stamps, and this process was "
            f"up to {lag_us:.4g} µs late (p99; bound {bound_us:.4g} µs): that is in their figures",
            evidence={
                "client_lag_p99_us": lag_us,
                "client_lag_max_us": bound_us,
                "inter_chunk_p50_ms": gap_ms,
            },
            remedy="fewer streams at once, or less other work on this machine",
            arm=arm.name,
            cell=arm.cell,
        )


def _late_reads(arm: ArmView, ok: Sequence[CallRecord], bounds: ValiditySpec) -> Iterator[Caveat]:
    """Kernel-stamped calls whose content chunks we took in together: many of all chunks, or the
    first ones of many calls, in whose TTFT the wait for the last chunk of that read then is."""
    calls = firsts = total = merged = 0
    lags_ns: list[float | None] = []
    for call in ok:
        found = gaps(call) if call.stamp_source == "kernel" else None
        if found is None or found.upper_bounds is None:
            continue
        calls += 1
        total += found.chunks
        if _merged_by_us(call, found):
            merged += found.upper_bounds
            firsts += found.first_is_bound
            lags_ns.append(_read_lag_ns(call, found))
    problems, remedies = [], []
    if merged > bounds.merged_share_max * total:
        problems.append(
            f"{merged / total:.0%} of the content chunks were read late and together with "
            "later ones: their inter-chunk latencies are bounds, not measurements"
        )
        remedies.append("fewer streams at once")
    if firsts > bounds.merged_share_max * calls:
        problems.append(
            f"the first tokens of {firsts / calls:.0%} of the calls were read late and together "
            "with later ones: their TTFT is a bound, not a measurement"
        )
        # Streams of a closed loop begin together, and so do their answers.
        remedies.append("fewer requests at the same instant (a lower --concurrency or --rate)")
    if problems:
        yield Caveat(
            code="client-lag",
            severity="doubtful",
            message="; ".join(problems),
            evidence={
                "merged": merged,
                "chunks": total,
                "first_merged": firsts,
                "calls": calls,
                "share_max": bounds.merged_share_max,
                "read_lag_p50_ns": _quantile(lags_ns, 0.5),
                "read_lag_max_ns": _quantile(lags_ns, 1.0),
            },
            remedy=", ".join([*remedies, "or less other work on this machine"]),
            arm=arm.name,
            cell=arm.cell,
        )


def _merged_by_us(call: CallRecord, found: Gaps) -> bool:
    """Whether chunks came together because we were late, not because the server wrote them so.

    The stamp of a read is that of its last chunk. If we are late, that chunk came anywhere within
    the gap before we looked, so half of all lags exceed half a gap; a server that writes several
    chunks at once leaves our lag where it always is, far below the gap. Hence a quarter.
    """
    instants, lag_ns = call.instants, _read_lag_ns(call, found)
    first_ns, last_ns = instants.first_token_ns, instants.last_token_ns
    if lag_ns is None or first_ns is None or last_ns is None or last_ns <= first_ns:
        return False  # all in one read: nothing tells who was late
    return lag_ns > LATE_SHARE_OF_GAP * (last_ns - first_ns) / (call.content_chunks - 1)


def _read_lag_ns(call: CallRecord, found: Gaps) -> float | None:
    """Of the reads that brought several chunks alone: after a pause of ours one late read brings
    all that had come, and the many prompt ones that follow bring a chunk each."""
    lag_ns = found.bounds_lag_p50_ns
    return call.client_lag_p50_ns if lag_ns is None else lag_ns


def user_stamps(view: RunView) -> Iterator[Caveat]:
    """Stamps taken in user space where the kernel's were to be expected; and those of the process
    that runs the model which cannot be so."""
    asked_for = view.manifest.spec.transport == "portable"
    for arm in view.arms:
        yield from _refused_stamps(arm)
        stamped = [call for call in arm.calls if call.instants.first_chunk_ns is not None]
        user = sum(call.stamp_source == "user" for call in stamped)
        if asked_for or not user:
            continue
        transports = sorted({trial.transport for trial in arm.trials if trial.transport})
        yield Caveat(
            code="user-stamps",
            severity="note",
            message=f"{user} of {len(stamped)} calls carry user-space stamps: the client's own "
            "delay is in their figures",
            evidence={"user": user, "calls": len(stamped), "transports": transports},
            remedy="plain HTTP on Linux has kernel stamps; TLS, proxies and other systems do not",
            arm=arm.name,
            cell=arm.cell,
        )


def _refused_stamps(arm: ArmView) -> Iterator[Caveat]:
    calls = [call for call in arm.calls if call.stamps_refused]
    if calls:
        refused = sum(call.stamps_refused for call in calls)
        yield Caveat(
            code="user-stamps",
            severity="note",
            message=f"{refused} stamps that the model's own process gave, in {len(calls)} of "
            f"{len(arm.calls)} calls, cannot be so; those of the wire are used for them",
            evidence={"refused": refused, "calls": len(calls)},
            remedy="is its clock CLOCK_MONOTONIC of this machine? See docs/hf.md",
            arm=arm.name,
            cell=arm.cell,
        )


def clock_step(view: RunView) -> Iterator[Caveat]:
    """The wall clock stepped while calls ran."""
    for arm in view.arms:
        stepped = sum(call.clock_stepped for call in arm.calls)
        if stepped:
            yield Caveat(
                code="clock-step",
                severity="note",
                message=f"the wall clock stepped during {stepped} calls; their stamps are the "
                "user-space ones",
                evidence={"calls": stepped},
                remedy="let the clock settle (chronyc tracking), then run again",
                arm=arm.name,
                cell=arm.cell,
            )


def _quantile(figures: Sequence[float | None], q: float) -> float | None:
    known = [figure for figure in figures if figure is not None]
    if not known:
        return None
    import numpy as np

    return float(np.quantile(known, q))
