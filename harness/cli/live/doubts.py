"""Doubts as they arise: those rules of the verdict that a glance at each record can answer.

The verdict itself comes with the summary; it knows more rules, and weighs these with all records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from harness.metrics import call_metric
from harness.schema import (
    CallRecord,
    IterationRecord,
    Load,
    OpenLoad,
    RetryRecord,
    TrialRecord,
    ValiditySpec,
)
from harness.text import one_line

__all__ = ["Doubts"]

SLIPS_MIN: Final = 2
"""A single late request is a hiccup, as in the rule."""


class Doubts:
    """`lines()`: one for each code, with how often and what came last."""

    def __init__(self, bounds: ValiditySpec) -> None:
        self._bounds = bounds
        self._counts: dict[str, int] = {}
        self._last: dict[str, str] = {}
        self._failed: dict[int, int] = {}
        """Trial under way → its calls that are not ok."""

    def failed(self, call: CallRecord) -> None:
        """A measured call that is not ok. Called as it ends: it only counts."""
        code = call.error.code if call.error is not None else call.status
        self._note("errors", f"{call.status}, {code}", call.arm)
        self._failed[call.trial] = self._failed.get(call.trial, 0) + 1

    def retried(self, record: RetryRecord, arm: str) -> None:
        """What its calls came to so far is void."""
        left = self._counts.get("errors", 0) - self._failed.pop(record.trial, 0)
        if left > 0:
            self._counts["errors"] = left
        else:
            self._counts.pop("errors", None)
        self._note("place-lost", f"trial {record.trial}: {one_line(record.reason, 80)}", arm)

    def trial(self, record: TrialRecord, calls: Iterable[CallRecord],
              iterations: Iterable[IterationRecord], load: Load | None) -> None:  # fmt: skip
        """What a trial that has ended leaves doubtful."""
        for code, what in self._of_trial(record):
            self._note(code, what, record.arm)
        for code, what in self._of_calls([c for c in calls if c.status == "ok"], load):
            self._note(code, what, record.arm)
        for one in iterations:
            for what in self._of_host(one):
                self._note("host-noise", what, record.arm)
            if not record.effective.simulated and any(
                metric.provenance == "simulated" for metric in one.metrics
            ):
                self._note("simulated", "an instrument plays back or makes up", record.arm)

    def lines(self) -> list[str]:
        return [f"{code}: {self._last[code]}{_times(n)}" for code, n in self._counts.items()]

    def _note(self, code: str, what: str, arm: str) -> None:
        self._counts[code] = self._counts.get(code, 0) + 1
        self._last[code] = f"{what} ({arm})"

    def _of_trial(self, record: TrialRecord) -> Iterator[tuple[str, str]]:
        if record.status == "error":
            said = one_line(record.error.message, 120) if record.error is not None else "failed"
            yield "failures", f"trial {record.trial}: {said}"
        effective = record.effective
        if effective.simulated:
            yield "simulated", "no model is measured"
        for name, what in effective.not_effective.items():
            yield "config-not-effective", f"{one_line(name, 40)}: {one_line(what, 80)}"

    def _of_calls(self, calls: list[CallRecord], load: Load | None) -> Iterator[tuple[str, str]]:
        bounds, loads = self._bounds, call_metric("server_load_ms").formula
        waits = [found for call in calls if (found := loads(call)) is not None]
        for wait in waits:
            if wait > max(bounds.load_max_ms, bounds.load_ratio_max * min(waits)):
                yield "cold-in-warm", f"the model was loaded in a measured call, {wait / 1e3:.1f} s"
        if any(call.clock_stepped for call in calls):
            yield "clock-step", "the wall clock was set"
        lags = [call.client_lag_p99_ns for call in calls if call.stamp_source == "user"]
        worst_ms = max((lag for lag in lags if lag is not None), default=0) / 1e6
        if worst_ms > bounds.client_lag_max_ms:
            yield "client-lag", f"user-space stamps, up to {worst_ms:.1f} ms late"
        if isinstance(load, OpenLoad):
            yield from self._of_sending(calls)

    def _of_sending(self, calls: list[CallRecord]) -> Iterator[tuple[str, str]]:
        lag, e2e = call_metric("send_lag_ms").formula, call_metric("e2e_ms").formula
        lags = [found for call in calls if (found := lag(call)) is not None]
        took = sorted(found for call in calls if (found := e2e(call)) is not None)
        bound = self._bounds.send_lag_max_ms
        if took:
            bound = max(bound, self._bounds.send_lag_share_max * took[len(took) // 2])
        late = [one for one in lags if one > bound]
        if len(late) >= max(SLIPS_MIN, 0.01 * len(lags)):
            yield "schedule-slip", f"{len(late)} requests sent up to {max(late):.1f} ms late"

    def _of_host(self, one: IterationRecord) -> Iterator[str]:
        host = one.host
        if host is None:
            return
        if host.steal_share is not None and host.steal_share > self._bounds.steal_share_max:
            yield f"{host.steal_share:.0%} of the CPU time was taken by the hypervisor"
        if (
            host.throttled_share is not None
            and host.throttled_share > self._bounds.throttled_share_max
        ):
            yield f"a core was slowed down by heat for {host.throttled_share:.0%} of the time"


def _times(n: int) -> str:
    return f", {n} times" if n > 1 else ""
