"""What numbers a spec may hold: everything that can be refused by looking at it alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.engine.places import EACH, check_places
from harness.errors import SpecError
from harness.margins import parse_margin
from harness.metrics import (
    CALL_METRICS,
    CONCURRENCY_METRICS,
    ENERGY_METRICS,
    ITERATION_METRICS,
    check_slo,
)
from harness.metrics.iteration import GOODPUT
from harness.metrics.slo import bounds
from harness.money.table import check_prices
from harness.protocols import BackendConfig, BackendFactory
from harness.registry import AgentRegistry, Entry
from harness.schema import ClosedLoad, Load, OpenLoad, RunSpec
from harness.sizes import parse_size

__all__ = [
    "check_agents",
    "check_load",
    "check_numbers",
    "check_requests",
    "check_search_size",
    "unknown_metric",
]


def check_numbers(spec: RunSpec) -> None:
    """Raises SpecError with the path of the first that is out of bounds."""
    _at_least(1, spec.trials, "$.trials")
    _at_least(1, spec.iterations.measured, "$.iterations.measured")
    _at_least(0, spec.iterations.warmup, "$.iterations.warmup")
    _at_least(0, spec.iterations.cold, "$.iterations.cold")
    for name in spec.timeouts.__struct_fields__:
        _at_least(0.001, getattr(spec.timeouts, name), f"$.timeouts.{name}")
    for name in spec.validity.__struct_fields__:
        bound = getattr(spec.validity, name)
        _at_least(0, bound, f"$.validity.{name}")
        if "share" in name and bound > 1:
            raise SpecError(f"a share is at most 1, is {bound:g}", where=f"$.validity.{name}")
    if spec.slo is not None:
        check_slo(spec.slo)
    for metric, margin in spec.equivalent.items():
        parse_margin(f"{metric}={margin}", "$.equivalent")
    for model, size in spec.sizes.items():
        parse_size(size, f"$.sizes.{model}")
    _check_guard(spec)
    check_load(spec.load, "$.load")
    check_prices(spec.prices, "$.prices")
    if spec.budget_usd is not None and not 0 < spec.budget_usd < 1e9:  # also refuses nan
        raise SpecError(f"must be more than 0, is {spec.budget_usd:g}", where="$.budget_usd")
    _check_placement(spec)
    _check_stop(spec)
    _check_search(spec)


def check_load(load: Load | None, where: str) -> None:
    """Raises SpecError."""
    if load is not None:
        _at_least(1, load.requests, f"{where}.requests")
    if isinstance(load, ClosedLoad):
        _at_least(1, load.concurrency, f"{where}.concurrency")
    elif isinstance(load, OpenLoad):
        _at_least(1e-6, load.rate_per_s, f"{where}.rate_per_s")
        _at_least(1e-3, load.shape, f"{where}.shape")
        if load.shape != 1.0 and load.arrival != "gamma":
            raise SpecError(
                f"has no effect on {load.arrival} arrivals",
                where=f"{where}.shape",
                remedy="arrival: gamma",
            )
        if load.concurrency_max is not None:
            _at_least(1, load.concurrency_max, f"{where}.concurrency_max")


def check_requests(
    scenario: Any,
    backend: Entry[BackendFactory],
    asked: dict[str, Any],
    config: BackendConfig,
    agents: AgentRegistry,
    where: str,
) -> None:
    """What a scenario says that it makes use of (harness.protocols.WorkflowScenario) is to be had:
    of this backend, asked for with these options, and of the registered agents.
    Raises SpecError."""
    options = f"{where}.scenario.options"
    for path, name in getattr(scenario, "agents_used", {}).items():
        agents.get(name, f"{options}.{path}")
    for path, own in getattr(scenario, "request_options", {}).items():
        backend.decode_options({**asked, **own}, f"{options}.{path}")
    used = getattr(scenario, "endpoints_used", None)
    if used is None:
        return
    # A backend that starts its own servers says by `endpoints` of its options how many, and by
    # `endpoints_option` how to ask for more.
    starts = not config.urls and hasattr(config.options, "endpoints")
    urls = config.options.endpoints if starts else len(config.urls)
    if used > max(1, urls):
        have = f"there is {urls}" if urls else "only the backend's own is there"
        raise SpecError(
            f"the scenario makes use of {used} endpoints, and {have}",
            where=f"{where}.backend.url",
            remedy=f"-o {config.options.endpoints_option}={used}, or -o endpoints=shared"
            if starts
            else "--url once for each, or -o endpoints=shared",
        )
    if urls > used:
        raise SpecError(
            f"the scenario makes use of {used} of these {urls} endpoints",
            where=f"{where}.backend.url",
            remedy="-o endpoints=each, or fewer urls",
        )


def check_agents(names: Iterable[str], agents: AgentRegistry) -> None:
    """The programs are there. Raises BackendError with the command that builds or installs one."""
    for name in names:
        agents.get(name).factory().command()


def _check_placement(spec: RunSpec) -> None:
    where, place = "$.placement", spec.placement
    _at_least(1, place.parallel, f"{where}.parallel")
    if place.trial_timeout_s is not None:
        _at_least(0.001, place.trial_timeout_s, f"{where}.trial_timeout_s")
    for name in ("cpus", "gpus"):
        given = len(getattr(place, name))
        if place.gpus == EACH:
            break  # as many places as there are GPUs (places.check_gpus)
        if given and given < place.parallel:
            raise SpecError(
                f"{place.parallel} trials at once need as many places, and {given} are given",
                where=f"{where}.{name}",
                remedy=f"parallel: {given}",
            )
    check_places(place, where)


def _check_guard(spec: RunSpec) -> None:
    where, guard = "$.guard", spec.guard
    _at_least(0.001, guard.share_max, f"{where}.share_max")
    if guard.share_max > 1:
        raise SpecError(f"a share is at most 1, is {guard.share_max:g}", where=f"{where}.share_max")
    if guard.free_bytes is not None:
        _at_least(0, guard.free_bytes, f"{where}.free_bytes")


def _check_stop(spec: RunSpec) -> None:
    where, stop = "$.stop", spec.stop
    if stop is None:
        return
    _at_least(1e-6, stop.relative_width_max, f"{where}.relative_width_max")
    if stop.trials_max < spec.trials:
        raise SpecError(
            f"{stop.trials_max} trials at most, and $.trials asks for {spec.trials} at least",
            where=f"{where}.trials_max",
            remedy=f"trials_max: {spec.trials * 2}",
        )
    names = _names(spec)
    if stop.metric in GOODPUT and spec.slo is None:
        raise SpecError(
            f"without objectives there is no {stop.metric}",
            where=f"{where}.metric",
            remedy="slo: {ttft_ms: 500}",
        )
    ours = [name for name in names if _letters(name) == _letters(stop.metric)]
    if stop.metric not in names and (spec.load is not None or ours):
        from harness.strict import nearest

        raise SpecError(
            f"there is no metric {stop.metric!r}",
            where=f"{where}.metric",
            remedy=next(iter(ours), None)
            or nearest(stop.metric, names)
            or "one of: " + ", ".join(names),
        )


def unknown_metric(spec: RunSpec) -> tuple[str, str | None] | None:
    """`stop.metric`, where it can only be the scenario's own, and which of ours may be meant. It is
    no mistake yet: what a workflow reports is known when it runs. `wall_s` may well be its own;
    only what has the very letters of ours is refused (check_numbers)."""
    from harness.strict import nearest

    names = _names(spec)
    if spec.stop is None or spec.stop.metric in names:
        return None
    return spec.stop.metric, nearest(spec.stop.metric, names)


def _names(spec: RunSpec) -> list[str]:
    names = [one.name for one in CALL_METRICS] + [one.name for one in ITERATION_METRICS]
    if spec.instruments:
        names += [one.name for one in ENERGY_METRICS]
    if spec.load is None:  # a workflow may have agents
        names += [one.name for one in CONCURRENCY_METRICS]
    if spec.slo is None:
        return [name for name in names if name not in GOODPUT]
    return names + [bound.share_name for bound in bounds(spec.slo)]


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _check_search(spec: RunSpec) -> None:
    where, search = "$.search", spec.search
    if search is None:
        return
    for other in ("sweep", "stop"):
        if getattr(spec, other) is not None:
            raise SpecError(
                f"a search decides itself which loads to try, and for how long: not with {other}",
                where=where,
                remedy=f"leave out $.{other}",
            )
    if not spec.slo:
        raise SpecError(
            "what is to be met?", where="$.slo", remedy="slo: {ttft_ms: 500, tpot_ms: 50}"
        )
    if not 0 < search.share_min < 1:
        raise SpecError(
            f"must lie between 0 and 1, is {search.share_min:g}", where=f"{where}.share_min"
        )
    _at_least(1, search.trials_max, f"{where}.trials_max")
    is_rate = search.path == "load.rate_per_s"
    if spec.load is not None and isinstance(spec.load, OpenLoad) is not is_rate:
        kind = "open loop (rate_per_s)" if is_rate else "closed loop (concurrency)"
        raise SpecError(f"the search is over the loads of an {kind}", where="$.load")


def check_search_size(spec: RunSpec, loads: Iterable[Load | None]) -> None:
    """Refuses a search in which no load could ever be shown to meet the SLO. Raises SpecError."""
    search = spec.search
    if search is None:
        return
    from harness.engine.search import level_of_look
    from harness.statistics import needed_for_share

    times = search.trials_max * spec.iterations.measured
    fewest = min((load.requests for load in loads if load is not None), default=None)
    needed = needed_for_share(search.share_min, level=level_of_look(search.trials_max))
    if fewest is None:
        raise SpecError(
            "a search needs a scenario that takes a load",
            where="$.search",
            remedy="scenario: {name: load}",
        )
    if fewest * times < needed:
        raise SpecError(
            f"{fewest * times} requests at one load cannot show a share of {search.share_min:g}: "
            f"that takes {needed}, all of them good",
            where="$.search",
            remedy=f"load.requests: {-(-needed // times)}, more trials_max, or a lower share_min",
        )


def _at_least(least: float, value: float, where: str) -> None:
    if not value >= least:  # also refuses nan
        raise SpecError(f"must be at least {least:g}, is {value:g}", where=where)
