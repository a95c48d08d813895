"""From the words of `harness run` to a spec: a file or a scenario's name, then the options."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec

from harness.cli.over_models import set_models
from harness.cli.smoke import smoked
from harness.engine import make_plan, merge, read_spec, set_path, spec_from, with_mode
from harness.engine.specfile import plain
from harness.errors import SpecError
from harness.host import Host
from harness.references import is_reference
from harness.schema import RunSpec, SearchSpec, SweepSpec
from harness.strict import nearest

__all__ = ["Asked", "build_spec", "split_pair"]

SPEC_SUFFIXES = {".yaml", ".yml", ".json", ".toml"}
ITERATION_COUNTS = ("warmup", "measured", "cold")
DEFAULT_BACKEND = {"name": "llamacpp", "model": "tiny"}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `harness run`, as given; None is not given."""

    what: str | None = None
    preset: str | None = None
    resumed: RunSpec | None = None
    """Of the run that goes on: what is given besides must not change it."""
    backend: str | None = None
    model: str | None = None
    models: tuple[str, ...] = ()
    url: tuple[str, ...] = ()
    tap: bool | None = None
    options: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    runs: int | None = None
    warmup: int | None = None
    iterations: int | None = None
    requests: int | None = None
    concurrency: int | None = None
    rate: float | None = None
    max_tokens: int | None = None
    instruments: tuple[str, ...] = ()
    executor: str | None = None
    budget_usd: float | None = None
    seed: int | None = None
    trial_timeout: float | None = None
    smoke: bool = False
    limit: int | None = None


def build_spec(asked: Asked, host: Host) -> RunSpec:
    """Raises SpecError naming the option or field."""
    raw = _base(asked, host)
    if raw is None:
        assert asked.resumed is not None
        raw = plain(asked.resumed)
    else:
        raw = _with_defaults(raw, host)
    _backend(raw, asked)
    if asked.models:
        set_models(raw, asked.models, host)
    _load(raw, asked)
    if asked.runs is not None:
        raw["trials"] = asked.runs
    if asked.warmup is not None:
        set_path(raw, "iterations.warmup", asked.warmup)
    if asked.iterations is not None:
        set_path(raw, "iterations.measured", asked.iterations)
    if asked.instruments:
        raw["instruments"] = list(asked.instruments)
    if asked.executor is not None:
        set_path(raw, "placement.executor", asked.executor)
    if asked.trial_timeout is not None:
        set_path(raw, "placement.trial_timeout_s", asked.trial_timeout)
    if asked.budget_usd is not None:
        raw["budget_usd"] = asked.budget_usd
    if asked.seed is not None:
        raw["seed"] = asked.seed
    if asked.max_tokens is not None:
        set_path(raw, "scenario.options.max_tokens", asked.max_tokens)
    for pair in asked.options:
        key, value = split_pair(pair, "-o")
        set_path(raw, f"{_owner(raw, key, host)}.options.{key}", value)
    for pair in asked.sets:
        path, value = split_pair(pair, "--set")
        set_path(raw, path, value)
    spec = spec_from(raw)
    if asked.smoke:
        spec = smoked(spec, host)
    return _limited(spec, asked.limit, host) if asked.limit is not None else spec


def split_pair(pair: str, option: str) -> tuple[str, Any]:
    """`key=value`, the value read as YAML: numbers, true, lists and quoted strings work."""
    key, found, text = pair.partition("=")
    if not found or not key:
        raise SpecError(f"{pair!r} is not key=value", where=option)
    from harness.engine.plainyaml import read_yaml

    try:
        return key, read_yaml(text) if text else ""
    except ValueError:
        return key, text


def _base(asked: Asked, host: Host) -> dict[str, Any] | None:
    """None: that of the run that goes on."""
    if asked.resumed is not None and asked.what is None and asked.preset is None:
        return None
    if (asked.what is None) is (asked.preset is None):
        raise SpecError(
            "what is to be run?" if asked.what is None else "a preset is a spec of its own",
            where="--preset" if asked.preset else "harness run",
            remedy="harness run SPEC, harness run SCENARIO, or harness run --preset NAME",
        )
    if asked.preset is not None:
        from harness.presets import get_preset

        return read_spec(get_preset(asked.preset, host.plugins).path)
    assert asked.what is not None
    path = Path(asked.what)
    if is_reference(asked.what) and path.suffix.lower() not in SPEC_SUFFIXES:
        return {"scenario": {"name": asked.what}}
    if path.suffix.lower() in SPEC_SUFFIXES or path.is_file():
        return read_spec(path)
    if asked.what not in host.scenarios:
        guess = nearest(asked.what, [entry.name for entry in host.scenarios])
        raise SpecError(
            f"{asked.what!r} is neither a spec file nor a scenario",
            remedy=f"harness run {guess}" if guess else "harness list",
        )
    return {"scenario": {"name": asked.what}}


def _with_defaults(raw: dict[str, Any], host: Host) -> dict[str, Any]:
    """What the scenario asks for where nobody else does: how often it runs, and no backend if it
    makes no calls. A factory may carry that (harness.callables.FunctionFactory)."""
    scenario = raw.get("scenario")
    name = scenario.get("name") if isinstance(scenario, dict) else None
    if not isinstance(name, str) or not (name in host.scenarios or is_reference(name)):
        return raw  # refused later, with its path
    factory = host.scenarios.get(name, "$.scenario.name").factory
    merged = merge(getattr(factory, "defaults", {}), raw)
    if merged.get("backend") is None and not getattr(factory, "calls_model", True):
        merged["backend"] = {"name": "none"}
    return merged


def _backend(raw: dict[str, Any], asked: Asked) -> None:
    """Without any backend: the embedded engine. With --url alone we cannot know the dialect."""
    chosen = _mapping(raw, "backend") if raw.get("backend") is not None else None
    if asked.backend is not None and (chosen is None or chosen.get("name") != asked.backend):
        chosen = {"name": asked.backend}
        if asked.backend == DEFAULT_BACKEND["name"] and asked.model is None:
            chosen = dict(DEFAULT_BACKEND)
    if chosen is None:
        if asked.url:
            raise SpecError(
                "which kind of server is it?",
                where="--url",
                remedy="--backend openai, or --backend ollama",
            )
        chosen = dict(DEFAULT_BACKEND)
    patch: dict[str, Any] = {}
    if asked.model is not None:
        patch["model"] = asked.model
    if asked.url:
        patch["url"] = asked.url[0] if len(asked.url) == 1 else list(asked.url)
    if asked.tap is not None:
        patch["tap"] = asked.tap
    raw["backend"] = merge(chosen, patch)


def _mapping(raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    if not isinstance(value, dict):
        raise SpecError(f"a mapping is expected, this is {value!r}", where=f"$.{key}")
    return value


def _load(raw: dict[str, Any], asked: Asked) -> None:
    if asked.requests is None and asked.concurrency is None and asked.rate is None:
        return
    load = with_mode(_mapping(raw, "load")) if raw.get("load") else {}
    if asked.rate is not None:
        if load.get("mode", "open") != "open":
            load = {k: v for k, v in load.items() if k == "requests"}
        load = {**load, "mode": "open", "rate_per_s": asked.rate}
        if asked.concurrency is not None:
            load["concurrency_max"] = asked.concurrency
    else:
        load = {"mode": "closed", **load}
        if asked.concurrency is not None:
            key = "concurrency" if load["mode"] == "closed" else "concurrency_max"
            load[key] = asked.concurrency
    if asked.requests is not None:
        load["requests"] = asked.requests
    raw["load"] = load


def _owner(raw: dict[str, Any], key: str, host: Host) -> str:
    """Whose option `key` is: the backend's or the scenario's."""
    name = key.partition(".")[0]
    owners: list[str] = []
    known: list[str] = []
    for owner, registry in (("backend", host.backends), ("scenario", host.scenarios)):
        name_of_owner = _mapping(raw, owner).get("name")
        if not isinstance(name_of_owner, str):
            raise SpecError("a mapping with a name is expected", where=f"$.{owner}")
        entry = registry.get(name_of_owner, f"$.{owner}.name")
        fields = entry.options.__struct_encode_fields__
        known += fields
        if name in fields:
            owners.append(owner)
    if len(owners) == 1:
        return owners[0]
    if owners:
        raise SpecError(
            f"both the backend and the scenario have an option {name!r}",
            where="-o",
            remedy=f"--set backend.options.{key}=… or --set scenario.options.{key}=…",
        )
    raise SpecError(
        f"neither backend {raw['backend']['name']!r} nor scenario {raw['scenario']['name']!r} "
        f"has an option {name!r}",
        where="-o",
        remedy=nearest(name, known) or "one of: " + ", ".join(sorted(known)),
    )


def _limited(spec: RunSpec, limit: int, host: Host) -> RunSpec:
    """At most `limit` cells, launches, iterations and requests each: for a smoke test. The result
    is a spec like any other, so that whoever has the run can repeat it."""
    replace = msgspec.structs.replace
    if limit < 1:
        raise SpecError(f"must be at least 1, is {limit}", where="--limit")
    load = make_plan(spec, host).spec.load  # with the default that a request scenario has
    if load is not None:
        load = replace(load, requests=min(load.requests, limit))
    counts = {name: min(getattr(spec.iterations, name), limit) for name in ITERATION_COUNTS}
    stop = spec.stop
    limited = replace(
        spec,
        trials=min(spec.trials, limit),
        iterations=replace(spec.iterations, **counts),
        load=load,
        arms={name: replace(arm, load=_few(arm.load, limit)) for name, arm in spec.arms.items()},
        sweep=_fewer_cells(spec.sweep, limit) if spec.sweep else None,
        stop=stop and replace(stop, trials_max=min(stop.trials_max, limit)),
    )
    return replace(limited, search=_fewer_loads(limited, limit) if spec.search else None)


def _few(load: dict[str, Any], limit: int) -> dict[str, Any]:
    """An arm's part of the load."""
    requests = load.get("requests")
    return {**load, "requests": min(requests, limit)} if isinstance(requests, int) else load


def _fewer_cells(sweep: SweepSpec, limit: int) -> SweepSpec:
    """`limit` of the points: of a grid any, drawn with the run's seed; of levels side by side the
    first."""
    replace = msgspec.structs.replace
    axes = {
        path: _first(levels, limit) if sweep.strategy == "zip" else levels
        for path, levels in sweep.axes.items()
    }
    path = "load.requests"
    if path in axes and isinstance(axes[path], list):
        axes[path] = [min(n, limit) if isinstance(n, int) else n for n in axes[path]]
    if sweep.strategy == "zip":
        return replace(sweep, axes=axes)
    points = math.prod(len(levels) for levels in axes.values())
    samples = min(limit, sweep.samples or points)
    if sweep.strategy == "cartesian" and samples == points:
        return replace(sweep, axes=axes)
    return replace(sweep, axes=axes, strategy="random", samples=samples)


def _first(levels: Any, count: int) -> Any:
    return dict(list(levels.items())[:count]) if isinstance(levels, dict) else levels[:count]


def _fewer_loads(spec: RunSpec, limit: int) -> SearchSpec | None:
    """The lowest `limit` of the loads (two at least), and a share that so few requests can show."""
    from harness.engine.search import level_of_look

    search = spec.search
    if search is None:
        return None
    trials = min(search.trials_max, limit)
    loads = [one.load.get("requests", 0) for one in spec.arms.values()]
    base = spec.load.requests if spec.load is not None else limit
    requests = min([n for n in loads if n] + [base]) * trials * spec.iterations.measured
    tail = (1 - level_of_look(trials)) / 2
    shown = math.floor(tail ** (1 / requests) * 1000 - 1) / 1000
    return msgspec.structs.replace(
        search,
        high=min(search.high, search.low * search.step ** max(1, limit - 1)),
        trials_max=trials,
        share_min=min(search.share_min, max(0.001, shown)),
    )
