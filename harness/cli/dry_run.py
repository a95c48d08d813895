"""What `harness run --dry-run` shows: the plan, before anything is started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import msgspec

from harness.cli.estimate import Estimate, estimate
from harness.cli.foresight import Fits, foreseen, guard_lines
from harness.cli.harmless import print_json
from harness.cli.terminal import console
from harness.engine.places import check_gpus
from harness.engine.placing import LOCAL
from harness.engine.specfile import plain
from harness.text import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from harness.engine.plan import Arm, Plan

__all__ = ["show_plan"]

ROWS_MAX = 60
ORDER_SHOWN = 12


def show_plan(plan: Plan, *, as_json: bool) -> None:
    placement = plan.spec.placement
    if plan.isolation == "process" and plan.executor.name == LOCAL:
        check_gpus(placement, "$.placement")
    found, fits = estimate(plan, Path("runs")), foreseen(plan)
    if as_json:
        print_json(_plain(plan, found, fits), indent=2)
        return
    out = console()
    for line in _head(plan, found):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    _table(plan, out)
    width = max(out.width, 40)
    for line in [*guard_lines(plan, fits, width), *_notes(plan, width)]:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def _head(plan: Plan, found: Estimate) -> Iterator[str]:
    spec = plan.spec
    name = one_line(spec.name or spec.scenario.name, 100)
    yield f"{name}: {_count(len(plan.trials), 'trial')}, nothing was started"
    yield f"spec digest     {plan.digest}"
    per_cell = len(plan.trials) // len(plan.arms)
    limit = "up to " if spec.stop is not None or spec.search is not None else ""
    yield (
        f"plan            {_size(plan)}, {limit}"
        f"{_count(per_cell, 'trial')} each, of {spec.iterations.warmup} warm-up + "
        f"{spec.iterations.measured} measured"
        + (f" + {spec.iterations.measured} solo" if any(a.is_solo for a in plan.arms) else "")
        + (f" + {spec.iterations.cold} cold" if spec.iterations.cold else "")
        + " iterations"
    )
    yield f"order           {spec.order}, seed {spec.seed}"
    places = f", {_at_once(plan)} at once" if _at_once(plan) != 1 else ""
    fresh = "a fresh process per trial" if plan.isolation == "process" else "in this process"
    by = "" if spec.placement.executor == "local" else f", placed by {spec.placement.executor}"
    yield f"isolation       {fresh}{places}{by}"
    if plan.instruments:
        extra = sum(one.perturbing for one in plan.instruments)
        more = f", with {_count(extra, 'extra iteration')} per trial" if extra else ""
        yield f"instruments     {', '.join(one.name for one in plan.instruments)}{more}"
    yield f"estimated time  {found.words}"
    yield from _money(plan)
    yield ""


def _money(plan: Plan) -> Iterator[str]:
    """Prices that a run of today would go by, unless a backend fetches its own."""
    from datetime import UTC, datetime
    from decimal import Decimal

    from harness.engine.pricing import prices_for
    from harness.money import dollars, plain

    for price in prices_for(plan, datetime.now(UTC).date().isoformat())[:ROWS_MAX]:
        each = [
            plain(Decimal(one).scaleb(6))
            for one in (price.input_usd_per_token, price.output_usd_per_token)
        ]
        only = f", at {one_line(price.host, 60)} alone" if price.host else ""
        yield (
            f"price           {one_line(price.model, 60)}: ${each[0]} in, ${each[1]} out per "
            f"million tokens ({price.date}{only})"
        )
    if plan.spec.budget_usd is not None:
        yield f"budget          {dollars(Decimal(str(plan.spec.budget_usd)))}"


def _at_once(plan: Plan) -> int | str:
    """Trials; of a place for each GPU, as many as are here."""
    placement = plan.spec.placement
    if placement.gpus != "each":
        return placement.parallel
    from harness.engine.places import places

    return min(len(places(placement)), len(plan.trials))


def _size(plan: Plan) -> str:
    """`2 arms × 9 cells`; arms that are not swept by name."""
    cells = Counter(arm.name for arm in plan.arms)
    if not plan.cells:
        return _count(len(cells), "arm")
    if len(set(cells.values())) == 1:
        return f"{_count(len(cells), 'arm')} × {_count(len(plan.cells), 'cell')}"
    each = (f"{one_line(a, 40)}{f' × {n} cells' if n > 1 else ''}" for a, n in cells.items())
    return f"{_count(len(cells), 'arm')} ({', '.join(each)})"


def _table(plan: Plan, out: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    paths = list(next(iter(plan.cells.values()), {}))
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("arm")
    for path in paths:
        table.add_column(path.rpartition(".")[2], justify="right")
    loaded = any(arm.load for arm in plan.arms)
    twins = _twins(plan)
    for heading in ["load"] * loaded + ["same as"] * bool(twins):
        table.add_column(heading)
    for arm in plan.arms[:ROWS_MAX]:
        values = plan.cells.get(arm.cell, {})
        cells = [one_line(_level(plan, arm, path), 40) if path in values else "" for path in paths]
        row = [one_line(arm.name, 40), *cells]
        row += [_load(arm)] * loaded
        row += [one_line(twins.get((arm.name, arm.cell), ""), 60)] * bool(twins)
        table.add_row(*map(Text, row))
    out.print(table)
    if len(plan.arms) > ROWS_MAX:
        out.print(f"… and {len(plan.arms) - ROWS_MAX} more (--json lists all)")


def _notes(plan: Plan, width: int) -> Iterator[str]:
    from harness.engine.checks import unknown_metric

    yield ""
    order = [f"{t.arm.name}/{t.cell}" if plan.cells else t.arm.name for t in plan.trials]
    shown = " → ".join(one_line(name, 60) for name in order[:ORDER_SHOWN])
    more = f" → … {len(order) - ORDER_SHOWN} more" if len(order) > ORDER_SHOWN else ""
    if plan.spec.search is None:
        yield from wrap(f"in this order: {shown}{more}", width, break_on_hyphens=False)
    else:
        yield "a search decides from the results which of these loads are tried, and how often"
    groups = plan.duplicates()
    if groups:
        count = sum(len(group) - 1 for group in groups)
        yield (
            f"note: {_count(count, 'cell')} asked for the same as another (column `same as`): "
            "an A/A comparison if that is meant, a waste of time otherwise"
        )
    unknown = unknown_metric(plan.spec)
    if unknown is not None:
        name, ours = unknown
        meant = f"; or {ours} is meant" if ours else ""
        yield (
            f"note: stop.metric {one_line(name, 60)} is no figure of ours: the scenario has to "
            f"report it{meant}"
        )
    decided = plan.spec.search is not None or plan.spec.stop is not None  # how many, while it runs
    if plan.spec.trials < 5 and len(plan.arms) > 1 and not decided:
        yield (
            f"note: {_count(plan.spec.trials, 'trial')} per arm and cell: differences need at "
            "least 5 before anything can be said of them (--runs 5)"
        )


def _twins(plan: Plan) -> dict[tuple[str, str], str]:
    """(arm, cell) → the first that asks for the same."""
    found: dict[tuple[str, str], str] = {}
    for (arm, cell), *rest in plan.duplicates():
        for other in rest:
            found[other] = f"{arm} / {cell}" if plan.cells else arm
    return found


def _load(arm: Arm) -> str:
    load: Any = arm.load
    if load is None:
        return ""
    if hasattr(load, "rate_per_s"):
        return f"{load.requests} at {load.rate_per_s:g}/s"
    return f"{load.requests} × {load.concurrency} at a time"


def _level(plan: Plan, arm: Arm, path: str) -> str:
    """The value; of a mapping, what the spec calls it."""
    from harness.report.grid import axes, level

    value = plan.cells[arm.cell][path]
    if isinstance(value, dict):
        (axis,) = (one for one in axes(plan.cells) if one.path == path)
        return level(plan.cells, arm.cell, axis)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _plain(plan: Plan, found: Estimate, fits: Fits) -> dict[str, Any]:
    return {
        "spec_digest": plan.digest,
        "spec": plan.spec,
        "isolation": plan.isolation,
        "cells": plan.cells,
        "trials": [
            {"trial": t.trial, "block": t.block, "arm": t.arm.name, "cell": t.cell}
            for t in plan.trials
        ],
        "duplicates": plan.duplicates(),
        "memory": [{"arm": arm, "cell": cell, **plain(fit)} for (arm, cell), fit in fits.items()],
        "estimated_s": found.seconds,
        "estimated_from": found.source,
    }
