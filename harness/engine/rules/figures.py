"""Can the figures be read, and compared."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Set
from typing import Any, Final

import msgspec

from harness.engine.cells import configuration
from harness.engine.rules.outcome import errors
from harness.engine.rules.view import ArmView, RunView, label, places
from harness.schema import Caveat, IterationRecord, OpenLoad, RunSpec
from harness.text import listed, one_line

__all__ = [
    "OUTPUT_RATIO_MAX",
    "contradicted",
    "contradictions",
    "imported",
    "in_words",
    "made_up",
    "too_few",
    "unbounded_output",
    "what_was_measured",
]

OUTPUT_RATIO_MAX: Final = 1.10
"""Mean output tokens per call between arms. Duration is close to proportional to it, so a larger
difference would pass for a 10 % difference in speed."""

TRIALS_ADVISED: Final = 5
"""From as many launches on, means have an interval (harness.statistics.GROUPS_MIN)."""


def unbounded_output(view: RunView) -> Iterator[Caveat]:
    """Arms whose calls generated clearly different numbers of tokens. Said once, of the worst."""
    groups = [means for group in _alike(view) if len(means := _output_means(group, view)) > 1]
    if not groups:
        return
    means = max(groups, key=_ratio)
    least, most = min(means.values()), max(means.values())
    if _ratio(means) > OUTPUT_RATIO_MAX:
        yield Caveat(
            code="unbounded-output",
            severity="doubtful",
            message=f"the arms generated {least:.1f} to {most:.1f} tokens per call, so their "
            "durations are not comparable",
            evidence={"output_tokens_per_call": means, "ratio_max": OUTPUT_RATIO_MAX},
            remedy="bound the output (max_tokens, ignore_eos), or compare TTFT and TPOT only",
        )


def _alike(view: RunView) -> Iterator[list[ArmView]]:
    """Those that will be compared: the arms of each cell; and whatever executes the scenario with
    the same options. Cells of a sweep over the output's own bound are to differ."""
    groups: dict[object, list[ArmView]] = defaultdict(list)
    manifest = view.manifest
    for arm in view.arms:
        groups[arm.summary.cell].append(arm)
        asked = configuration(manifest.spec, arm.name, arm.summary.cell, manifest.cells)
        groups[msgspec.json.encode(asked.scenario, order="sorted")].append(arm)
    yield from groups.values()


def _output_means(arms: list[ArmView], view: RunView) -> dict[str, float]:
    """Name → output tokens per `ok` call, where the server counts them."""
    means: dict[str, float] = {}
    for arm in arms:
        tokens = [c.usage.output_tokens for c in arm.calls if c.status == "ok"]
        known = [count for count in tokens if count is not None]
        if known:
            means[label(arm, view)] = sum(known) / len(known)
    return means


def _ratio(means: dict[str, float]) -> float:
    least, most = min(means.values()), max(means.values())
    return most / least if least > 0 else math.inf if most > 0 else 1.0


SHOWN_MAX: Final = 3
"""Arms and cells that a message lists; the evidence has all."""


def too_few(view: RunView) -> Iterator[Caveat]:
    """Figures that n cannot carry; single launches. Where calls fail so often that the errors make
    the run invalid, more of them are no remedy."""
    broken = {caveat.arm for caveat in errors(view) if caveat.severity == "invalid"}
    lacking = {
        label(arm, view): one
        for arm in view.arms
        for one in arm.summary.metrics
        if arm.name not in broken and one.name in _shown(arm) and one.n and "p95" in one.needs
    }
    measured = [arm for arm in view.arms if not arm.is_empty]
    single = bool(measured) and all(arm.summary.trials < 2 for arm in measured)
    runs = TRIALS_ADVISED if single else 0
    if lacking:
        needs = max(one.needs["p95"] for one in lacking.values())
        times = needs / min(one.n for one in lacking.values())
        runs = max(runs, math.ceil(view.manifest.spec.trials * times))
        fewest = sorted(lacking.items(), key=lambda item: item[1].n)
        have = ", ".join(f"{one.n} ({name})" for name, one in fewest[:SHOWN_MAX])
        have += f" and {len(fewest) - SHOWN_MAX} more" if len(fewest) > SHOWN_MAX else ""
        yield Caveat(
            code="too-few",
            severity="note",
            message=f"a p95 needs {needs} values; there are {have}",
            evidence={name: {"n": one.n, "needs": one.needs} for name, one in lacking.items()},
            remedy=_more(view.manifest.spec, times, runs)
            if view.state == "finished"
            else "let it run to its end",
        )
    if single:
        yield Caveat(
            code="single-launch",
            severity="note",
            message="one trial per arm: what differs from launch to launch is in no interval",
            remedy="that is all the table has"
            if _is_imported(view)
            else f"a spec with trials: {runs} and the scenario tapped (docs/tap.md)"
            if _is_open_tap(view.manifest.spec)
            else f"--runs {runs}",
        )


def _is_open_tap(spec: RunSpec) -> bool:
    """Whether `harness tap` made it: that takes no --runs."""
    return spec.scenario.name == "tapped" and list(spec.arms) == ["tapped"]


def _more(spec: RunSpec, times: float, runs: int) -> str:
    return "more calls through the tap" if _is_open_tap(spec) else _flags(spec, times, runs)


def _shown(arm: ArmView) -> tuple[str, ...]:
    is_open = isinstance(arm.load, OpenLoad)
    return ("ttft_from_due_ms", "e2e_from_due_ms") if is_open else ("ttft_ms", "e2e_ms")


def _is_imported(view: RunView) -> bool:
    return any(iteration.imported for arm in view.arms for iteration in arm.iterations)


def _flags(spec: RunSpec, times: float, runs: int) -> str:
    """What to add to the command so that there are `times` as many values, or more."""
    if spec.load is None:
        return f"--runs {runs}"
    return f"--requests {math.ceil(spec.load.requests * times)}, or --runs {runs}"


def imported(view: RunView) -> Iterator[Caveat]:
    """Figures that somebody else measured."""
    rows = sum(iteration.imported for arm in view.arms for iteration in arm.iterations)
    if rows:
        source = view.manifest.spec.scenario.options
        yield Caveat(
            code="imported",
            severity="note",
            message=f"the figures were read from {rows} rows of {source.get('file', 'a table')}: "
            "how they were measured is not recorded, and nothing was measured here",
            evidence={name: source.get(name) for name in ("file", "sha256")} | {"rows": rows},
            remedy="`harness audit` says what the table itself contradicts",
        )


def contradicted(view: RunView) -> Iterator[Caveat]:
    """Figures that the source states otherwise than its own data have them; results that it should
    have and has not."""
    found = [
        one
        for arm in view.arms
        for iteration in arm.iterations
        for one in contradictions(iteration)
    ]
    if found:
        yield Caveat(
            code="stated-differs",
            severity="doubtful",
            message=f"{len(found)} figures are not what the source's own data give; first "
            f"{in_words(found[0])}",
            evidence={"figures": found[:10]},
            remedy="`harness audit` lists them; ours are derived from the data",
        )
    gaps = view.manifest.spec.scenario.options.get("gaps")
    if _is_imported(view) and isinstance(gaps, list) and gaps:
        yield Caveat(
            code="source-incomplete",
            severity="doubtful",
            message=f"{len(gaps)} results should be there and are not: {listed([*map(str, gaps)])}",
            evidence={"gaps": gaps[:10]},
            remedy="what failed and was left out makes the rest look better: ask whoever measured",
        )


def contradictions(iteration: IterationRecord) -> list[dict[str, Any]]:
    """harness.protocols.Stated, as imported iterations keep them."""
    found = iteration.data.get("disagrees") if iteration.imported else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def in_words(one: dict[str, Any]) -> str:
    place = one_line(str(one.get("place", "")), 200)
    figure = one_line(str(one.get("figure", "")), 80)
    return f"{place}: {figure} is {_figure(one.get('stated'))}, and its data give " + _figure(
        one.get("found")
    )


def _figure(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, int | float) else "?"


def made_up(view: RunView) -> Iterator[Caveat]:
    """Figures that an instrument played back or made up, beside a server that was real. They bear
    `simulated` wherever they go; whoever reads the rest must know of it too."""
    found: dict[tuple[str, ...], list[ArmView]] = defaultdict(list)
    names: dict[str, None] = {}
    for arm in view.arms:
        if any(trial.effective.simulated for trial in arm.trials):
            continue  # nothing of it was measured: the arm says so itself
        own = dict.fromkeys(
            metric.name
            for one in arm.iterations
            for metric in one.metrics
            if metric.provenance == "simulated"
        )
        seen = {name for one in arm.iterations for name in one.instruments}
        if own:
            found[tuple(dict.fromkeys(_source(name, seen) for name in own))].append(arm)
            names |= own
    for sources, arms in found.items():
        for place in places(arms, view):
            yield Caveat(
                code="simulated",
                severity="doubtful",
                message=f"{listed(sources)} measured nothing here: what it gives was played back "
                "or made up, and so is what is derived of it",
                evidence={"sources": list(sources), "figures": list(names)},
                remedy="hardware that is really there, or a run without it; the server's own "
                "figures stand",
                arm=place,
            )


def _source(figure: str, instruments: Set[str]) -> str:
    name, dot, _ = figure.partition(".")
    return f"the instrument {name}" if dot and name in instruments else "the scenario"


def what_was_measured(view: RunView) -> Iterator[Caveat]:
    """A stub, or a model of random weights."""
    simulated = [a for a in view.arms if any(t.effective.simulated for t in a.trials)]
    noise = [a for a in view.arms if any(t.effective.random_weights for t in a.trials)]
    for place in places(simulated, view):
        yield Caveat(
            code="simulated",
            severity="doubtful",
            message="the server is a simulation: its figures say nothing of any model",
            remedy="measure a real server",
            arm=place,
        )
    for place in places(noise, view):
        yield Caveat(
            code="random-weights",
            severity="note",
            message="the model's weights are random: its text is noise, its speed is real for a "
            "model of this shape",
            remedy="--model with a real one",
            arm=place,
        )
