"""Agents at once, as a section of the comparison report."""

from __future__ import annotations

from collections.abc import Iterator

from harness.protocols import RunData
from harness.report.aggregate import label
from harness.report.cells import table
from harness.report.figures import UNKNOWN, number
from harness.report.sanitise import code, markdown
from harness.report.together import FIGURES, agent_rows, gains, known_figures
from harness.schema import MetricSummary

__all__ = ["agents"]


def agents(run: RunData) -> Iterator[str]:
    """Nothing where no two agents worked at once, and none alone."""
    summary = run.summary
    if not any(arm.agents for arm in summary.arms):
        return
    yield "## Agents at once"
    yield ""
    for said in gains(summary):
        yield f"- **{markdown(said.label)}**: {markdown(said.gain.sentence, 1000)}."
        yield f"  {markdown(said.details, 2000)}."
    if any(True for _ in gains(summary)):
        yield ""
        yield (
            "The speed-up is the measured time of the agents one after another / their wall time "
            "at once; every other table has the figures of agents at once alone."
        )
        yield ""
    yield "Medians of each agent, with n, alone and together with the others."
    yield ""
    names = known_figures(summary)
    figures = (f"{head}, {unit}" for head, unit in map(FIGURES.__getitem__, names))
    rows = []
    for arm in summary.arms:
        for agent, side, found in agent_rows(arm):
            medians = (_median(found.get(name)) for name in names)
            rows.append([markdown(label(arm, summary)), code(agent), side, *medians])
    yield from table(["Arm", "Agent", "Worked", *figures], rows)


def _median(one: MetricSummary | None) -> str:
    return f"{number(one.median)} (n = {one.n})" if one is not None and one.n else UNKNOWN
