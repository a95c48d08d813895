"""Parameters of a function as an options Struct: named, typed, bounded, with their defaults."""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from harness.errors import SpecError

__all__ = ["options_from"]


def options_from(
    function: Callable[..., Any], parameters: list[inspect.Parameter], where: str
) -> type[msgspec.Struct]:
    """A Struct with one field for each of `parameters`. Raises SpecError, at `where`, for one that
    no spec could set."""
    name = getattr(function, "__name__", "function")
    return _struct(name, _fields(function, parameters, where), where)


def _fields(
    function: Callable[..., Any], parameters: list[inspect.Parameter], where: str
) -> list[tuple[str, Any, Any]]:
    hints = _hints(function, [one.name for one in parameters], where)
    fields = []
    for one in parameters:
        if one.kind not in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
            raise SpecError(
                f"the parameter `{one}` cannot be an option",
                where=where,
                remedy="parameters with a name of their own",
            )
        default = one.default
        kind = hints.get(one.name, _kind_of(default))
        if isinstance(default, list | dict | set):
            default = msgspec.field(default_factory=partial(copy.deepcopy, default))
        fields.append((one.name, kind, msgspec.NODEFAULT if default is one.empty else default))
    return fields


def _hints(function: Callable[..., Any], names: list[str], where: str) -> dict[str, Any]:
    """Of these parameters alone: what `ctx` says it is need not exist at run time."""
    raw = getattr(function, "__annotations__", {})
    holder = type("_Holder", (), {"__annotations__": {n: raw[n] for n in names if n in raw}})
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return typing.get_type_hints(holder, globalns=scope, localns={}, include_extras=True)
    except Exception as error:  # an annotation may be any expression
        raise SpecError(
            f"an annotation cannot be read: {type(error).__name__}: {error}",
            where=where,
            remedy="types that exist at run time, not only for type checkers",
        ) from None


def _kind_of(default: Any) -> Any:
    return type(default) if type(default) in (bool, int, float, str) else Any


def _struct(name: str, fields: list[tuple[str, Any, Any]], where: str) -> type[msgspec.Struct]:
    try:
        made = msgspec.defstruct(
            f"{name}_options", fields, frozen=True, kw_only=True, forbid_unknown_fields=True
        )
        infos = msgspec.inspect.type_info(made)
    except (TypeError, ValueError) as error:
        raise SpecError(f"its parameters cannot be options: {error}", where=where) from None
    assert isinstance(infos, msgspec.inspect.StructType)
    for info in infos.fields:
        if isinstance(info.type, msgspec.inspect.CustomType):
            raise SpecError(
                f"the parameter `{info.name}` is a {info.type.cls.__name__}: no spec can hold that",
                where=where,
                remedy="numbers, text, lists, mappings, dataclasses or Structs of them",
            )
    return made
