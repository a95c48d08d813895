"""`harness import chimeraforge PATH`, as a plugin: its options and its hooks. importing.py
does the work, and is imported when somebody asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

import harness

if TYPE_CHECKING:
    from harness.protocols import ImportedRows, RunData
    from harness.registry import ImporterRegistry
    from harness.schema import Caveat

__all__ = ["ChimeraforgeImporter", "Options"]

NAME: Final = "chimeraforge"
RUNTIME: Final = r"(?:^|/)runtime-([^/]+)"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a folder is read."""

    arm: str = RUNTIME
    """Regular expression over the path of each file below PATH; its first group names the arm, as
    in `multi/(python|rust)/`. Where it does not match, the scenario or the agent does."""


class ChimeraforgeImporter:
    """Chimeraforge's metrics.json files, a folder of them, or one of its condensed tables."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def read(self, path: Path) -> ImportedRows:
        from harness_agents.legacy.importing import rows_at

        return rows_at(path, self._options)


@harness.hookimpl
def harness_find_caveats(result: RunData) -> list[Caveat] | None:
    if result.manifest.spec.scenario.options.get("importer") != NAME:
        return None
    from harness_agents.legacy.caveats import caveats

    return list(caveats(result))


@harness.hookimpl
def harness_register_importers(registry: ImporterRegistry) -> None:
    registry.add(NAME, ChimeraforgeImporter, options=Options)
