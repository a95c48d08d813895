"""The rows that files of agents' runs come to: a run, a pair of agents, and their calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from harness.protocols import ImportedRow, Stated
from harness.text import one_line
from harness_agents.legacy.checks import (
    disagreeing_agent,
    disagreeing_call,
    disagreeing_delta,
    disagreeing_pair,
)
from harness_agents.legacy.figures import agent_figures, call_figures, pair_figures
from harness_agents.legacy.folder import SUMMARY, Source
from harness_agents.legacy.records import LegacyAgent, LegacyCall, LegacyMetrics, LegacyPair, Ttft

__all__ = ["Rows"]


class Rows:
    """Collects them, file by file."""

    def __init__(self) -> None:
        self.rows: list[ImportedRow] = []
        self.models: dict[str, None] = {}
        """In the order in which they came."""

    def add_agents(self, found: LegacyMetrics, ttft: Ttft, source: Source) -> None:
        """The arms are the two agents; of a file's statements on all its runs, the first row of the
        agent has what contradicts them."""
        factors = next((a.options for a in found.agents if a.role == "chimera"), {})
        told = dict(found.told)
        for agent in found.agents:
            self._note_model(agent)
            wrong: list[Stated] = []
            if (of_all := told.pop(agent.role, None)) is not None:
                calls = [c for a in found.agents if a.role == agent.role for c in a.calls]
                wrong += disagreeing_agent(of_all, calls, source.file)
            wrong += self._delta(found, agent, told, source)
            place = _Place(
                arm=f"{source.arm}, {agent.role}" if source.arm else agent.role,
                cell=source.cell,
                launch=(source.launch, str(agent.run)),
                factors=factors if agent.role == "chimera" else {},
                options=agent.options,
                model=_model(agent),
            )
            made = agent_figures(agent, ttft)
            if agent.told.figures or agent.execution_s is not None or agent.files is not None:
                self.rows.append(
                    place.row(
                        f"{source.file} {agent.place}",
                        kind="run",
                        metrics=made,
                        failed=agent.failed,
                        disagrees=tuple(wrong),
                    )
                )
                wrong = []
            self._calls(agent.calls, ttft, place, source, wrong)

    def _delta(
        self, found: LegacyMetrics, agent: LegacyAgent, told: dict[str, Any], source: Source
    ) -> list[Stated]:
        """Of the differences that are stated between the two agents."""
        whole = "delta" in told and agent.role == "chimera"
        key = "delta" if whole else f"delta {agent.run}" if agent.role == "chimera" else ""
        delta = told.pop(key, None)
        if delta is None:
            return []
        if whole:
            both = found.told
            return disagreeing_delta(delta, both["baseline"], both["chimera"], source.file)
        other = [a for a in found.agents if a.role == "baseline" and a.run == agent.run]
        return disagreeing_delta(delta, other[0].told, agent.told, source.file) if other else []

    def add_pair(self, pair: LegacyPair, named: str, ttft: Ttft, source: Source) -> None:
        agents = pair.agents or ()
        for agent in agents:
            self._note_model(agent)
        a, b = (agent.options for agent in agents) if agents else ({}, {})
        scenario_told = named in source.cell.replace("-", "_")
        place = _Place(
            arm=source.arm or named,
            cell=source.cell if scenario_told or not source.arm else f"{source.cell}, {named}",
            launch=(source.launch, str(pair.run)),
            factors={f"a_{k}": v for k, v in a.items()} | {f"b_{k}": v for k, v in b.items()},
            options=None,
            model=next((name for agent in agents if (name := _model(agent))), None),
        )
        wrong = disagreeing_pair(pair, ttft, source.file)
        for agent in agents:
            wrong += disagreeing_agent(agent.told, agent.calls, source.file)
        self.rows.append(
            place.row(
                f"{source.file} {pair.place}",
                kind="run",
                metrics=pair_figures(pair, ttft),
                failed=next((agent.failed for agent in agents if agent.failed), ""),
                disagrees=tuple(wrong),
                data={"scenario": named},
            )
        )
        for agent in agents:
            self._calls(agent.calls, ttft, place, source, [], agent.role)

    def _calls(
        self,
        calls: Iterable[LegacyCall],
        ttft: Ttft,
        place: _Place,
        source: Source,
        wrong: list[Stated],
        agent: str = "",
    ) -> None:
        for call in calls:
            wrong += disagreeing_call(call, source.file)
            data = {"agent": agent, "stage": call.stage}
            self.rows.append(
                place.row(
                    f"{source.file} {call.place}",
                    kind="call",
                    metrics=call_figures(call, ttft),
                    failed=call.failed,
                    disagrees=tuple(wrong),
                    data={key: one_line(value, 60) for key, value in data.items() if value},
                )
            )
            wrong = []

    def _note_model(self, agent: LegacyAgent) -> None:
        if name := _model(agent):
            self.models[name] = None

    def blame(self, source: Source, wrong: list[Stated]) -> None:
        """The first row of the configuration has what its summary contradicts."""
        at = next(
            index
            for index, row in enumerate(self.rows)
            if str(row.place).startswith(source.file.removesuffix(SUMMARY))
        )
        row = self.rows[at]
        self.rows[at] = msgspec.structs.replace(row, disagrees=(*row.disagrees, *wrong))


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where rows belong."""

    arm: str
    cell: str
    launch: tuple[str, ...]
    factors: dict[str, Any]
    options: dict[str, Any] | None
    model: str | None

    def row(self, place: str, **what: Any) -> ImportedRow:
        return ImportedRow(place=one_line(place, 300), **msgspec.structs.asdict(self), **what)


def _model(agent: LegacyAgent) -> str | None:
    return one_line(agent.model, 120) if agent.model else None
