"""How the run went: taken up again, stopped by a rule, searching for a load."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from harness.engine.resume import conditions
from harness.engine.rules.view import RunView
from harness.engine.search import contradictions
from harness.metrics import (
    CALL_METRICS,
    CONCURRENCY_METRICS,
    ENERGY_METRICS,
    ITERATION_METRICS,
    session_of,
)
from harness.schema import Caveat, Probe, SearchResult, Stopping
from harness.text import listed, one_line

__all__ = ["not_narrow", "resumed", "search"]

SHOWN_MAX: Final = 4
TRIALS_ADVISED_MAX: Final = 1000
OURS: Final = frozenset(
    one.name
    for of in (CALL_METRICS, ITERATION_METRICS, ENERGY_METRICS, CONCURRENCY_METRICS)
    for one in of
)


def resumed(view: RunView) -> Iterator[Caveat]:
    """The run was made in several goes: the machine or the server may have been another one."""
    if not view.sessions:
        return
    changed = {**_machine(view), **_servers(view)}
    shown = [f"{name}: {', then '.join(values)}" for name, values in changed.items()][:SHOWN_MAX]
    more = f" and {len(changed) - SHOWN_MAX} more" if len(changed) > SHOWN_MAX else ""
    times = f"taken up again {len(view.sessions)} time{'s' if len(view.sessions) > 1 else ''}"
    yield Caveat(
        code="resumed",
        severity="doubtful" if changed else "note",
        message=f"the run was {times}"
        + (f", and meanwhile changed: {'; '.join(shown)}{more}" if changed else ""),
        evidence={
            "sessions": [one.started for one in view.sessions],
            "run_again": sum(len(one.superseded) for one in view.sessions),
            "changed": changed,
        },
        remedy="run it again in one go" if changed else "",
    )


def _machine(view: RunView) -> dict[str, list[str]]:
    """Condition → its values, session by session, of those that were not always the same."""
    environment = view.manifest.environment
    found = [conditions(environment)]
    for session in view.sessions:
        environment = session.environment or environment
        found.append(conditions(environment))
    names = dict.fromkeys(name for one in found for name in one)
    values = {name: list(dict.fromkeys(one.get(name, "none") for one in found)) for name in names}
    return {name: seen for name, seen in values.items() if len(seen) > 1}


def _servers(view: RunView) -> dict[str, list[str]]:
    """The same of what each arm's server said of itself: between sessions, not within one."""
    session = session_of(view.sessions)
    changed: dict[str, list[str]] = {}
    for arm in view.arms:
        seen: dict[int, set[str]] = defaultdict(set)
        for trial in arm.trials:
            account = trial.effective
            parts = (account.server, account.server_version, account.model_digest)
            if any(parts):
                seen[session(trial.trial)].add(" ".join(part[:40] for part in parts if part))
        values = [", ".join(sorted(seen[number])) for number in sorted(seen)]
        if len(set(values)) > 1:
            changed[f"server of {arm.name}"] = list(dict.fromkeys(values))
    return changed


def not_narrow(view: RunView) -> Iterator[Caveat]:
    """Adaptive stopping came to the last trial, and intervals are still wider than asked for."""
    wide = [one for one in view.stopping if one.decision == "cap"]
    if not wide:
        return
    worst = max(wide, key=_widest)
    named = _figures(view)
    if worst.metric not in named:
        yield _no_such_figure(worst, named)
        return
    width = _widest(worst)
    known = f"is known to ±{width:.1%}" if math.isfinite(width) else "has no interval"
    where = "" if worst.cell == "base" else f" in {worst.cell}"
    cells = f" (so it is in {len(wide)} of {len(view.stopping)} cells)" if len(wide) > 1 else ""
    yield Caveat(
        code="not-narrow",
        severity="note",
        message=f"after {worst.trials} trials {worst.metric}{where} {known}, and "
        f"±{worst.bound:.1%} was asked for{cells}",
        evidence={"relative_widths": {one.cell: one.relative_widths for one in wide}},
        remedy=_more_trials(worst, width),
    )


def _figures(view: RunView) -> list[str]:
    """What any trial had a figure of; the scenario's own first, of which few people know all."""
    metrics = {one.name: None for arm in view.arms for one in arm.summary.metrics if one.n}
    return sorted(metrics, key=lambda name: name in OURS)


def _no_such_figure(one: Stopping, named: Sequence[str]) -> Caveat:
    """A name that nothing reported: no number of trials would have been enough."""
    from harness.strict import nearest

    close = nearest(one.metric, named)
    return Caveat(
        code="not-narrow",
        severity="note",
        message=f"no trial had a figure {one_line(one.metric, 60)}, so all {one.trials} trials "
        f"were made; there are {listed(named, 12)}",
        evidence={"metric": one.metric, "figures": list(named)},
        remedy=f"--set stop.metric={close}" if close else "stop.metric: one of these",
    )


def _widest(one: Stopping) -> float:
    return max((math.inf if w is None else w for w in one.relative_widths.values()), default=0.0)


def _more_trials(one: Stopping, width: float) -> str:
    """Widths fall with the root of the number of trials."""
    trials = math.ceil(one.trials * (width / one.bound) ** 2 * 1.1) if math.isfinite(width) else 0
    if not one.trials < trials <= TRIALS_ADVISED_MAX:
        return f"--set stop.relative_width_max={min(1.0, width):.2g}" if trials else ""
    return f"--set stop.trials_max={trials}, or a wider stop.relative_width_max"


def search(view: RunView) -> Iterator[Caveat]:
    """What keeps the highest load of a search from being the server's limit."""
    for one in view.search:
        against = contradictions(one)
        probe = _lowest_above(one)
        if against:
            yield _search_caveat(
                one,
                "doubtful",
                f"{against[0][0]:g} fails, and the higher load {against[0][1]:g} meets the SLO: "
                "more load is not always worse here, so there may be a higher one that meets it",
                "sweep the loads between them, or more --requests",
            )
        if probe is not None and probe.decision == "invalid":
            yield _search_caveat(
                one,
                "doubtful",
                f"at {probe.load:g} {probe.because}: the server's limit may lie higher than what "
                "was found",
                "a faster client, less other work on this machine, or a lower search.high",
            )
        elif one.highest is None:
            why = f" ({probe.decision})" if probe is not None else ""
            yield _search_caveat(
                one,
                "note",
                f"no load was shown to meet the SLO{why}",
                "a lower search.low, or a wider slo",
            )
        elif one.next_higher is None:
            yield _search_caveat(
                one,
                "note",
                f"the highest load that was tried, {one.highest:g}, meets the SLO: the limit lies "
                "higher",
                "a higher search.high",
            )
        elif probe is not None and probe.decision == "undecided":
            yield _search_caveat(
                one,
                "note",
                f"whether {probe.load:g} meets the SLO could not be decided ({probe.because}): it "
                "counts as not met",
                "more search.trials_max, or more --requests",
            )


def _lowest_above(one: SearchResult) -> Probe | None:
    """The load that bounds the result from above."""
    return next((probe for probe in one.probes if probe.load == one.next_higher), None)


def _search_caveat(one: SearchResult, severity: Any, message: str, remedy: str) -> Caveat:
    return Caveat(
        code="search",
        severity=severity,
        message=message,
        evidence={
            "highest": one.highest,
            "next_higher": one.next_higher,
            "probes": {f"{probe.load:g}": probe.decision for probe in one.probes},
        },
        remedy=remedy,
        arm=one.arm,
    )
