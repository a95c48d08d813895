"""A check on the terminal: two tables and some sentences, within 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from harness.report.figures import UNKNOWN, number
from harness.selfcheck.found import Check, LoadFound
from harness.selfcheck.words import sentences
from harness.text import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["render_check"]

WIDTH: Final = 80
CHARS: Final = 6
HELD: Final = {True: "yes", False: "no", None: UNKNOWN}


def render_check(check: Check, console: Console) -> None:
    """Nothing but the console is touched."""
    from rich.text import Text

    width = min(console.width, WIDTH)

    def say(text: object, style: str = "") -> None:
        shown = Text(one_line(text, 1000), style=style) if isinstance(text, str) else text
        console.print(shown, width=width, highlight=False, markup=False)

    machine, made = check.machine, check.selfcheck
    say(f"self-check · {made.mode} · {made.at[:10]} · build {made.native_digest}", "bold")
    say(f"{machine.cpu or 'unknown processor'} · Linux {machine.kernel}", "dim")
    say(_cores(check), "dim")
    say(_stamps(check))
    say("in µs: error of stamps, lag of our reads behind the sends, CPU per chunk", "dim")
    say("n: calls; held: nobody fell 10 ms behind (more: docs/selfcheck.md)", "dim")
    if any(one.withheld for one in check.loads):
        say(f"{UNKNOWN} a p99 needs n = 100", "dim")
    say(_consequences(check))
    say("µs; bias: reported − true, median; error: its size; merged: chunks that were", "dim")
    say("read together with a later one", "dim")
    for sentence in sentences(check):
        console.print()
        say(sentence)


def _stamps(check: Check) -> Table:
    table = _empty()
    errors = ("first\np50", "token\np99", "\nmax", "any\np50", "chunk\np99", "\nmax")
    for name in ("streams\nx tok/s", "\nn", "\nheld", *errors, "lag\np99", "\nCPU"):
        table.add_column(name, justify="right" if table.columns else "left", no_wrap=True)
    for one in check.loads:
        figures = one.figures
        times = (
            figures.first_token_p50_ns,
            figures.first_token_p99_ns,
            figures.first_token_max_ns,
            figures.chunk_p50_ns,
            figures.chunk_p99_ns,
            figures.chunk_max_ns,
            figures.client_lag_p99_ns,
            figures.cpu_ns_per_chunk,
        )
        row = (_load(one), str(figures.calls), HELD[figures.held])
        table.add_row(*row, *map(_micro, times))
    return table


def _consequences(check: Check) -> Table:
    table = _empty()
    names = ("TTFT\nbias", "inter-chunk\nbias", "error\np99", "\nmerged")
    for name in ("streams\nx tok/s", *names, "server\nlate p99", "its send\np50", "\np99"):
        table.add_column(name, justify="right" if table.columns else "left", no_wrap=True)
    for one in check.loads:
        figures = one.figures
        merged = figures.merged_share
        table.add_row(
            _load(one),
            _micro(figures.ttft_bias_p50_ns),
            _micro(figures.inter_chunk_bias_p50_ns),
            _micro(figures.inter_chunk_error_p99_ns),
            UNKNOWN if merged is None else f"{merged:.1%}",
            _micro(one.server_lateness["p99_ns"]) if figures.rate_tok_s else UNKNOWN,
            _micro(one.send.p50_ns),
            _micro(one.send.p99_ns),
        )
    return table


def _empty() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, expand=False)


def _load(one: LoadFound) -> str:
    rate = one.figures.rate_tok_s
    return (
        f"{one.figures.streams} flat out" if rate is None else f"{one.figures.streams} x {rate:g}"
    )


def _micro(value_ns: float | None) -> str:
    """µs in at most six characters, no finer than the stamps' ns."""
    if value_ns is None:
        return UNKNOWN
    value_us = round(value_ns / 1e3, 3)
    for text in (number(value_us, 3), number(value_us, 2), f"{value_us:g}"):
        if len(text) <= CHARS:
            return text
    return f"{value_us:.0e}".replace("e+0", "e")


def _cores(check: Check) -> str:
    machine = check.machine
    if not machine.server_cores:
        where = "one core"
    else:
        client, server = _range(machine.client_cores), _range(machine.server_cores)
        where = f"client on {client}, server on {server}"
    load = machine.load_average
    return where if load is None else f"{where} · load average at the start: {load:.1f}"


def _range(cores: tuple[int, ...]) -> str:
    """`core 1`, `cores 0–14`, `cores 0–6, 8`."""

    def runs() -> Iterator[str]:
        start = cores[0]
        for core, after in zip(cores, (*cores[1:], None), strict=True):
            if after != core + 1:
                yield str(core) if core == start else f"{start}–{core}"
                start = core if after is None else after

    return f"core{'' if len(cores) == 1 else 's'} {', '.join(runs())}"
