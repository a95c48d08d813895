"""Nested settings as flat ones, and which of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

__all__ = ["ABSENT", "differing", "leaves"]

ABSENT: Final = None
"""What stands for a setting that one side does not have."""


def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of everything in it that is no mapping; empty mappings are nothing."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value)
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{name}.{key}")
    else:
        yield name, value


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(path, baseline's value, candidate's), in the order in which the paths first appear."""
    for path in dict.fromkeys([*one, *other]):
        a, b = one.get(path, ABSENT), other.get(path, ABSENT)
        if not _equal(a, b):
            yield path, a, b


def _equal(a: Any, b: Any) -> bool:
    """1 and 1.0 are the same setting; True and 1 are not."""
    return bool(a == b and isinstance(a, bool) == isinstance(b, bool))
