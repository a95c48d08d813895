"""`harness history`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from harness.compare.history import History, Point
    from harness.store import Run

BLOCKS = "▁▂▃▄▅▆▇█"
SHOWN_CHANGES = 4

EXAMPLES = """
\b
Examples:
  harness history                              all runs below ./runs
  harness history runs/ci --metric ttft_ms --fail-on-step
  harness history old/ new/ --by name --arm baseline --json
"""


@click.command("history", short_help="One figure over many runs.", epilog=EXAMPLES)
@click.argument("places", metavar="[DIR|RUN]...", nargs=-1)
@click.option("--metric", metavar="NAME", help="Default: the headline of the newest run.")
@click.option("--arm", metavar="NAME", help="This arm alone.")
@click.option("--cell", metavar="NAME", help="This cell alone.")
@click.option(
    "--by",
    type=click.Choice(["spec", "name"]),
    default="spec",
    help="What makes runs one series: the same spec, or the same name whatever the spec.",
)
@click.option(
    "--alpha",
    type=float,
    default=0.01,
    show_default=True,
    help="How often a history without a step may show one.",
)
@click.option("--fail-on-step", is_flag=True, help="Exit with 1 if a figure became worse, or "
              "(where neither direction is better) changed.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(
    places: tuple[str, ...],
    metric: str | None,
    arm: str | None,
    cell: str | None,
    by: Literal["spec", "name"],
    alpha: float,
    fail_on_step: bool,
    as_json: bool,
) -> int:
    """One figure over many runs, in the order of time: its level with its interval, the runs with
    which it stepped, and the recorded conditions that changed there. Runs that are invalid are
    shown, and left out of the series.
    """
    from harness.cli.harmless import print_json
    from harness.cli.status import DONE, FOUND
    from harness.compare.history import default_metric, history
    from harness.errors import SpecError

    if not 0 < alpha < 0.5:
        raise SpecError("must lie between 0 and 0.5", where="--alpha")
    runs = _runs(places)
    found = history(runs, metric or default_metric(runs), by=by, arm=arm, cell=cell, alpha=alpha)
    if as_json:
        print_json({"histories": found}, indent=2)
    else:
        _print(found)
    return FOUND if fail_on_step and any(map(_is_worse, found)) else DONE


def _runs(places: tuple[str, ...]) -> list[Run]:
    """Every run that was named, oldest first, each once."""
    from harness.cli.terminal import say
    from harness.compare.audit import below
    from harness.errors import StoreError
    from harness.store import load_run
    from harness.store.folder import is_run

    found: dict[str, Run] = {}
    for place in places or ("runs",):
        path = Path(place)
        folders = below(path).runs if path.is_dir() and not is_run(path) else (place,)
        for folder in folders:
            try:
                run = load_run(folder)
            except StoreError as error:
                if folder == place:
                    raise
                say(f"warning: left out: {error}")
                continue
            found.setdefault(run.manifest.run_id, run)
    if not found:
        raise StoreError(
            "there are no runs here",
            where=", ".join(places) or "runs",
            remedy="harness run SPEC",
        )
    return sorted(found.values(), key=lambda run: run.manifest.started)


def _is_worse(one: History) -> bool:
    """By its steps, the last of which counts: what was repaired is no failure."""
    if not one.steps:
        return False
    last = one.steps[-1]
    if one.better == "neither":
        return True
    return (last.after > last.before) == (one.better == "lower")


def _print(found: tuple[History, ...]) -> None:
    from harness.cli.terminal import console
    from harness.text import one_line

    out = console()
    for one in found:
        place = one.arm if one.cell in ("", "base") else f"{one.arm} / {one.cell}"
        watermark = " · SIMULATED" if one.simulated else ""
        title = (
            f"{one_line(one.name, 60)} · {one_line(place, 80)} · {one.metric} ({one.unit})"
            f"{watermark}"
        )
        out.print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
        known = [p.value for p in one.points if p.value is not None and not p.left_out]
        if len(known) > 1:
            out.print(f"  {sparkline(known)}", markup=False, highlight=False)
        for point in one.points:
            _print_point(out, one, point)
        out.print(f"  {_conclusion(one)}", markup=False, highlight=False)
        out.print()


def _print_point(out: Any, of: History, point: Point) -> None:
    from rich.text import Text

    from harness.report.figures import interval, number
    from harness.text import one_line

    name = one_line(Path(point.path).name, 60)
    around = interval(point.low, point.high)
    drawn = "" if point.ci_of is None else f", {point.ci_of}"
    shown = number(point.value) + (f" ({around}{drawn})" if point.low is not None else "")
    line = Text(f"  {point.started[:16].replace('T', ' ')}  {shown}  n={point.n}  {name}")
    if point.left_out:
        line.append(f"  left out: {point.left_out}", "dim")
    elif point.state != "valid":
        line.append(f"  {point.state}", "yellow")
    out.print(line, soft_wrap=True)
    if point.step is not None:
        out.print(Text(f"    ^ {_step(of, point)}", "bold yellow"), soft_wrap=True)
    if point.changed:
        out.print(Text(f"    {_changes(point)}", "dim"), soft_wrap=True)


def _step(of: History, point: Point) -> str:
    from harness.report.figures import number, percent

    step = point.step
    assert step is not None
    share = "" if step.share is None else f" ({'+' if step.share > 0 else ''}{percent(step.share)})"
    worse = (step.after > step.before) == (of.better == "lower")
    word = "" if of.better == "neither" else ", worse" if worse else ", better"
    why = "" if point.changed else "; no recorded condition changed here"
    return (
        f"step from {number(step.before)} to {number(step.after)} {of.unit}{share}{word}: "
        f"{step.n[0]} runs before, {step.n[1]} from here on, p = {step.p_value:.4f}{why}"
    )


def _changes(point: Point) -> str:
    from harness.text import one_line

    shown = [
        f"{name} changed here: {one_line(str(one), 40)} → {one_line(str(other), 40)}"
        for name, (one, other) in list(point.changed.items())[:SHOWN_CHANGES]
    ]
    more = len(point.changed) - SHOWN_CHANGES
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def _conclusion(one: History) -> str:
    if one.needs is not None:
        runs = f"{one.runs} run{'' if one.runs == 1 else 's'}"
        return f"{runs}: no step can be shown of fewer than {one.needs}"
    steps = len(one.steps)
    what = f"{steps} step{'s' if steps > 1 else ''}" if steps else "no step shown"
    return (
        f"{what} in {one.runs} runs (at most {one.alpha:.0%} of histories without one would show "
        f"one; a new level needs {one.side_min} runs at least)"
    )


def sparkline(values: list[float]) -> str:
    """One character a value, from the least to the greatest."""
    low, high = min(values), max(values)
    if high == low:
        return BLOCKS[0] * len(values)
    return "".join(BLOCKS[int((v - low) / (high - low) * (len(BLOCKS) - 1) + 0.5)] for v in values)
