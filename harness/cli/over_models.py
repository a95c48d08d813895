"""`--models a,b,c`: the models of a run, as an axis of its sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from harness.errors import SpecError
from harness.host import Host

__all__ = ["labels", "set_models"]

WHERE: Final = "--models"
AXIS, WHOLE = "backend.model", "backend"
READABLE_CHARS: Final = 40


def set_models(raw: dict[str, Any], given: Iterable[str], host: Host) -> None:
    """Put the axis into `raw`, in place of the one over models that it has. Items that begin with
    the name of a backend (`openai:gpt-oss-20b`) make it an axis of whole backends: what such an
    item names is its own, and has nothing of another backend's address and options.

    Raises SpecError.
    """
    items = [item.strip() for text in given for item in text.split(",")]
    if "" in items:
        raise SpecError("an empty name is no model", where=WHERE, remedy="--models a,b,c")
    twice = [item for item, count in Counter(items).items() if count > 1]
    if twice:
        raise SpecError(
            f"{twice[0]!r} is named {items.count(twice[0])} times",
            where=WHERE,
            remedy="--runs 5 for more launches of each",
        )
    own = raw["backend"].get("name")
    pairs = [_split(item, own, host) for item in items]
    named = labels(items)
    axes = _axes(raw)
    kept = {path: levels for path, levels in axes.items() if path not in (AXIS, WHOLE)}
    if all(name == own for name, _ in pairs):
        levels: dict[str, Any] = {named[i]: model for i, (_, model) in enumerate(pairs)}
        made: tuple[str, dict[str, Any]] = (AXIS, levels)
    else:
        made = WHOLE, {named[i]: _backend(*pair, own) for i, pair in enumerate(pairs)}
    # At the place of the old one: the order of axes is the order of columns.
    old = next((path for path in axes if path in (AXIS, WHOLE)), None)
    order = [made[0] if path == old else path for path in axes if path in kept or path == old]
    both = {**kept, made[0]: made[1]}
    raw["sweep"]["axes"] = {path: both[path] for path in (order if old else [made[0], *kept])}
    arms = raw.get("arms") or {}
    if not any(isinstance(arm, dict) and arm.get("swept") is False for arm in arms.values()):
        raw["backend"] = {k: v for k, v in raw["backend"].items() if k != "model"}


def labels(items: list[str]) -> list[str]:
    """What cells call them. Of a path, or of a long name: as many of its last parts as tell it from
    the others."""
    return [item if _is_readable(item) else _tail(item, items) for item in items]


def _is_readable(item: str) -> bool:
    return len(item) <= READABLE_CHARS and not item.startswith(("/", "./", "../", "~"))


def _tail(item: str, items: list[str]) -> str:
    parts = item.rstrip("/").split("/")
    for count in range(1, len(parts)):
        tail = "/".join(parts[-count:])
        if sum(other.rstrip("/").endswith(f"/{tail}") or other == tail for other in items) == 1:
            return tail
    return item


def _split(item: str, own: Any, host: Host) -> tuple[str, str]:
    """(backend, model). A colon is part of many a model's own name: `gemma3:latest`."""
    name, colon, model = item.partition(":")
    if colon and model and name in host.backends:
        return name, model
    return str(own), item


def _backend(name: str, model: str, own: Any) -> dict[str, Any]:
    """What a cell merges into the spec's backend: null takes away."""
    if name == own:
        return {"model": model}
    return {"name": name, "model": model, "url": None, "options": None}


def _axes(raw: dict[str, Any]) -> dict[str, Any]:
    sweep = raw.get("sweep")
    if sweep is None:
        sweep = {}
    axes = sweep.get("axes", {}) if isinstance(sweep, dict) else None
    if not isinstance(sweep, dict) or not isinstance(axes, dict):
        raise SpecError("a mapping of paths to levels is expected", where="$.sweep.axes")
    raw["sweep"] = {**sweep, "axes": axes}
    return axes
