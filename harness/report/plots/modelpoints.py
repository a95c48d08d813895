"""Models as points: which can be drawn by two figures, and why the others cannot.

A model that did not pass is no point, and neither is one of which a coordinate is unknown: both are
named with the reason. A value of 0 is known, but has no place on a logarithmic axis.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from msgspec import Struct

from harness.engine.cells import configuration
from harness.errors import SpecError
from harness.report.models import ModelRow, own_metrics
from harness.report.plots.arms import Shown, figure_of
from harness.report.plots.source import Key, Source, Unfit
from harness.report.plots.words import metric_label
from harness.text import one_line

__all__ = [
    "PARAMETERS",
    "Left",
    "Model",
    "Models",
    "Spot",
    "best_known",
    "models_of",
    "spots",
]

PARAMETERS: Final = "parameters"
"""The axis of sizes: no metric, but what the model is."""

Location = Literal["local", "api"] | None
Left = dict[str, str]
"""Model → why it is not drawn."""

_FAMILIES: Final = {
    name: name
    for name in (
        "claude",
        "command",
        "deepseek",
        "falcon",
        "gemini",
        "gemma",
        "gpt",
        "granite",
        "grok",
        "llama",
        "mistral",
        "nova",
        "olmo",
        "phi",
        "qwen",
        "smollm",
    )
} | {  # under another name
    "codestral": "mistral",
    "ministral": "mistral",
    "mixtral": "mistral",
    "qwq": "qwen",
}


class Model(Struct, frozen=True, kw_only=True):
    """One model of the run, in one arm and cell."""

    key: Key
    name: str
    """With `*` where its size is only declared."""
    family: str
    location: Location
    parameters: int | None


class Models(Struct, frozen=True, kw_only=True):
    """All that passed, and why the others did not."""

    every: tuple[Model, ...]
    families: tuple[str, ...]
    """In the order of the run: a family's colour is its place, in every figure."""
    left: Left
    scores: tuple[str, ...]
    """What the scenario itself measured."""


class Spot(Struct, frozen=True, kw_only=True):
    """A model at its place."""

    model: Model
    x: float
    y: float
    shown: Shown
    """Of y: n and interval."""
    area: float | None = None


def models_of(source: Source) -> Models:
    """Raises Unfit where the run does not compare models; then its records are not read."""
    asked = {_asked(source, key) for key in source.by_key}
    if len(asked) < 2:
        raise Unfit("all of it is one model (sweep backend.model, or give each arm its own)")
    rows = [row for row in source.model_rows if Key(row.arm, row.cell) in source.by_key]
    names = _names(rows)
    every, left = [], {}
    for row in rows:
        key = Key(row.arm, row.cell)
        if row.outcome == "passed":
            every.append(_model(row, names[key]))
        else:
            left[names[key]] = one_line(f"{row.outcome}: {row.reason}", 120).removesuffix(": ")
    families = tuple(dict.fromkeys(family_of(row.model or row.label) for row in rows))
    return Models(every=tuple(every), families=families, left=left, scores=tuple(own_metrics(rows)))


def spots(
    source: Source, models: Models, x: str, y: str, *, area: str | None = None
) -> tuple[list[Spot], Left]:
    """Who can be drawn at (x, y), and why the others cannot. `x` is PARAMETERS or a metric."""
    found, left = [], {}
    for model in models.every:
        across = _across(source, model, x)
        shown = figure_of(source, model.key, y)
        size = figure_of(source, model.key, area) if area is not None else None
        if across is None:
            left[model.name] = f"{_said(x)} not known"
        elif across <= 0:
            left[model.name] = f"{_said(x)} is 0: no place on a logarithmic axis"
        elif shown is None or shown.mean is None:
            left[model.name] = f"{_said(y)} not known"
        elif area is not None and (size is None or size.mean is None or size.mean < 0):
            left[model.name] = f"{_said(area)} not known"
        else:
            spread = size.mean if size is not None else None
            found.append(Spot(model=model, x=across, y=shown.mean, shown=shown, area=spread))
    return found, left


def best_known(source: Source, models: Models, names: Iterable[str]) -> str | None:
    """The one that most models have a value of, and of those the first; None: nobody has any."""
    counts = {
        name: sum(
            (shown := figure_of(source, model.key, name)) is not None and shown.mean is not None
            for model in models.every
        )
        for name in names
    }
    found = max(counts, key=lambda name: counts[name], default=None)
    return found if found is not None and counts[found] else None


def family_of(name: str) -> str:
    """`qwen` of `Qwen/Qwen2.5-7B-Instruct`: the first family that its name speaks of, else the
    letters that it begins with."""
    path = name.lower().rstrip("/").split("/")
    for part in reversed(path):
        known = [(part.index(word), said) for word, said in _FAMILIES.items() if word in part]
        if known:
            return min(known)[1]
    letters = re.search(r"[^\W\d_]+", path[-1])
    return one_line(letters[0], 20) if letters else "others"


def _said(name: str) -> str:
    """A metric in words; the axis of sizes is `size`."""
    return "size" if name == PARAMETERS else metric_label(name, "")


def _across(source: Source, model: Model, x: str) -> float | None:
    if x == PARAMETERS:
        return model.parameters
    shown = figure_of(source, model.key, x)
    return shown.mean if shown is not None else None


def _asked(source: Source, key: Key) -> tuple[str, str | None]:
    manifest = source.run.manifest
    try:
        backend = configuration(manifest.spec, key.arm, key.cell, manifest.cells).backend
    except SpecError:  # of a run that another version made
        backend = manifest.spec.backend
    return backend.name, backend.model


def _model(row: ModelRow, name: str) -> Model:
    return Model(
        key=Key(row.arm, row.cell),
        name=name,
        family=family_of(row.model or row.label),
        location=row.location,
        parameters=row.size.parameters,
    )


def _names(rows: Sequence[ModelRow]) -> dict[Key, str]:
    """The shortest that tell them apart: the model, with its arm where two have the same."""
    plain = [row.label.rpartition("/")[2] or row.label for row in rows]
    if len(set(plain)) < len(rows):
        plain = [row.label for row in rows]
    if len(set(plain)) < len(rows):
        plain = [f"{row.label} ({row.arm})" for row in rows]
    return {
        Key(row.arm, row.cell): name + ("*" if row.size.source == "declared" else "")
        for row, name in zip(rows, plain, strict=True)
    }
