"""`harness import chimeraforge PATH`: a metrics.json, a folder of them at any depth, or one of the
project's condensed tables (legacy_tables.py), as rows of an ordinary run.

    configurations → cells      the folder that holds run_1, run_2, … (or data/), below PATH
    scenarios, agents → arms    or the runtimes, where folders are called runtime-…
    runs → trials               each run's own folder
    runs, calls → iterations    of the kinds `run` and `call`, within their trial

The figures are those of legacy_figures.py. What a file states otherwise than its own data have it
goes along as harness.protocols.Stated; runs that should be there and are not, as gaps.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from harness.errors import StoreError
from harness.protocols import ImportedRow, ImportedRows, Stated
from harness.text import one_line
from harness_agents.chimeraforge import Options
from harness_agents.legacy import (
    LegacyAgent,
    LegacyCall,
    LegacyMetrics,
    LegacyPair,
    LegacySummary,
    Ttft,
    read_metrics,
    read_summary,
)
from harness_agents.legacy_cells import instant
from harness_agents.legacy_checks import (
    disagreeing_agent,
    disagreeing_call,
    disagreeing_delta,
    disagreeing_means,
    disagreeing_pair,
)
from harness_agents.legacy_figures import agent_figures, bounds_of, call_figures, pair_figures
from harness_agents.legacy_folder import METRICS, SUMMARY, Folder, Source

__all__ = ["rows_at"]

LATE: Final = "smol-1kb"
"""A build whose reader hands on nothing below a kilobyte: what it calls TTFT is none."""


def rows_at(path: Path, options: Options) -> ImportedRows:
    """Raises StoreError with file and field, SpecError for the option."""
    if path.is_dir():
        return _Reader(path, options).rows()
    if path.suffix.lower() == ".csv":
        from harness_agents.legacy_tables import read_table

        return read_table(path)
    return _Reader(path.parent, options, only=path).rows()


class _Reader:
    """Collects rows, file by file."""

    def __init__(self, root: Path, options: Options, only: Path | None = None) -> None:
        self._folder = Folder(root, options.arm)
        self._only = only
        self._seen: dict[str, str] = {}
        """File → digest."""
        self._forms: Counter[str] = Counter()
        self._rows: list[ImportedRow] = []
        self._pairs: dict[str, dict[int, LegacyPair]] = defaultdict(dict)
        """Folder of a configuration → run → what its own file says."""
        self._started: list[str] = []
        self._models: dict[str, None] = {}

    def rows(self) -> ImportedRows:
        files = [self._only] if self._only else self._folder.files()
        summaries = {p.parent: p for p in files if _is_summary(p)}
        read = {path: self._summary(path) for path in summaries.values()}
        scenarios = {path.parent: one.scenario for path, one in read.items()}
        for path in files:
            if path not in read:
                self._metrics(path, scenarios)
        for path, summary in read.items():
            self._compare(path, summary)
        if not self._rows:
            raise StoreError(
                f"no {METRICS} and no {SUMMARY} is below it",
                where=str(self._folder.root),
                remedy="the condensed tables are imported one by one: name the .csv",
            )
        return self._made()

    def _made(self) -> ImportedRows:
        name = one_line((self._only or self._folder.root).resolve().name, 200)
        arms = {row.arm for row in self._rows}
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(self._seen.items()))
        models = list(self._models)
        forms = dict(sorted(self._forms.items()))
        return ImportedRows(
            name=name.removesuffix(".json") or "chimeraforge",
            file=name,
            sha256=hashlib.sha256(lines.encode()).hexdigest(),
            rows=tuple(self._rows),
            of=len(self._rows),
            model=models[0] if len(models) == 1 else None,
            baseline=next((a for a in ("baseline", "baseline_vs_chimera") if a in arms), None),
            started=min(self._started, default=None),
            gaps=tuple(self._folder.gaps),
            bounds=bounds_of({metric.name for row in self._rows for metric in row.metrics}),
            about={"importer": "chimeraforge", "files": len(self._seen), "forms": forms},
            remarks=tuple(f"of the form {form}: {count}" for form, count in forms.items()),
        )

    # ---- which files

    def _note(self, path: Path, started: str | None) -> None:
        self._seen[self._folder.below(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        if started and (at := instant(started)):
            self._started.append(at)

    # ---- metrics.json

    def _metrics(self, path: Path, scenarios: Mapping[Path, str | None]) -> None:
        found = read_metrics(path)
        self._note(path, found.started)
        self._forms[found.form] += 1
        source = self._folder.source(path)
        ttft: Ttft = "late" if found.ttft == "measured" and _is_late(source) else found.ttft
        if found.agents:
            self._single(found, ttft, source)
        for pair in found.pairs:
            config = self._folder.configuration(path)
            self._pairs[str(config)][pair.run] = pair
            named = pair.scenario or scenarios.get(config) or _inferred(pair)
            self._pair(pair, named, ttft, source)

    def _single(self, found: LegacyMetrics, ttft: Ttft, source: Source) -> None:
        """The arms are the two agents; of a file's statements on all its runs, the first row of the
        agent has what contradicts them."""
        factors = next((a.options for a in found.agents if a.role == "chimera"), {})
        told = dict(found.told)
        for agent in found.agents:
            self._know(agent)
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
                self._rows.append(
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

    def _pair(self, pair: LegacyPair, named: str, ttft: Ttft, source: Source) -> None:
        agents = pair.agents or ()
        for agent in agents:
            self._know(agent)
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
        self._rows.append(
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
            self._rows.append(
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

    def _know(self, agent: LegacyAgent) -> None:
        if name := _model(agent):
            self._models[name] = None

    # ---- summary.json

    def _summary(self, path: Path) -> LegacySummary:
        found = read_summary(path)
        self._note(path, found.started)
        return found

    def _compare(self, path: Path, summary: LegacySummary) -> None:
        """What it says of each run against the run's own file; runs without a file are gaps, and
        what the summary has of them is all there is. What it says of all against the runs."""
        source = self._folder.source(path)
        own = self._pairs.get(str(path.parent), {})
        wrong: list[Stated] = []
        for pair in summary.pairs:
            mine = own.get(pair.run)
            if mine is None:
                self._gap(path, pair.run, source)
                ttft: Ttft = "late" if _is_late(source) else "measured"
                self._pair(pair, pair.scenario or "unknown", ttft, source)
            else:
                wrong += _unlike(pair, mine, source.file)
        known = [own.get(pair.run, pair) for pair in summary.pairs]
        wrong += disagreeing_means(summary.told, known, source.file)
        if wrong:
            self._blame(source, wrong)

    def _gap(self, summary: Path, run: int, source: Source) -> None:
        folder = f"{self._folder.below(summary.parent)}/run_{run} ".removeprefix("./")
        if not any(gap.startswith(folder) for gap in self._folder.gaps):
            self._folder.gaps.append(f"run {run} of {source.file} has no {METRICS}")

    def _blame(self, source: Source, wrong: list[Stated]) -> None:
        """The first row of the configuration has what its summary contradicts."""
        at = next(
            index
            for index, row in enumerate(self._rows)
            if str(row.place).startswith(source.file.removesuffix(SUMMARY))
        )
        row = self._rows[at]
        self._rows[at] = msgspec.structs.replace(row, disagrees=(*row.disagrees, *wrong))


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


def _unlike(told: LegacyPair, own: LegacyPair, file: str) -> list[Stated]:
    """Figures of one run that its summary has otherwise than its own file."""
    return [
        Stated(figure=name, stated=value, found=mine, place=f"{file} {told.place}")
        for name, value in told.told.figures.items()
        if (mine := own.told.figures.get(name)) is not None and mine != value
    ]


def _inferred(pair: LegacyPair) -> str:
    """Where nothing names the scenario, its two agents' options do."""
    if pair.agents is None:
        return "unknown"
    a, b = pair.agents
    if not a.options:
        return "baseline_vs_chimera"
    return "chimera_homo" if a.options == b.options else "chimera_hetero"


def _is_summary(path: Path) -> bool:
    return path.name == SUMMARY


def _is_late(source: Source) -> bool:
    return source.arm == LATE or f"runtime-{LATE}" in source.file
