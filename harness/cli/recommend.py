"""`harness recommend`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from harness.compare.factors import Factor
    from harness.compare.options import Option, Recommendation
    from harness.schema import Effect, RunSpec

ROWS_MAX = 40

EXAMPLES = """
\b
Examples:
  harness recommend latest
  harness recommend latest --metric throughput_tok_s --slo ttft_ms=500
  harness recommend latest --metric throughput_tok_s --metric ttft_ms     what is the trade?
  harness recommend latest --spec best.yaml && harness run best.yaml
"""


@click.command("recommend", short_help="Which arm and cell is best.", epilog=EXAMPLES)
@click.argument("run", metavar="RUN", default="latest")
@click.option(
    "--metric", "metrics", metavar="NAME", multiple=True,
    help="What is to be better; several: what trade there is. Default: the scenario's headline.",
)  # fmt: skip
@click.option(
    "--slo", metavar="NAME=BOUND", multiple=True,
    help="A mean that candidates must be shown to keep: at most, or at least where higher is "
    "better. May be repeated.",
)  # fmt: skip
@click.option(
    "--spec", "spec_file", metavar="FILE", type=click.Path(path_type=Path),
    help="Write the run's spec with the recommended options alone.",
)  # fmt: skip
@click.option("--anyway", is_flag=True, help="Also of a simulated, invalid or incomplete run.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(
    run: str,
    metrics: tuple[str, ...],
    slo: tuple[str, ...],
    spec_file: Path | None,
    anyway: bool,
    as_json: bool,
) -> int:
    """Which arm and cell of RUN is best, said only as far as its trials show it: the effects with
    their intervals, what cannot be told apart and how many trials that would take, and which
    factors of the sweep had an effect at all. docs/auditing.md describes the tests.
    """
    from harness.cli.harmless import print_json
    from harness.cli.terminal import say
    from harness.compare.recommend import recommend, refusal
    from harness.errors import HarnessError
    from harness.store import load_run

    bounds = dict(map(_bound, slo))
    loaded = load_run(run)
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    why = refusal(loaded.summary, (*metrics, *bounds))
    if why and not anyway:
        raise HarnessError(
            f"nothing is recommended: {why}", where=str(loaded.path), remedy="--anyway shows it"
        )
    found = recommend(loaded, metrics, slo=bounds, watermark=why)
    if as_json:
        print_json(found, indent=2)
    else:
        _print(found)
    if spec_file is not None:
        _write_spec(found, loaded.manifest.spec, spec_file)
    return 0


def _bound(text: str) -> tuple[str, float]:
    from harness.errors import SpecError

    name, _, bound = text.partition("=")
    try:
        return name.strip(), float(bound)
    except ValueError:
        raise SpecError(
            f"{text!r} is no bound", where="--slo", remedy="such as ttft_ms=500"
        ) from None


# ---- on the terminal


def _print(found: Recommendation) -> None:
    from rich.text import Text

    from harness.cli.terminal import console
    from harness.text import one_line

    out = console()
    if found.watermark:
        text = f"NOT TO BE ACTED ON: {one_line(found.watermark, 200)}"
        out.print(Text(text, "bold red"), soft_wrap=True)
    out.print(Text(one_line(found.sentence, 600), "bold"))
    out.print(_table(found))
    if len(found.options) > ROWS_MAX:
        out.print(f"{len(found.options) - ROWS_MAX} more in --json", highlight=False)
    for line in (*_needed(found), *map(_factor, found.factors), *_doubts(found)):
        out.print(Text(one_line(line, 600)))


def _table(found: Recommendation) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from harness.report.figures import UNKNOWN, interval, number
    from harness.text import one_line

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("option", overflow="fold")
    shown = list(dict.fromkeys(name for one in found.options for name in one.levels))
    for name in shown:
        table.add_column(f"{name}\nmean over trials", justify="right")
    table.add_column("n", justify="right")
    table.add_column("the best against it", overflow="fold")
    against = dict(zip([_key(o) for o in _others(found)], found.effects, strict=False))
    for one in found.options[:ROWS_MAX]:
        cells = []
        for name in shown:
            level = one.levels.get(name)
            around = interval(level.low, level.high, 3) if level else UNKNOWN
            cells.append(
                f"{number(level.mean)}\n{around}" if level and around != UNKNOWN
                else number(level.mean if level else None)
            )  # fmt: skip
        n = max((level.n for level in one.levels.values()), default=0)
        style = {"recommended": "bold green", "out": "dim", "unknown": "dim"}.get(one.status, "")
        name = one.arm if one.cell in ("", "base") else f"{one.arm} / {one.cell}"
        words = _words(one, against.get(_key(one)), found)
        table.add_row(Text(one_line(name, 120), style), *cells, str(n), Text(one_line(words, 200)))
    return table


def _others(found: Recommendation) -> list[Option]:
    """In the order of the effects."""
    if not found.best:
        return []
    name = found.objectives[0].metric
    return [one for one in found.options if one is not found.best[0] and name in one.levels]


def _key(one: Option) -> tuple[str, str]:
    return one.arm, one.cell


def _words(one: Option, effect: Effect | None, found: Recommendation) -> str:
    if one.status in ("out", "unknown"):
        return one.because
    if found.best and one == found.best[0]:
        return "not ranked" if found.unranked and len(found.best) > 1 else "the best mean"
    if effect is None:
        return one.because
    if one.status == "beaten" and effect.words not in ("better", "worse", "changed"):
        return f"{one.because}; against the best mean: {effect.sentence}"
    return effect.sentence


def _needed(found: Recommendation) -> list[str]:
    more = [one.more_trials for one in found.best if one.more_trials]
    if more:
        return [
            f"still needed: {min(more)} to {max(more)} more trials each to tell the options apart, "
            "if the differences are what they look like"
            if min(more) != max(more)
            else f"still needed: {more[0]} more trials each to tell the options apart, if the "
            "differences are what they look like"
        ]
    few = [level.n for one in found.options for level in one.levels.values()]
    return [f"still needed: {5 - min(few)} more trials each"] if few and min(few) < 5 else []


def _factor(one: Factor) -> str:
    from harness.report.figures import number, percent

    levels = ", ".join(f"{level}: {number(mean)}" for level, mean in one.levels.items())
    if one.p_holm is None:
        return f"factor {one.name}: too few trials to tell ({levels})"
    word = "an effect" if one.p_holm < 0.05 else "no effect shown"
    return (
        f"factor {one.name}: {word} (levels within {percent(one.spread_share)}, n = {one.n}, "
        f"p = {one.p_holm:.3f}): {levels}"
    )


def _doubts(found: Recommendation) -> list[str]:
    return [f"caveats of the run: {', '.join(found.doubts)}"] if found.doubts else []


# ---- as a spec


def _write_spec(found: Recommendation, spec: RunSpec, path: Path) -> None:
    """The run's own spec, with the best option's arm and cell merged in and the sweep left out."""
    import yaml

    from harness.cli.terminal import say
    from harness.errors import HarnessError, StoreError
    from harness.text import one_line

    if not found.best:
        raise HarnessError("there is no option to write", where=str(path))
    if spec.backend.name == "imported":
        raise HarnessError(
            "an imported table has no spec that could be run", where=str(path), remedy="no --spec"
        )
    best = found.best[0]
    lines = [f"# {one_line(found.sentence, 500)}", f"# From run {found.run_id}."]
    if found.watermark:
        lines.insert(0, f"# NOT TO BE ACTED ON: {one_line(found.watermark, 200)}")
    text = yaml.safe_dump(_options(spec, best), sort_keys=False, allow_unicode=True)
    try:
        path.write_text("\n".join(lines) + "\n" + text, "utf-8")
    except OSError as error:
        raise StoreError(error.strerror or str(error), where=str(path)) from None
    say(f"written: {path}")


def _options(spec: RunSpec, best: Option) -> dict[str, Any]:
    import msgspec

    from harness.engine.specfile import merge, set_path

    raw: dict[str, Any] = msgspec.to_builtins(spec)
    arm = spec.arms.get(best.arm)
    for name in ("backend", "scenario", "load"):
        patch = getattr(arm, name) if arm else {}
        if patch:
            raw[name] = merge(raw.get(name) or {}, patch)
    for place, value in best.values.items():
        if isinstance(value, dict):
            patch = value
            for part in reversed(place.split(".")):
                patch = {part: patch}
            raw = merge(raw, patch)
        else:
            set_path(raw, place, value)
    for gone in ("arms", "sweep", "stop", "search"):
        raw.pop(gone, None)
    return raw
