"""What the figures themselves tell: of which nothing was measured twice, which cannot be, which two
configurations are one, which outputs ran away. For runs of ours and for imported tables alike."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from harness.compare.audit.finding import SHOWN, Finding
from harness.compare.measured import Measured
from harness.compare.sides import Key
from harness.engine.rules.figures import contradictions, in_words
from harness.metrics import Series
from harness.schema import IterationRecord, Manifest, Record
from harness.statistics import cv_percent
from harness.store.mapping import TableMapping
from harness.text import listed, one_line

__all__ = ["audit_rows", "audit_values"]

TOKENS: Final = ("tok", "tokens")
INPUTS: Final = ("files", "documents", "questions", "items", "pages")
NO_INPUT: Final = re.compile("skip|fail|miss|error|reject|drop|lost|cut|bad|left")
"""Names of counts of which 0 is what one wants."""
RUNAWAY: Final = 4.0
"""Times the median: an answer of that length is another piece of work."""
RUNAWAY_NEEDS: Final = 5
"""Values that a median is taken of."""


def audit_values(manifest: Manifest, found: Mapping[Key, Measured]) -> Iterator[Finding]:
    """From the series of every arm and cell."""
    yield from _single(manifest, found)
    yield from _empty_input(found)
    yield from _runaway(found)
    yield from _duplicates(manifest, found)


# ---- n = 1


def _single(manifest: Manifest, found: Mapping[Key, Measured]) -> Iterator[Finding]:
    """Arms and cells of one value: a difference between two of them may be all noise."""
    singles = [key for key, one in found.items() if _values(one) == 1]
    if len(singles) < 2 and not (singles and len(found) == 1):
        return
    yield Finding(
        code="single-value",
        severity="doubtful" if _is_imported(manifest) else "note",
        message=f"{len(singles)} of {len(found)} arms and cells have one value of each figure: they"
        " have no spread, and nothing tells a difference between them from noise",
        evidence={"arms_and_cells": [list(key) for key in singles[:SHOWN]]},
        remedy="--runs 5, or more: an interval needs 5 launches",
    )


def _values(one: Measured) -> int:
    return max((len(series.values) for series in one.series.values()), default=0)


# ---- nothing to work on


def _empty_input(found: Mapping[Key, Measured]) -> Iterator[Finding]:
    """A count of what was read in that is 0."""
    for name in _names(found, INPUTS):
        if NO_INPUT.search(name.lower()):
            continue
        series = [one.series[name] for one in found.values() if name in one.series]
        total = sum(len(one.values) for one in series)
        empty = sum(value == 0 for one in series for value in one.values)
        if empty:
            yield Finding(
                code="empty-input",
                severity="wrong" if empty == total else "doubtful",
                message=f"{name} is 0 in {empty} of {total} iterations: they worked on nothing",
                evidence={"metric": name, "empty": empty, "of": total},
                remedy="the scenario's input was not there: see to its path, and run it again",
            )


# ---- output without bound


def _runaway(found: Mapping[Key, Measured]) -> Iterator[Finding]:
    names = dict.fromkeys([*_names(found, TOKENS), "output_tokens"])
    for name in names:
        far: list[dict[str, Any]] = []
        values = [value for one in found.values() for _, value in _pairs(one, name)]
        if len(values) < RUNAWAY_NEEDS:
            continue
        median = sorted(values)[len(values) // 2]
        for key, one in found.items():
            far += [
                {"arm": key[0], "cell": key[1], "trial": place[0], "tokens": value}
                for place, value in _pairs(one, name)
                if median > 0 and value > RUNAWAY * median
            ]
        if far:
            far.sort(key=lambda one: -float(one["tokens"]))
            yield Finding(
                code="runaway-output",
                severity="doubtful",
                message=f"{len(far)} of {len(values)} values of {name} are more than {RUNAWAY:g} "
                f"times the median of {median:.6g}, the largest {far[0]['tokens']:.6g}: durations "
                "and rates of these are of another piece of work",
                evidence={"median": median, "largest": far[:SHOWN]},
                remedy="bound the output (max_tokens), and give a seed",
            )


def _pairs(one: Measured, name: str) -> Iterator[tuple[tuple[int, int], float]]:
    series: Series | None = one.series.get(name)
    if series is not None:
        yield from zip(series.places, series.values, strict=True)


# ---- the same thing twice


def _duplicates(manifest: Manifest, found: Mapping[Key, Measured]) -> Iterator[Finding]:
    """Cells of one arm that asked for the very same, under two names."""
    groups: dict[tuple[str, bytes], list[Key]] = defaultdict(list)
    for key, one in found.items():
        groups[key[0], _configuration(manifest, key, one)].append(key)
    same = [keys for keys in groups.values() if len(keys) > 1]
    if not same:
        return
    example = max(same, key=len)
    metric, means = _spread(found, example)
    yield Finding(
        code="duplicate-cells",
        severity="doubtful" if _is_imported(manifest) else "note",
        message=f"{sum(map(len, same))} cells are but {len(same)} "
        f"configuration{'s' if len(same) > 1 else ''}, such as "
        f"{listed([cell for _, cell in example])} of {one_line(example[0][0], 40)}"
        + (
            f": {metric} is {min(means):.5g} to {max(means):.5g} in them, all of it noise"
            if metric
            else ""
        ),
        evidence={"duplicates": [[list(key) for key in keys] for keys in same[:SHOWN]]},
        remedy="what differs between them is the width of noise (an A/A comparison): count them as "
        "one, or leave them out",
    )


def _configuration(manifest: Manifest, key: Key, one: Measured) -> bytes:
    """What the cell asks for. Of a table, what its rows say (a baseline has none of the factors of
    the cell that it stands in)."""
    if _is_imported(manifest):
        options: Any = [trial.effective.options for trial in one.trials[:1]]
    else:
        options = manifest.cells.get(key[1], {})
    return msgspec.json.encode(options, order="sorted")


def _spread(found: Mapping[Key, Measured], keys: Iterable[Key]) -> tuple[str, list[float]]:
    """The steadiest figure with a direction, and its means: the one whose differences say most."""
    means: dict[str, list[float]] = defaultdict(list)
    for key in keys:
        for name, series in found[key].series.items():
            if series.values and series.better != "neither":
                means[name].append(sum(series.values) / len(series.values))
    steady = {n: cv for n, m in means.items() if len(m) > 1 and (cv := cv_percent(m))}
    if not steady:
        return "", []
    name = min(steady, key=lambda one: steady[one])
    return name, means[name]


# ---- rows that were imported


def audit_rows(manifest: Manifest, records: Iterable[Record]) -> Iterator[Finding]:
    """Figures beyond their bounds; tokens of 0 in rows that are ok; figures that their source's own
    data contradict; what the source should have had."""
    if not _is_imported(manifest):
        return
    bounds = _bounds(manifest)
    beyond: dict[str, list[tuple[Any, float]]] = defaultdict(list)
    zero: list[Any] = []
    disagrees: list[dict[str, Any]] = []
    rows = 0
    for record in records:
        if not isinstance(record, IterationRecord):
            continue
        disagrees += contradictions(record)
        if record.status != "ok":
            continue
        rows += 1
        row = record.data.get("row", 0)
        for metric in record.metrics:
            if metric.unit in TOKENS and metric.value == 0:
                zero.append(row)
            elif (bound := bounds.get(metric.name)) and not _within(metric.value, bound):
                beyond[metric.name].append((row, metric.value))
    if zero:
        yield Finding(
            code="zero-tokens",
            severity="doubtful",
            message=f"{len(zero)} of {rows} rows are ok, and gave no token: what failed was "
            "averaged as a rate of 0",
            evidence={"rows": zero[:SHOWN]},
            remedy="`failed` in the mapping, or `where`, leaves them out",
        )
    for name, found in beyond.items():
        yield Finding(
            code="impossible-figure",
            severity="wrong",
            message=f"{len(found)} values of {name} are not within {_in_words(bounds[name])}, "
            f"first {found[0][1]:.6g} in row {one_line(str(found[0][0]), 200)}",
            evidence={"rows": [list(pair) for pair in found[:SHOWN]]},
            remedy="the source, or the bound, is wrong",
        )
    if disagrees:
        yield Finding(
            code="stated-differs",
            severity="wrong",
            message=f"{len(disagrees)} figures are not what their source's own data give; first "
            f"{in_words(disagrees[0])}",
            evidence={"figures": disagrees[:SHOWN]},
            remedy="believe the data: a figure that cannot be derived again is no result",
        )
    gaps = manifest.spec.scenario.options.get("gaps")
    if isinstance(gaps, list) and gaps:
        yield Finding(
            code="source-incomplete",
            severity="doubtful",
            message=f"{len(gaps)} results should be there and are not: {listed([*map(str, gaps)])}",
            evidence={"gaps": gaps[:SHOWN]},
            remedy="a run that failed is a result too: ask whoever measured",
        )


Bound = tuple[float | None, float | None]


def _within(value: float, bound: Bound) -> bool:
    low, high = bound
    return (low is None or value >= low) and (high is None or value <= high)


def _in_words(bound: Bound) -> str:
    low, high = bound
    return f"{'-∞' if low is None else f'{low:g}'} … {'∞' if high is None else f'{high:g}'}"


def _bounds(manifest: Manifest) -> dict[str, Bound]:
    """What the importer knows of its figures; of a table, what its mapping says."""
    options = manifest.spec.scenario.options
    try:
        if "mapping" not in options:
            return msgspec.convert(options.get("bounds", {}), dict[str, Bound])
        mapping = msgspec.convert(options["mapping"], TableMapping)
    except msgspec.ValidationError:
        return {}  # of another version: nothing is known of its bounds
    return {
        name: (one.minimum, one.maximum)
        for name, one in mapping.metrics.items()
        if one.minimum is not None or one.maximum is not None
    }


def _is_imported(manifest: Manifest) -> bool:
    return manifest.spec.backend.name == "imported"


def _names(found: Mapping[Key, Measured], units: tuple[str, ...]) -> list[str]:
    names: dict[str, None] = {}
    for one in found.values():
        names |= {name: None for name, series in one.series.items() if series.unit in units}
    return list(names)
