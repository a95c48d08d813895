"""The fields of one line of a legacy table, each read strictly; instants as those programs wrote
them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from harness.errors import StoreError
from harness.tables import Row
from harness.text import one_line
from harness_agents.legacy.parts import typed_again

__all__ = ["Cells", "instant"]


class Cells:
    """The fields of one line, each read strictly. Empty is unknown."""

    def __init__(self, row: Row, file: str) -> None:
        self._row = row
        self._file = file

    def text(self, name: str) -> str:
        return one_line(self._row.fields[name], 300)

    def number(self, name: str) -> float | None:
        """None also where the table has no such column."""
        text = self._row.fields.get(name, "").strip()
        if text in ("", "NaN", "nan", "None", "null"):
            return None
        try:
            value = float(text)
        except ValueError:
            raise self.wrong(name, "a number") from None
        if not math.isfinite(value) or "_" in text:
            raise self.wrong(name, "a number")
        return value

    def whole(self, name: str) -> int | None:
        value = self.number(name)
        if value is not None and not value.is_integer():
            raise self.wrong(name, "a whole number")
        return None if value is None else int(value)

    def truth(self, name: str) -> bool | None:
        text = self.text(name).lower()
        if text not in ("true", "false", ""):
            raise self.wrong(name, "True or False")
        return None if text == "" else text == "true"

    def numbers(self, **names: str) -> dict[str, float]:
        """Name of a figure → its column, for those that are known."""
        found = {figure: self.number(column) for figure, column in names.items()}
        return {figure: value for figure, value in found.items() if value is not None}

    def options(self, *columns: str, names: Sequence[str] = ()) -> dict[str, Any]:
        """Whole numbers as such; 32-bit floats as they were typed."""
        found = {}
        for name, column in zip(names or columns, columns, strict=True):
            value = self.number(column)
            if value is not None:
                found[name] = int(value) if value.is_integer() else typed_again(value)
        return found

    def wrong(self, name: str, wanted: str) -> StoreError:
        text = one_line(self._row.fields[name], 40)
        place = f"{self._file}: line {self._row.place}, column {name}"
        return StoreError(f"{text!r} is not {wanted}", where=place)


def instant(text: str) -> str | None:
    """As ISO 8601 in UTC: these tables have no zone, or Z and digits beyond microseconds."""
    try:
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        return None
    zoned = found if found.tzinfo else found.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).isoformat(timespec="milliseconds")
