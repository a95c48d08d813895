"""Options that are one's own: of a call, over those of the spec; of a trial, apart from all others.
Public: `merged` is what a backend's `prepare` begins with."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from harness.errors import SpecError
from harness.text import nearest

__all__ = ["merged", "own_copy"]

T = TypeVar("T", bound=msgspec.Struct)


def merged(options: T, changes: Mapping[str, Any], *, backend: str, otherwise: str = "") -> T:
    """`options` with the fields in `changes` replaced, checked like the spec's own.

    Raises SpecError for a name that the options type does not have, with the nearest that it has
    and `otherwise` (another way to say it) as remedy, and for a value that it refuses.
    """
    if not changes:
        return options
    known = options.__struct_fields__
    for name in changes:
        if name not in known:
            ways = [nearest(name, known), otherwise]
            raise SpecError(
                f"the {backend} backend has no option {name!r}",
                where=f"request.options.{name}",
                remedy=", or ".join(way for way in ways if way)
                or "one of: " + ", ".join(sorted(known)),
            )
    try:
        return msgspec.convert({**msgspec.structs.asdict(options), **changes}, type(options))
    except msgspec.ValidationError as error:
        raise SpecError(str(error), where="request.options") from None


def own_copy(options: T) -> T:
    """For one trial: what it does to a list in them is not seen by the next. What cannot be copied
    (a stranger's default may be anything) is shared."""
    try:
        return copy.deepcopy(options)
    except Exception:
        return options
