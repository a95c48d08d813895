"""`harness import chimeraforge PATH`: a metrics.json, a folder of them at any depth, or one of the
project's condensed tables (tables.py), as rows of an ordinary run.

    configurations → cells      the folder that holds run_1, run_2, … (or data/), below PATH
    scenarios, agents → arms    or the runtimes, where folders are called runtime-…
    runs → trials               each run's own folder
    runs, calls → iterations    of the kinds `run` and `call`, within their trial

The figures are those of figures.py. What a file states otherwise than its own data have it
goes along as harness.protocols.Stated; runs that should be there and are not, as gaps.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from harness.errors import StoreError
from harness.protocols import ImportedRows, Stated
from harness.text import one_line
from harness_agents.chimeraforge import Options
from harness_agents.legacy.cells import instant
from harness_agents.legacy.checks import disagreeing_means
from harness_agents.legacy.figures import bounds_of
from harness_agents.legacy.folder import METRICS, SUMMARY, Folder, Source
from harness_agents.legacy.reading import read_metrics, read_summary
from harness_agents.legacy.records import LegacyPair, LegacySummary, Ttft
from harness_agents.legacy.rows import Rows

__all__ = ["rows_at"]

LATE: Final = "smol-1kb"
"""A build whose reader hands on nothing below a kilobyte: what it calls TTFT is none."""


def rows_at(path: Path, options: Options) -> ImportedRows:
    """Raises StoreError with file and field, SpecError for the option."""
    if path.is_dir():
        return _Reader(path, options).rows()
    if path.suffix.lower() == ".csv":
        from harness_agents.legacy.tables import read_table

        return read_table(path)
    return _Reader(path.parent, options, only=path).rows()


class _Reader:
    """Goes from file to file; `rows` is what they come to."""

    def __init__(self, root: Path, options: Options, only: Path | None = None) -> None:
        self._folder = Folder(root, options.arm)
        self._only = only
        self._seen: dict[str, str] = {}
        """File → digest."""
        self._forms: Counter[str] = Counter()
        self._rows = Rows()
        self._pairs: dict[str, dict[int, LegacyPair]] = defaultdict(dict)
        """Folder of a configuration → run → what its own file says."""
        self._started: list[str] = []

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
        if not self._rows.rows:
            raise StoreError(
                f"no {METRICS} and no {SUMMARY} is below it",
                where=str(self._folder.root),
                remedy="the condensed tables are imported one by one: name the .csv",
            )
        return self._made()

    def _made(self) -> ImportedRows:
        rows = self._rows.rows
        name = one_line((self._only or self._folder.root).resolve().name, 200)
        arms = {row.arm for row in rows}
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(self._seen.items()))
        models = list(self._rows.models)
        forms = dict(sorted(self._forms.items()))
        return ImportedRows(
            name=name.removesuffix(".json") or "chimeraforge",
            file=name,
            sha256=hashlib.sha256(lines.encode()).hexdigest(),
            rows=tuple(rows),
            of=len(rows),
            model=models[0] if len(models) == 1 else None,
            baseline=next((a for a in ("baseline", "baseline_vs_chimera") if a in arms), None),
            started=min(self._started, default=None),
            gaps=tuple(self._folder.gaps),
            bounds=bounds_of({metric.name for row in rows for metric in row.metrics}),
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
            self._rows.add_agents(found, ttft, source)
        for pair in found.pairs:
            config = self._folder.configuration(path)
            self._pairs[str(config)][pair.run] = pair
            named = pair.scenario or scenarios.get(config) or _inferred(pair)
            self._rows.add_pair(pair, named, ttft, source)

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
                self._rows.add_pair(pair, pair.scenario or "unknown", ttft, source)
            else:
                wrong += _unlike(pair, mine, source.file)
        known = [own.get(pair.run, pair) for pair in summary.pairs]
        wrong += disagreeing_means(summary.told, known, source.file)
        if wrong:
            self._rows.blame(source, wrong)

    def _gap(self, summary: Path, run: int, source: Source) -> None:
        folder = f"{self._folder.below(summary.parent)}/run_{run} ".removeprefix("./")
        if not any(gap.startswith(folder) for gap in self._folder.gaps):
            self._folder.gaps.append(f"run {run} of {source.file} has no {METRICS}")


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
