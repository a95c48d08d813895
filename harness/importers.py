"""The importers that come with the harness: tables with a mapping. Registered by the same hook as
anybody's; nothing is imported for them before one is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import harness

if TYPE_CHECKING:
    from harness.protocols import ImportedRows
    from harness.registry import ImporterRegistry
    from harness.tables import Table

__all__ = ["CsvImporter", "JsonImporter", "MapOptions", "harness_register_importers"]


class MapOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a table is read."""

    map: str = ""
    """The mapping file: which column is what (docs/auditing.md). `--suggest` drafts one."""


class CsvImporter:
    """A table in a CSV file, with a mapping that says which column is what."""

    name = "csv"

    def __init__(self, options: MapOptions) -> None:
        self._map = options.map

    def read(self, path: Path) -> ImportedRows:
        from harness.errors import SpecError
        from harness.store.imported import rows_of
        from harness.store.mapping import read_mapping

        if not self._map:
            raise SpecError(
                "which column is what?",
                where="--map",
                remedy=f"harness import {self.name} {path} --suggest > map.yaml, then edit that",
            )
        mapping = read_mapping(Path(self._map))
        return rows_of(self.table(path, mapping.rows), mapping)

    def suggest(self, path: Path) -> str:
        """A draft of a mapping. Raises StoreError."""
        from harness.store.mapping import read_mapping
        from harness.store.suggesting import suggestion

        place = read_mapping(Path(self._map)).rows if self._map else ""
        return suggestion(self.table(path, place))

    def table(self, path: Path, _place: str) -> Table:
        from harness.tables import read_csv

        return read_csv(path)


class JsonImporter(CsvImporter):
    """A list of objects in a JSON file, with a mapping that says which field is what."""

    name = "json"

    def table(self, path: Path, place: str) -> Table:
        from harness.tables import read_json_rows

        return read_json_rows(path, place)


@harness.hookimpl
def harness_register_importers(registry: ImporterRegistry) -> None:
    registry.add("csv", CsvImporter, options=MapOptions)
    registry.add("json", JsonImporter, options=MapOptions)
