"""What `harness sim --join` prints: at most 80 columns."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Final

import click

from harness.cli.harmless import harmless, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.testing.sim import Joined

__all__ = ["show"]

WIDTH: Final = 80


def show(ref: str, log: Path | None, root: Path, as_json: bool) -> None:
    """The run beside its log, which is looked for below `root` unless it is given. Raises
    StoreError."""
    from harness.store import load_run
    from harness.testing.sim import find_log, join

    run = load_run(ref)
    joined = join(run, log or find_log(run, root))
    if as_json:
        print_json(joined, indent=2)
        return
    for paragraph in (_counts(joined), _table(joined), _behind(joined)):
        for line in paragraph:
            click.echo(harmless(line))


def _counts(joined: Joined) -> Iterator[str]:
    yield from _wrapped(f"{joined.run}  beside  {joined.log}")
    yield from _wrapped(
        f"{joined.joined} of {joined.calls} ok calls joined ({joined.unnamed} not in the log, "
        f"{joined.unequal} with other chunks); {joined.kernel_stamped} with kernel stamps; "
        f"{joined.merged} of {joined.chunks} chunks were read together with a later content "
        f"chunk; {joined.cut} had a frame without content due with them: not in the errors"
    )


def _table(joined: Joined) -> Iterator[str]:
    yield ""
    yield f"{'µs':24}{'n':>8}{'p50':>12}{'p90':>12}{'p99':>12}{'max':>12}"
    for label, spread in (
        ("first-token stamp error", joined.first_token),
        ("stamp error, all chunks", joined.all_chunks),
        ("  without merged ones", joined.unmerged_chunks),
        ("TTFT bias", joined.ttft_bias),
        ("duration of a send", joined.send),
    ):
        figures = (spread.p50_ns, spread.p90_ns, spread.p99_ns, spread.max_ns)
        yield f"{label:24}{spread.n:>8}" + "".join(f"{_micro(f):>12}" for f in figures)
    yield ""


def _behind(joined: Joined) -> Iterator[str]:
    yield from _wrapped(
        f"TTFT, median: reported {_micro(joined.ttft_reported_median_ns)} µs, "
        f"true {_micro(joined.ttft_true_median_ns)} µs"
    )
    said = joined.punctuality
    if said.get("sends"):
        late = said["late"]
        yield from _wrapped(
            f"server: {said['sends']} sends, late by p50 {_micro(said['p50_ns'])}, "
            f"p99 {_micro(said['p99_ns'])}, max {_micro(said['max_ns'])} µs (p99 of what the "
            f"schedule did not force: {_micro(said['own_p99_ns'])}); "
            f"{late['sends']} by more than 1 ms; {said['held_up']} held up by the client"
        )


def _wrapped(sentence: str) -> list[str]:
    """Paths are left whole, to be copied."""
    return wrap(sentence, WIDTH, break_long_words=False, break_on_hyphens=False)


def _micro(value: float | None) -> str:
    return "–" if value is None else f"{value / 1e3:,.1f}"
