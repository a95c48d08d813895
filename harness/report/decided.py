"""What rules of the spec decided while the run went on: a line each."""

from __future__ import annotations

from collections.abc import Iterator

from harness.report.figures import number, percent
from harness.schema import SearchResult, Stopping, Summary
from harness.text import one_line

__all__ = ["decided"]


def decided(summary: Summary) -> Iterator[str]:
    """Searches by arm; adaptive stopping, taken together."""
    yield from map(_searched, summary.search)
    if summary.stopping:
        yield _stopped(summary.stopping)


def _searched(one: SearchResult) -> str:
    name = one.path.rpartition(".")[2]
    probes = {probe.load: probe for probe in one.probes}
    arm = one_line(one.arm, 60)
    if one.highest is None:
        found = f"no {name} was shown to meet the SLO"
    else:
        share = probes[one.highest]
        found = (
            f"{name} {number(one.highest)} is the highest shown to meet the SLO, {share.good} of "
            f"{share.requests} requests good (at least {percent(one.share_min)} asked for)"
        )
    above = probes.get(one.next_higher) if one.next_higher is not None else None
    if above is None:
        return f"{arm}: {found}"
    what = {"fails": "fails", "invalid": "could not be offered", "undecided": "is undecided"}
    return f"{arm}: {found}; {number(above.load)} {what.get(above.decision, above.decision)}"


def _stopped(found: tuple[Stopping, ...]) -> str:
    bound, metric = percent(found[0].bound), found[0].metric
    reached = [one for one in found if one.decision == "reached"]
    cells = f" in {len(reached)} of {len(found)} cells" if len(found) > 1 else ""
    if not reached:
        return f"stop: {metric} is not known to ±{bound} after {found[0].trials} trials"
    trials = sorted({one.trials for one in reached})
    many = f"{trials[0]} to {trials[-1]}" if len(trials) > 1 else f"{trials[0]}"
    return f"stop: {metric} is known to ±{bound}{cells} after {many} trials"
