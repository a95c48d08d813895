"""Spec files: YAML, JSON or TOML in, RunSpec out; and the digest that identifies a run.

Nothing in a spec is executed: it is read into plain data (plainyaml.py), of a bounded size.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import msgspec

from harness.engine.plainyaml import DEPTH_MAX, read_json, read_yaml
from harness.errors import SpecError
from harness.schema import RunSpec
from harness.strict import decode

SIZE_MAX_BYTES = 2**20

__all__ = [
    "digest",
    "merge",
    "plain",
    "read_plain",
    "read_spec",
    "set_path",
    "spec_from",
    "with_mode",
]


def read_spec(path: Path) -> dict[str, Any]:
    """The file as plain data, by its suffix. Raises SpecError with the line of a syntax error."""
    raw = read_plain(path)
    if not isinstance(raw, dict):
        raise SpecError("a spec is a mapping of fields", where=str(path))
    return raw


def read_plain(path: Path) -> Any:
    """Whatever is in such a file. Raises SpecError."""
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_MAX_BYTES + 1)  # it may be a device that never ends
        if len(content) > SIZE_MAX_BYTES:
            raise SpecError(
                f"it has more than {SIZE_MAX_BYTES // 2**20} MiB",
                where=str(path),
                remedy="prompts go into a file of their own: -o prompts=FILE",
            )
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"cannot be read: {_why(error)}",
            where=str(path),
            remedy="the path of a .yaml, .json or .toml file in UTF-8",
        ) from None
    try:
        return _parse(path.suffix.lower(), text, path)
    except ValueError as error:
        raise SpecError(" ".join(str(error).split()), where=str(path)) from None


def _why(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return error.strerror or type(error).__name__


def _parse(suffix: str, text: str, path: Path) -> Any:
    if suffix == ".json":
        return read_json(text)
    if suffix == ".toml":
        import tomllib

        try:
            return tomllib.loads(text)
        except RecursionError:
            raise ValueError("it is nested too deep") from None
    if suffix in (".yaml", ".yml"):
        return read_yaml(text)
    raise SpecError(
        f"unknown kind of file {suffix!r}", where=str(path), remedy=".yaml, .json or .toml"
    )


def spec_from(raw: dict[str, Any]) -> RunSpec:
    """Strict: unknown fields are refused with their path and the nearest valid name.

    A load without a mode is open when it has a rate, and closed otherwise. One whose rate is swept
    or searched for need not give any: the first that will be tried stands in.
    """
    _check_plain(raw, "$")
    load = raw.get("load")
    if isinstance(load, dict):
        rate = {} if load.get("mode") == "closed" else _first_rate(raw)
        raw = {**raw, "load": with_mode({**rate, **load})}
    return decode(raw, RunSpec)


def _first_rate(raw: dict[str, Any]) -> dict[str, Any]:
    path = "load.rate_per_s"
    sweep, search = raw.get("sweep"), raw.get("search")
    if isinstance(search, dict) and search.get("path", path) == path and "low" in search:
        return {"rate_per_s": search["low"]}
    axes = sweep.get("axes") if isinstance(sweep, dict) else None
    levels = axes.get(path) if isinstance(axes, dict) else None
    if isinstance(levels, dict):
        levels = [*levels.values()]
    return {"rate_per_s": levels[0]} if isinstance(levels, list) and levels else {}


def with_mode(load: dict[str, Any]) -> dict[str, Any]:
    """`load` with its mode said."""
    return {"mode": "open" if "rate_per_s" in load else "closed", **load}


def _check_plain(value: Any, where: str, depth: int = 0) -> None:
    """What a spec may hold: text, finite numbers of 64 bits, lists, mappings with text keys. JSON
    and msgpack can carry nothing else, and a run that cannot be written down must not start."""
    if depth > DEPTH_MAX:
        raise SpecError(f"nested more than {DEPTH_MAX} deep", where=f"{where[:60]}…")
    if isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise SpecError(f"{key!r} is not text", where=where, remedy=f'"{key}"')
            _check_text(key, where)
            _check_plain(item, f"{where}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_plain(item, f"{where}[{index}]", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"must be a finite number, is {value}", where=where)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise SpecError("does not fit in 64 bits", where=where)
    elif value is not None and not isinstance(value, int | float):
        # YAML reads 2026-11-20 as a date.
        kind = type(value).__name__
        raise SpecError(f"a {kind} is neither text nor a number", where=where, remedy="quote it")


def _check_text(text: str, where: str) -> None:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise SpecError("it holds half of a surrogate pair, which is no character", where=where)


def digest(spec: RunSpec) -> str:
    """sha256 over the canonical form: sorted keys, defaults written out."""
    return hashlib.sha256(msgspec.json.encode(plain(spec), order="sorted")).hexdigest()


def plain(value: Any) -> Any:
    """Plain data with defaults included, so that writing a default down changes no digest."""
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        fields = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        return {str(config.tag_field): config.tag, **fields} if config.tag_field else fields
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def merge(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """JSON merge patch (RFC 7396): mappings merge, null removes, anything else replaces."""
    merged = dict(base)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def set_path(raw: dict[str, Any], path: str, value: Any) -> None:
    """Set `a.b.c` in nested mappings, making them on the way. What follows `sweep.axes.` is one
    key: axes are named by paths."""
    here = raw
    path = path.removeprefix("$.")
    before, axes, axis = path.partition("sweep.axes.")
    parts = ["sweep", "axes", axis] if axes and not before else path.split(".")
    *parents, last = parts
    for name in parents:
        here = here.setdefault(name, {})
        if not isinstance(here, dict):
            raise SpecError(f"{name!r} holds no fields", where=f"$.{path}")
    here[last] = value
