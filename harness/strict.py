"""Strict decoding: a mistake is named by its path, with the nearest name that would be right.

msgspec says `Object contains unknown field `num_ctxx` - at `$.backend``. A person wants to read
`$.backend.num_ctxx: there is no such field (try: num_ctx)`.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from harness.errors import SpecError

__all__ = ["decode", "nearest"]

T = TypeVar("T")

_AT = re.compile(r" - at `(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]*)`")
_WRONG_VALUE = re.compile(r"[Ii]nvalid (enum )?value '(?P<value>[^']*)'")
_TEXT_FOR_NUMBER = re.compile(r"Expected `(int|float)( \| null)?`, got `str`")
_EXPECTED = re.compile(r"Expected `(?P<kinds>[^`]*)`")
_GOT = re.compile(r"got `(?P<kinds>[^`]*)`")
_BOUND = re.compile(r"(?P<sign>[<>]=?) (?P<number>-?[\d.e+-]+)$")
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}
_SIGNS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_STEP = re.compile(r"\.(?P<field>\w+)|\[(?P<index>[^\]]*)\]")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be, if any is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def decode(raw: Any, kind: type[T], *, where: str = "$") -> T:
    """`raw` (dicts, lists, scalars) as a `kind`. Raises SpecError with the path of the mistake.

    A field that does not exist is one, also in a Struct that tolerates it because results have it.
    """
    try:
        value = msgspec.convert(raw, kind, strict=True)
    except msgspec.ValidationError as error:
        message = str(error)
        at = _AT.search(message)
        path = at["path"] if at else "$"
        raise _explained(message, kind, _named(path, raw, kind), path, where) from None
    _refuse_unknown(raw, value, where)
    return value


def _refuse_unknown(raw: Any, value: Any, where: str) -> None:
    """Side by side: what was written, and what was made of it."""
    if isinstance(value, msgspec.Struct) and isinstance(raw, dict):
        known = _field_names([type(value)])
        for name in raw:
            if name not in known:
                raise _no_such_field(name, known, where)
        names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        for attribute, name in names:
            if name in raw:
                _refuse_unknown(raw[name], getattr(value, attribute), f"{where}.{name}")
    elif isinstance(value, dict) and isinstance(raw, dict):
        for name, item in value.items():
            _refuse_unknown(raw.get(name), item, f"{where}.{name}")
    elif isinstance(value, tuple | list) and isinstance(raw, tuple | list):
        for index, (written, item) in enumerate(zip(raw, value, strict=False)):
            _refuse_unknown(written, item, f"{where}[{index}]")


def _named(path: str, raw: Any, kind: Any) -> str:
    """msgspec writes `[...]` for the key of a dict: find which key it was by trying each."""
    before, found, after = path.partition("[...]")
    if not found:
        return path
    mapping = raw
    for step in _STEP.finditer(before):
        mapping = mapping[step["field"]] if step["field"] else mapping[int(step["index"])]
    for holder in _type_at(kind, before):
        value_type = _step_into(holder, None)
        for key, value in mapping.items():
            try:
                msgspec.convert(value, value_type, strict=True)
            except msgspec.ValidationError:
                return f"{before}.{key}{_named('$' + after, value, value_type).removeprefix('$')}"
    return path


def _explained(message: str, kind: Any, shown: str, path: str, where: str) -> SpecError:
    what = _AT.sub("", message)
    place = where + shown.removeprefix("$")
    missing = _MISSING.search(what)
    if missing:
        return SpecError("this field is missing", where=f"{place}.{missing['name']}")
    unknown = _UNKNOWN.search(what)
    if not unknown:
        plain = _in_words(what)
        return SpecError(
            plain[:1].lower() + plain[1:], where=place, remedy=_choices(what, _type_at(kind, path))
        )
    name = unknown["name"]
    # A union has a member without this field, or there would be no mistake: suggest from that one.
    kinds = [one for one in _type_at(kind, path) if name not in _field_names([one])]
    return _no_such_field(name, _field_names(kinds), place)


def _no_such_field(name: str, known: list[str], place: str) -> SpecError:
    guess = nearest(name, known)
    remedy = guess if guess else "one of: " + ", ".join(sorted(set(known))) if known else ""
    return SpecError("there is no such field", where=f"{place}.{name}", remedy=remedy)


def _in_words(what: str) -> str:
    """The decoder's names of types and bounds, in words: `int | null` is a whole number."""

    def named(found: re.Match[str]) -> str:
        kinds = found["kinds"].split(" | ")
        kinds = [kind for kind in kinds if kind != "null"] or kinds
        return found[0].partition("`")[0] + " or ".join(_WORDS.get(kind, kind) for kind in kinds)

    def bounded(found: re.Match[str]) -> str:
        of = "" if found.string[: found.start()].endswith("length ") else "of "
        return f"{of}{_SIGNS[found['sign']]} {float(found['number']):.12g}"

    return _BOUND.sub(bounded, _GOT.sub(named, _EXPECTED.sub(named, what)))


def _choices(what: str, kinds: list[Any]) -> str:
    """For a value that is none of those allowed: the nearest, or all of them."""
    if _TEXT_FOR_NUMBER.match(what):
        return "a plain number, such as 1000 (YAML takes 1e3 for text)"
    wrong = _WRONG_VALUE.search(what)
    if not wrong:
        return ""
    allowed = [str(v) for one in kinds if get_origin(one) is Literal for v in get_args(one)]
    return nearest(wrong["value"], allowed) or " or ".join(allowed)


def _type_at(kind: Any, path: str) -> list[Any]:
    """The Struct types that may stand at `path` (a union has several)."""
    here = _members(kind)
    for step in _STEP.finditer(path):
        there: list[Any] = []
        for one in here:
            there += _members(_step_into(one, step["field"]))
        here = there
    return here


def _step_into(kind: Any, field: str | None) -> Any:
    if field is not None and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if field == kind.__struct_config__.tag_field:
            return Literal[kind.__struct_config__.tag]
        return typing.get_type_hints(kind).get(field)
    arguments = get_args(kind)
    # Elements: the value type of a dict, the item type of a list or tuple.
    return arguments[1 if get_origin(kind) is dict else 0] if arguments else None


def _members(kind: Any) -> list[Any]:
    if get_origin(kind) in (Union, types.UnionType):
        return [member for argument in get_args(kind) for member in _members(argument)]
    return [] if kind in (None, type(None)) else [kind]


def _field_names(kinds: list[Any]) -> list[str]:
    names: list[str] = []
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            names += kind.__struct_encode_fields__
            if kind.__struct_config__.tag_field:
                names.append(kind.__struct_config__.tag_field)
    return names
