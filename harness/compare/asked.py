"""What is wanted of a comparison, and which metrics that makes of two sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from harness.compare.gates import GateSpec
from harness.compare.measured import Measured
from harness.errors import SpecError
from harness.margins import Amount, parse_margin
from harness.schema import RunSpec
from harness.strict import nearest
from harness.text import one_line

__all__ = ["Asked", "headlines_of", "metrics_of", "units_of", "with_stated"]


class Asked(Struct, frozen=True, kw_only=True):
    """What is wanted of a comparison."""

    metrics: tuple[str, ...] = ()
    """Empty: the headlines."""
    all_metrics: bool = False
    gates: tuple[GateSpec, ...] = ()
    margins: tuple[Amount, ...] = ()
    """Within which two sides count as equal, by metric."""
    paired: bool | None = None
    """None: by blocks, where both are of one interleaved run."""
    looks: int = 1
    strict: bool = False
    """Doubtful conditions forbid as well."""
    allow_invalid: bool = False


def with_stated(asked: Asked, specs: Sequence[RunSpec], sides: Sequence[Measured]) -> Asked:
    """`asked`, with the margins that the specs state, unless others were asked for: those of
    metrics that some side has, and, where metrics were asked for, of those alone."""
    if asked.margins:
        return asked
    stated = {metric: margin for spec in specs for metric, margin in spec.equivalent.items()}
    margins = [
        parse_margin(f"{metric}={margin}", "$.equivalent")
        for metric, margin in stated.items()
        if any(_has(side, metric) for side in sides)
        and (not asked.metrics or metric in asked.metrics)
    ]
    return replace(asked, margins=tuple(margins))


AGENT_COSTS: Final = ("span.agent.agent_ms", "start_up_ms", "cpu_ms", "rss_max_bytes")
"""What two agent programs differ in, when the server answers both alike."""


def headlines_of(a: Measured, b: Measured) -> tuple[str, ...]:
    """What is read first, of what both sides have: latencies (from the due instant in an open loop)
    and throughput, of agents at once the speed-up before them, of agent programs what each costs
    behind them; the time and the own figures of what makes no calls."""
    due = "_from_due" if b.is_open else ""
    first = ("speedup", f"ttft{due}_ms", "tpot_ms", f"e2e{due}_ms", "throughput_tok_s")
    found = [name for name in first if _has(a, name) or _has(b, name)]
    if found:
        programs = all(_has(side, "start_up_ms") for side in (a, b))
        costs = AGENT_COSTS if programs else ()
        return (*found, *(name for name in costs if _has(a, name) and _has(b, name)))
    own = [
        one.name for one in b.series.values() if one.of == "iteration" and one.better != "neither"
    ]
    return tuple(name for name in own if name == "wall_ms" or _has(a, name) or _has(b, name))


def _has(of: Measured, name: str) -> bool:
    return name in of.series and bool(of.series[name].values)


def _option_of(metric: str, asked: Asked) -> str:
    if metric in asked.metrics:
        return "--metric"
    return "--equivalent" if any(m.metric == metric for m in asked.margins) else "--gate"


def units_of(sides: Sequence[Measured], asked: Asked) -> dict[str, str]:
    """Metric → unit, of all sides of all pairs. SpecError for one that was asked for and that none
    of them has: what only some lack is no mistake."""
    units: dict[str, str] = {}
    for side in sides:
        for name, one in side.series.items():
            units.setdefault(name, one.unit)
    for name in _named(asked) if sides else ():
        if name not in units:
            with_values = [one for one in units if any(_has(side, one) for side in sides)]
            raise SpecError(
                f"there is no metric {one_line(name, 60)!r}",
                where=_option_of(name, asked),
                remedy=nearest(name, units) or ", ".join(with_values[:12]) or "another run",
            )
    return units


def metrics_of(a: Measured, b: Measured, asked: Asked) -> tuple[str, ...]:
    """What is compared of the two, in this order."""
    if asked.all_metrics:
        known = {**a.series, **b.series}
        return tuple(one for one in known if _has(a, one) or _has(b, one))
    wanted = asked.metrics or headlines_of(a, b)
    return tuple(dict.fromkeys([*wanted, *_named(asked)]))


def _named(asked: Asked) -> list[str]:
    return [
        *asked.metrics,
        *(margin.metric for margin in asked.margins),
        *(gate.metric for gate in asked.gates),
    ]
