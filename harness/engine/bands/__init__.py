"""Bands of a spec: given in it, or shipped under a name (the files beside this one).

A plan resolves the name, so that the spec of a run holds the bounds themselves: what a figure was
called does not change when a later version ships others.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import msgspec

from harness.engine.plainyaml import read_yaml
from harness.errors import SpecError
from harness.metrics.bands import check_bands
from harness.schema import BandSpec, RunSpec
from harness.strict import decode, nearest

__all__ = ["ShippedBands", "resolved_bands", "shipped_bands", "with_bands"]


class ShippedBands(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file."""

    source: str
    """Whose bounds they are, and what they were said of."""
    bands: dict[str, BandSpec]


def shipped_bands() -> dict[str, ShippedBands]:
    """Name → what it stands for."""
    found = {}
    for path in sorted(files(__name__).iterdir(), key=lambda path: path.name):
        name, dot, kind = path.name.partition(".")
        if dot and kind == "yaml":
            raw: Any = read_yaml(path.read_text("utf-8"))
            found[name] = decode(raw, ShippedBands, where=path.name)
    return found


def resolved_bands(bands: str | dict[str, BandSpec]) -> dict[str, BandSpec]:
    """Raises SpecError for a name that is not shipped."""
    if not isinstance(bands, str):
        return bands
    shipped = shipped_bands()
    if bands in shipped:
        return shipped[bands].bands
    raise SpecError(
        f"no bands are shipped under the name {bands!r}",
        where="$.bands",
        remedy=nearest(bands, shipped) or "one of: " + ", ".join(shipped),
    )


def with_bands(spec: RunSpec) -> RunSpec:
    """The spec with its bands resolved and checked. Raises SpecError with the path of a mistake."""
    found = resolved_bands(spec.bands)
    check_bands(found)
    return spec if found is spec.bands else msgspec.structs.replace(spec, bands=found)
