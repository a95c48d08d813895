"""Agents at once: whether it pays off, and each agent alone and together."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from harness.report.aggregate import label
from harness.report.page.tables import Cell, Column, Table, Tone, figure, table
from harness.report.page.tables import label as text
from harness.report.together import FIGURES, agent_rows, gains, known_figures
from harness.schema import Summary

__all__ = ["AgentsShown", "agents_shown"]

TONES: Final[dict[str, Tone]] = {"pays off": "good", "a loss": "bad"}


class AgentsShown(Struct, frozen=True, kw_only=True):
    sentences: tuple[tuple[str, str, str, Tone], ...]
    """(arm, sentence, details, tone)."""
    table: Table


def agents_shown(summary: Summary) -> AgentsShown | None:
    """None where no two agents worked at once, and none alone."""
    if not any(arm.agents for arm in summary.arms):
        return None
    names = known_figures(summary)
    columns = [Column(head="Arm"), Column(head="Agent"), Column(head="Worked")]
    columns += [Column(head=FIGURES[n][0], unit=FIGURES[n][1], numeric=True) for n in names]
    rows: list[list[Cell]] = []
    for arm in summary.arms:
        for agent, side, found in agent_rows(arm):
            place = [text(label(arm, summary)), text(agent), text(side)]
            rows.append([*place, *(figure(found.get(name)) for name in names)])
    return AgentsShown(
        sentences=tuple(
            (said.label, said.gain.sentence, said.details, TONES.get(said.gain.words, ""))
            for said in gains(summary)
        ),
        table=table("Agents alone and together, medians", columns, rows, 3),
    )
