"""From records to a verdict: every reason to doubt a run, coded, with evidence and a remedy.

The package `rules` has them. A rule added later is one function there and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from typing import Final, Literal, TypeAlias

import msgspec

from harness.engine.rules import (
    RunView,
    agents,
    complete,
    configuration,
    course,
    factors,
    figures,
    hardware,
    instrument,
    machine,
    memory,
    money,
    outcome,
    places,
    prompts,
    service,
    steady,
    tapping,
    timing,
    tokens,
)
from harness.schema import Caveat, Verdict

__all__ = ["RULES", "Rule", "find_caveats", "verdict"]

Rule: TypeAlias = Callable[[RunView], Iterator[Caveat]]

RULES: Final[tuple[Rule, ...]] = (
    complete.incomplete,
    complete.counts,
    complete.empty_workload,
    outcome.errors,
    outcome.failures,
    timing.schedule_slip,
    timing.client_lag,
    machine.host_noise,
    machine.parallel_trials,
    hardware.thermal,
    hardware.clocks,
    hardware.gpu_shared,
    places.mixed_nodes,
    money.budget,
    memory.skipped_models,
    memory.memory_prediction,
    steady.no_steady_state,
    prompts.prompt_truncated,
    tokens.prompt_cache,
    tokens.token_mismatch,
    configuration.config_not_effective,
    configuration.cold_in_warm,
    factors.duplicate_cells,
    factors.no_op_factor,
    figures.unbounded_output,
    agents.unequal_work,
    agents.solo_missing,
    agents.contention,
    figures.imported,
    figures.contradicted,
    figures.what_was_measured,
    figures.made_up,
    tapping.tap_bypassed,
    service.retried,
    service.account_mismatch,
    timing.user_stamps,
    timing.clock_step,
    instrument.no_selfcheck,
    instrument.unobserved,
    hardware.no_energy,
    money.unpriced,
    course.resumed,
    places.place_lost,
    course.not_narrow,
    course.search,
    figures.too_few,
)

OVERLOAD: Final = frozenset(("errors", "schedule-slip", "client-lag", "no-steady-state"))
"""What an overload looks like."""

_ORDER: Final = {"invalid": 0, "doubtful": 1, "note": 2}


def find_caveats(view: RunView) -> list[Caveat]:
    """All doubts about a run, in the order of the rules."""
    beyond = _beyond(view)
    return [
        caveat for rule in RULES for caveat in _once(_expected(one, beyond) for one in rule(view))
    ]


def _beyond(view: RunView) -> frozenset[tuple[str | None, str | None]]:
    """(arm, cell) of loads that a search found to be too much, for the server or for us."""
    return frozenset(
        (one.arm, probe.cell)
        for one in view.search
        for probe in one.probes
        if probe.decision in ("fails", "invalid")
    )


def _expected(caveat: Caveat, beyond: Set[tuple[str | None, str | None]]) -> Caveat:
    """Whoever looks for the limit goes beyond it: that a server is overloaded there is the finding,
    and no doubt about the run."""
    if caveat.code in OVERLOAD and (caveat.arm, caveat.cell) in beyond:
        return msgspec.structs.replace(caveat, severity="note")
    return caveat


def _once(caveats: Iterable[Caveat]) -> Iterator[Caveat]:
    """What a rule says of many cells of an arm, said of the first, with the names of the others: a
    sweep of 90 cells must not bury one doubt under 90 copies of another."""
    found: dict[tuple[str, str, str | None], list[Caveat]] = {}
    for caveat in caveats:
        key = (caveat.code, caveat.severity, caveat.arm)
        found.setdefault(key, []).append(caveat)
    for same in found.values():
        swept = [caveat for caveat in same if caveat.cell is not None]
        yield from (caveat for caveat in same if caveat.cell is None)
        if swept:
            more = tuple(str(caveat.cell) for caveat in swept[1:])
            yield msgspec.structs.replace(swept[0], more_cells=more)


def verdict(caveats: Iterable[Caveat]) -> Verdict:
    """The worst severity decides (notes leave a run valid); worst first, otherwise in order."""
    ordered = tuple(sorted(caveats, key=lambda caveat: _ORDER[caveat.severity]))
    worst = ordered[0].severity if ordered else "note"
    state: Literal["valid", "doubtful", "invalid"] = "valid" if worst == "note" else worst
    return Verdict(state=state, caveats=ordered)
