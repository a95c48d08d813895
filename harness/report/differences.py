"""A comparison on the terminal: sentences first, then figures, then what else differs.

Names, values and sentences come from specs, servers and plugins: all of it passes `one_line`, and
goes into `rich.text.Text`, so that neither the terminal nor rich takes it for commands. Where the
table does not fit, columns go, not digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from harness.report.figures import UNKNOWN, and_more, number, signed
from harness.schema import Caveat, Comparison, Condition, Effect, Verdict
from harness.text import listed, one_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = [
    "Compared",
    "effect_cells",
    "heading",
    "made_up_in",
    "render_conditions",
    "render_differences",
    "value_text",
]

WIDTH_MAX: Final = 100
FEW: Final = 3
"""Comparisons up to which each has its table; of more there are sentences."""
METRIC_MAX: Final = 28
"""Characters of a metric's name in one line; longer ones are folded."""
STYLES: Final = {
    "better": "green",
    "worse": "red",
    "no regression": "green",
    "regression": "bold red",
    "not comparable": "bold red",
    "not enough data": "yellow",
    "forbids": "bold red",
    "doubtful": "yellow",
    "invalid": "bold red",
    "valid": "green",
}


class Compared(Struct, frozen=True, kw_only=True):
    """What `harness compare` found: the comparisons, and the verdicts on the runs behind them."""

    comparisons: tuple[Comparison, ...]
    verdicts: dict[str, Verdict]
    """Run → verdict, each run once."""
    alone: tuple[str, ...] = ()
    """What had no partner to be compared with."""
    status: int = 0
    """0 no regression, 1 regression, 2 not enough data, 3 not comparable."""


def render_differences(found: Compared, console: Console, following: Sequence[str] = ()) -> None:
    """Print it. `following`: commands that would come next."""
    width = min(console.width, WIDTH_MAX)
    for part in _parts(found, console, width):
        console.print(part, width=width, highlight=False, markup=False)
    if following:
        console.print()
    for command in following:  # in one piece, so that it can be copied
        line = _text(f"next: {command}", "dim")
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def render_conditions(conditions: Iterable[Condition], console: Console) -> None:
    """One per line, with why it matters."""
    width = min(console.width, WIDTH_MAX)
    for one in conditions:
        console.print(_condition(one), width=width, highlight=False, markup=False)


def heading(one: Comparison) -> str:
    """`candidate − baseline`, each by what tells it from the other."""
    return f"{one_line(one.candidate.label, 90)} − {one_line(one.baseline.label, 90)}"


def _p_text(p_value: float | None) -> str:
    if p_value is None:
        return UNKNOWN
    return "< 0.0001" if p_value < 1e-4 else number(p_value, 2)


def value_text(value: Any, length_max: int = 60) -> str:
    """A condition's value, as JSON; what is not there is a dash."""
    if value is None:
        return UNKNOWN
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return one_line(text, length_max) or '""'


def made_up_in(found: Compared) -> list[str]:
    """Metrics that were not measured, although a server was."""
    return list(dict.fromkeys(name for one in found.comparisons for name in one.made_up))


# ---- the whole


def _parts(found: Compared, console: Console, width: int) -> Iterator[RenderableType]:
    if any(one.simulated for one in found.comparisons):
        yield _text(
            "SIMULATED: a stub was measured, no model server: this ranks nothing", "bold red"
        )
    if fake := made_up_in(found):
        yield _text(f"SIMULATED FIGURES, which rank nothing: {listed(fake)}", "bold red")
    yield from _verdicts(found.verdicts)
    for name in found.alone[:FEW]:
        yield _text(f"without a partner, and left out: {name}", "yellow")
    if len(found.alone) > FEW:
        yield _text(f"… and {len(found.alone) - FEW} more without a partner", "yellow")
    for one in found.comparisons:
        yield _text("")
        yield from _comparison(one, console, width, len(found.comparisons) <= FEW)


def _verdicts(verdicts: dict[str, Verdict]) -> Iterator[RenderableType]:
    """Only the caveats that doubt: notes are in each run's own report."""
    for name, verdict in verdicts.items():
        notes = sum(caveat.severity == "note" for caveat in verdict.caveats)
        more = f" (and {notes} note{'' if notes == 1 else 's'}: harness show)" if notes else ""
        yield _text(f"{name}: ") + _text(verdict.state, STYLES.get(verdict.state, "")) + _text(more)
        for caveat in verdict.caveats:
            if caveat.severity != "note":
                yield _caveat(caveat)


def _caveat(one: Caveat) -> RenderableType:
    from rich.padding import Padding

    parts = [one_line(part, 60) for part in (one.arm, one.cell) if part]
    more = and_more(one.more_cells, "cell")
    where = f" ({' / '.join(parts)}{more})" if parts else ""
    line = _text(f"{one.severity} {one.code}{where}: ", STYLES[one.severity])
    return Padding(line + _text(one.message), (0, 0, 0, 2), expand=False)


def _comparison(
    one: Comparison, console: Console, width: int, in_full: bool
) -> Iterator[RenderableType]:
    paired = ", paired by blocks" if any(effect.paired for effect in one.effects) else ""
    trials = f"{one.baseline.trials} and {one.candidate.trials} trials{paired}"
    yield _text(heading(one), "bold") + _text(f" · {trials}", "dim")
    if not one.comparable:
        yield _text("not comparable:", "bold red")
    for condition in one.conditions:
        if condition.weight in ("forbids", "doubtful"):
            yield _condition(condition)
    if one.effects or one.gates:
        yield _sentences(one)
    if in_full and one.effects:
        yield _fitting(one.effects, console, width)
    if in_full:
        yield from (_condition(c) for c in one.conditions if c.weight == "intended")
    notes = sum(condition.weight == "note" for condition in one.conditions)
    if in_full and notes:
        differ = "condition differs" if notes == 1 else "conditions differ"
        yield _text(f"{notes} more recorded {differ}: harness explain", "dim")


def _sentences(one: Comparison) -> Table:
    """What is said of each metric, and how the gates end."""
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    longest = max((len(effect.metric) for effect in one.effects), default=0)
    table.add_column(overflow="fold", min_width=min(longest, METRIC_MAX))
    table.add_column(overflow="fold")
    for effect in one.effects:
        table.add_row(_text(effect.metric), _text(effect.sentence, STYLES.get(effect.words, "")))
    for gate in one.gates:
        table.add_row(_text("gate", "bold"), _text(gate.sentence, STYLES.get(gate.status, "")))
    return table


def _condition(one: Condition) -> RenderableType:
    from rich.padding import Padding

    line = _text(f"{one.weight} ", STYLES.get(one.weight, "dim"))
    line += _text(f"{one.name}: {value_text(one.baseline)} → {value_text(one.candidate)}")
    line += _text(f" · {one.why}", "dim")
    return Padding(line, (0, 0, 0, 2), expand=False)


# ---- the table


def _fitting(effects: Sequence[Effect], console: Console, width: int) -> Table:
    """The first of ever fewer columns that fits; the fewest, if none does."""
    from rich.measure import Measurement

    for columns in (6, 5, 4, 3):
        table = _table(effects, columns)
        unlimited = console.options.update(width=10 * WIDTH_MAX)
        if Measurement.get(console, unlimited, table).maximum <= width:
            break
    return table


def _table(effects: Sequence[Effect], columns: int) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=False)
    table.add_column("mean over trials", overflow="fold")
    for name in ("baseline", "candidate", "Δ", "95 % of Δ", "p (Holm)", "Cliff's δ")[:columns]:
        table.add_column(name, justify="right", no_wrap=True)
    for effect in effects:
        table.add_row(*map(_text, (_metric(effect), *effect_cells(effect)[:columns])))
    return table


def _metric(effect: Effect) -> str:
    named = effect.metric.endswith(f"_{effect.unit}")
    bare = named or effect.unit in ("", "1")
    return effect.metric if bare else f"{effect.metric}, {effect.unit}"


def effect_cells(effect: Effect) -> tuple[str, ...]:
    """Baseline, candidate, difference, its interval, p, Cliff's delta."""
    low, high = effect.difference_low, effect.difference_high
    return (
        number(effect.baseline_mean),
        number(effect.candidate_mean),
        signed(effect.difference, 3),
        UNKNOWN if low is None or high is None else f"{signed(low, 3)} … {signed(high, 3)}",
        _p_text(effect.p_holm),
        UNKNOWN if effect.cliffs_delta is None else signed(effect.cliffs_delta, 2),
    )


def _text(content: str, style: str = "") -> Text:
    """One line, harmless; spaces at either end are kept, for parts of a line."""
    from rich.text import Text

    before = " " * (len(content) - len(content.lstrip(" ")))
    behind = " " if content.strip() and content.endswith(" ") else ""
    return Text(f"{before}{one_line(content, 1000)}{behind}", style=style)
