"""`harness compare`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.gated import GatedCommand

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.compare import Pairing
    from harness.report.differences import Compared
    from harness.schema import Side


@click.command("compare", cls=GatedCommand, short_help="Compare arms or runs.")
@click.argument("a", metavar="A", required=False)
@click.argument("b", metavar="[B]", required=False)
@click.option(
    "--baseline-store",
    "stored",
    metavar="FOLDER",
    help="A run folder to compare with, such as one kept in a repository: takes the place of A.",
)
@click.option("--metric", "metrics", metavar="METRIC", multiple=True, help="These alone; repeat.")
@click.option("--all-metrics", is_flag=True, help="Every metric, corrected for their number.")
@click.option(
    "--gate",
    "gates",
    metavar="[OF:]METRIC=MARGIN",
    multiple=True,
    help="Has it become worse? Margin: 5% or 2ms; OF: mean (default), median, p95, p99.",
)
@click.option(
    "--equivalent",
    "margins",
    metavar="METRIC=MARGIN",
    multiple=True,
    help="Are they as good as equal?",
)
@click.option(
    "--paired/--unpaired",
    default=None,
    help="By blocks, or not. Default: by blocks where both are of one interleaved run.",
)
@click.option(
    "--looks",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="How often you will look at these data in all, adding trials in between.",
)
@click.option("--strict", is_flag=True, help="Doubtful conditions keep two sides from comparison.")
@click.option("--allow-invalid", is_flag=True, help="Also compare runs whose verdict is invalid.")
@click.option("--salvage", is_flag=True, help="Read what is left of a damaged record log.")
@click.option("--json", "as_json", is_flag=True, help="Everything that was found, as JSON.")
@click.option(
    "--md", "md", type=click.Path(path_type=Path), metavar="FILE", help="Also write it as Markdown."
)
@click.pass_context
def command(ctx: click.Context, /, **words: Any) -> None:
    """Compare candidate B with baseline A: what differs, by how much, and could it be chance?

    A and B are RUN, RUN:ARM or RUN:ARM/CELL; RUN is a run folder, a prefix of its name, or
    `latest`. With A alone, every arm is compared with the baseline arm, cell by cell. A difference
    is always candidate − baseline, and counts trials, not calls.

    Exit status: 0 no regression, 1 regression, 2 not enough data, 3 not comparable; without --gate
    0 or 3. A mistake ends with 64.

    \b
    Examples:
      harness compare latest
      harness compare latest:baseline latest:chimera --all-metrics
      harness compare runs/before runs/after --gate median:ttft_ms=5% --gate throughput_tok_s=3%
      harness compare --baseline-store bench/baseline latest --gate ttft_ms=2ms --md gate.md
      harness compare latest --equivalent tpot_ms=2%
    """
    ctx.exit(_compare(**words))


def _compare(
    a: str | None,
    b: str | None,
    stored: str | None,
    metrics: Sequence[str],
    all_metrics: bool,
    gates: Sequence[str],
    margins: Sequence[str],
    paired: bool | None,
    looks: int,
    strict: bool,
    allow_invalid: bool,
    salvage: bool,
    as_json: bool,
    md: Path | None,
) -> int:
    """The exit status."""
    from harness.compare import Asked, compare, gate_status, parse_gate, parse_margin
    from harness.report.differences import Compared

    asked = Asked(
        metrics=tuple(metrics),
        all_metrics=all_metrics,
        gates=tuple(parse_gate(text) for text in gates),
        margins=tuple(parse_margin(text) for text in margins),
        paired=paired,
        looks=looks,
        strict=strict,
        allow_invalid=allow_invalid,
    )
    pairing = find_pairs(*_named(a, b, stored), salvage=salvage)
    comparisons = compare(pairing.pairs, asked)
    found = Compared(
        comparisons=comparisons,
        verdicts={p.name: p.run.summary.verdict for pair in pairing.pairs for p in pair},
        alone=pairing.alone,
        status=gate_status(comparisons),
    )
    if md is not None:
        _write(found, md)
    _print(found, as_json, _runs(pairing))
    return found.status


def _named(a: str | None, b: str | None, stored: str | None) -> tuple[str, str | None]:
    if stored is None:
        return a or "latest", b
    if b is not None:
        raise click.UsageError("--baseline-store takes the place of A: name one run beside it")
    return stored, a or "latest"


def find_pairs(a: str, b: str | None, *, salvage: bool = False) -> Pairing:
    """What two references mean; warnings of damaged logs are said. Raises HarnessError."""
    from harness.cli.terminal import say
    from harness.compare import find_ref, pairs
    from harness.store import Run, load_run

    opened: dict[Path, Run] = {}

    def load(ref: str) -> tuple[Run, str]:
        run = load_run(ref, salvage=salvage)
        if run.path.resolve() not in opened:
            opened[run.path.resolve()] = run
            for warning in run.warnings:
                say(f"warning: {warning}")
        return opened[run.path.resolve()], run.path.resolve().name

    first = find_ref(a, load)
    return pairs(first, find_ref(b, load, first) if b is not None else None)


def _runs(pairing: Pairing) -> dict[str, Any]:
    """Name of the run folder → run, of all that were compared."""
    return {place.name: place.run for pair in pairing.pairs for place in pair}


def _print(found: Compared, as_json: bool, runs: Mapping[str, Any]) -> None:
    """A reader who has gone does not change the answer."""
    from harness.cli.harmless import print_json
    from harness.cli.terminal import console, mute

    try:
        if as_json:
            print_json(found, indent=2)
        else:
            from harness.report.differences import render_differences

            render_differences(found, console(), tuple(_following(found, runs)))
        sys.stdout.flush()
    except BrokenPipeError:
        mute()


def _following(found: Compared, runs: Mapping[str, Any]) -> Iterator[str]:
    yield from _more_trials(found, runs)
    if found.comparisons:
        first = found.comparisons[0]
        sides = [_named_side(one, runs[one.run]) for one in (first.baseline, first.candidate)]
        yield f"harness explain {' '.join(sides)}"


def _more_trials(found: Compared, runs: Mapping[str, Any]) -> Iterator[str]:
    """Where trials are what is missing: how to get them."""
    from harness.statistics import GROUPS_MIN

    if any(one.gates for one in found.comparisons):
        more = [gate.more_trials for one in found.comparisons for gate in one.gates]
    else:
        effects = [effect for one in found.comparisons for effect in one.effects]
        lacking = [one for one in effects if one.words == "not enough data"]
        more = [GROUPS_MIN - min(one.n) for one in lacking if min(one.n)]
    further = max((count for count in more if count), default=0)
    if further <= 0 or any(run.manifest.spec.backend.name == "imported" for run in runs.values()):
        return
    cut_short = [run for run in runs.values() if run.summary.state == "interrupted"]
    if cut_short:
        yield f"harness run --resume {_named_run(cut_short[0])}"
        return
    trials = max(min(one.baseline.trials, one.candidate.trials) for one in found.comparisons)
    yield f"harness run SPEC --runs {trials + further}, for an answer where there is none"


def _named_run(run: Any) -> str:
    """As it can be typed: a run below ./runs by its name, any other by its path."""
    import shlex

    below = run.path.resolve().parent == Path("runs").resolve()
    return shlex.quote(run.path.resolve().name if below else str(run.path))


def _named_side(side: Side, run: Any) -> str:
    import shlex

    cell = "" if side.cell in ("", "base") else f"/{side.cell}"
    return _named_run(run) + shlex.quote(f":{side.arm}{cell}")


def _write(found: Compared, path: Path) -> None:
    from harness.errors import StoreError
    from harness.report.differences_md import markdown_lines

    try:
        path.write_text("".join(f"{line}\n" for line in markdown_lines(found)), "utf-8")
    except OSError as error:
        raise StoreError(
            error.strerror or str(error), where=f"--md {path}", remedy="a file that can be written"
        ) from None
