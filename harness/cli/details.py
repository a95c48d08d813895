"""`harness list NAME`: what one registered thing is, and every option that it takes."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
import types
import typing
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import msgspec

if TYPE_CHECKING:
    from harness.registry import Entry

__all__ = ["Option", "options_of", "type_words"]


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One option, in words."""

    name: str
    type: str
    default: str
    """As it would be written in a spec; `required` where there is none."""
    doc: str


def options_of(entry: Entry[Any]) -> list[Option]:
    """In the order in which they were declared."""
    kind = entry.options
    hints = typing.get_type_hints(kind, include_extras=True)
    docs = _docs(kind)
    return [
        Option(
            name=one.encode_name,
            type=type_words(hints[one.name]),
            default=_default(one),
            doc=docs.get(one.name) or _description(hints[one.name]),
        )
        for one in msgspec.structs.fields(kind)
    ]


def type_words(hint: Any) -> str:
    """`int ≥ 1`, `"a" or "b"`, `list of text`: what may be written there."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        bounds = [_bounds(one) for one in arguments[1:] if isinstance(one, msgspec.Meta)]
        return " ".join([type_words(arguments[0]), *filter(None, bounds)])
    if origin is Literal:
        return " or ".join(str(one) for one in arguments)
    if origin in (Union, types.UnionType):
        kinds = [one for one in arguments if one is not type(None)]
        return " or ".join(type_words(one) for one in kinds)
    if origin in (list, tuple, set, frozenset):
        return f"list of {type_words(arguments[0])}" if arguments else "list"
    if origin is dict:
        return "mapping"
    words = {str: "text", bool: "true or false", Any: "anything", dict: "mapping"}
    return words.get(hint) or str(getattr(hint, "__name__", hint))


def _bounds(meta: msgspec.Meta) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = {sign: getattr(meta, name) for name, sign in signs.items()}
    return " ".join(f"{sign} {bound:g}" for sign, bound in found.items() if bound is not None)


def _default(one: Any) -> str:
    value = one.default
    if value is msgspec.NODEFAULT and one.default_factory is not msgspec.NODEFAULT:
        value = one.default_factory()
    if value is msgspec.NODEFAULT:
        return "required"
    try:
        return msgspec.json.encode(value).decode()
    except TypeError:
        return repr(value)


def _docs(kind: type) -> dict[str, str]:
    """Field → the text that stands below it in the source, base classes included."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
        except (OSError, TypeError, SyntaxError):
            continue  # compiled, or made from a function's parameters
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for field, after in itertools.pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                found[field.target.id] = " ".join(after.value.value.split())
    return found


def _description(hint: Any) -> str:
    if get_origin(hint) is not typing.Annotated:
        return ""
    metas = [one for one in get_args(hint)[1:] if isinstance(one, msgspec.Meta)]
    return next((one.description for one in metas if one.description), "")
