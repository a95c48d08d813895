"""What the guard would say of a plan's models, as far as that costs nothing: for `--dry-run`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Final, TypeAlias

from harness.errors import HarnessError
from harness.schema import Fit
from harness.text import one_line

if TYPE_CHECKING:
    from harness.engine.plan import Arm, Plan

__all__ = ["Fits", "foreseen", "guard_lines"]

Fits: TypeAlias = dict[tuple[str, str], Fit]
"""(arm, cell) → decision."""

PATIENCE_S: Final = 3.0
"""For all of them together: a server that is not there must hold up nothing."""
LINES_MAX: Final = 20
MEMORY: Final = "memory          "


def foreseen(plan: Plan) -> Fits:
    """Of every arm and cell that a backend predicts something of, in time. Nothing is loaded; a
    server that is asked answers from what it has on disk."""
    from harness.cli.background import run_async

    found: Fits = {}
    run_async(_ask(plan, found))
    return found


async def _ask(plan: Plan, found: Fits) -> None:
    known: dict[bytes, Fit | None] = {}
    try:
        async with asyncio.timeout(PATIENCE_S):
            for arm in plan.arms:
                key = repr((arm.backend.name, arm.backend_config)).encode()
                if key not in known:
                    known[key] = await _fit(arm, plan)
                fit = known[key]
                if fit is not None:
                    found[arm.name, arm.cell] = fit
    except TimeoutError:
        return


async def _fit(arm: Arm, plan: Plan) -> Fit | None:
    from harness.engine.guard import foresee

    if arm.backend_config.passive:
        return None
    try:
        backend = arm.backend.factory(arm.own_backend_config())
    except HarnessError:
        return None  # the run will say so
    try:
        return await foresee(backend, plan.spec.guard)
    except HarnessError:
        return None
    except Exception:  # a stranger's backend
        return None
    finally:
        await _closed(backend)


async def _closed(backend: object) -> None:
    """As after an `open` that failed."""
    close = getattr(backend, "close", None)
    if close is not None:
        try:
            await close()
        except Exception:  # it was never open
            return


def guard_lines(plan: Plan, fits: Fits, width: int = 80) -> Iterator[str]:
    """A few lines for each model, equal ones once."""
    told: dict[str, str] = {}
    for arm in plan.arms:
        fit = fits.get((arm.name, arm.cell))
        if fit is None:
            continue
        name = one_line(arm.backend_config.model or arm.backend.name, 40)
        verdict = {"fits": "fits", "too_large": "would be skipped"}.get(fit.decision, fit.decision)
        told.setdefault(f"{name}: {verdict}, {one_line(fit.reason, 300)}", name)
    if told:
        yield ""
    for line in list(told)[:LINES_MAX]:
        yield from wrap(line, width, initial_indent=MEMORY, subsequent_indent=" " * len(MEMORY))
    if len(told) > LINES_MAX:
        yield f"{MEMORY}… and {len(told) - LINES_MAX} more (--json lists all)"
