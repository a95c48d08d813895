"""From the words of `harness run` to a spec: a file or a scenario's name, then the options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from harness.engine import make_plan, merge, read_spec, set_path, spec_from, with_mode
from harness.errors import SpecError
from harness.host import Host
from harness.schema import RunSpec
from harness.strict import nearest

__all__ = ["Asked", "build_spec", "split_pair"]

SPEC_SUFFIXES = {".yaml", ".yml", ".json", ".toml"}
DEFAULT_BACKEND = {"name": "llamacpp", "model": "tiny"}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `harness run`, as given; None is not given."""

    what: str | None = None
    preset: str | None = None
    backend: str | None = None
    model: str | None = None
    url: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    runs: int | None = None
    warmup: int | None = None
    requests: int | None = None
    concurrency: int | None = None
    rate: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    limit: int | None = None


def build_spec(asked: Asked, host: Host) -> RunSpec:
    """Raises SpecError naming the option or field."""
    raw = _base(asked, host)
    _backend(raw, asked)
    _load(raw, asked)
    if asked.runs is not None:
        raw["trials"] = asked.runs
    if asked.warmup is not None:
        set_path(raw, "iterations.warmup", asked.warmup)
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


def _base(asked: Asked, host: Host) -> dict[str, Any]:
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
    if path.suffix.lower() in SPEC_SUFFIXES or path.is_file():
        return read_spec(path)
    if asked.what not in host.scenarios:
        guess = nearest(asked.what, [entry.name for entry in host.scenarios])
        raise SpecError(
            f"{asked.what!r} is neither a spec file nor a scenario",
            remedy=f"harness run {guess}" if guess else "harness list",
        )
    return {"scenario": {"name": asked.what}}


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
    """At most `limit` launches, iterations and requests each: for a smoke test."""
    if limit < 1:
        raise SpecError(f"must be at least 1, is {limit}", where="--limit")
    iterations = msgspec.structs.replace(
        spec.iterations,
        measured=min(spec.iterations.measured, limit),
        warmup=min(spec.iterations.warmup, limit),
    )
    load = make_plan(spec, host).spec.load  # with the default that a request scenario has
    if load is not None:
        load = msgspec.structs.replace(load, requests=min(load.requests, limit))
    return msgspec.structs.replace(
        spec, trials=min(spec.trials, limit), iterations=iterations, load=load
    )
