"""All price records that there are, and which of them a run of today would go by; and the file into
which `harness prices add` writes."""

from __future__ import annotations

import os
import tempfile
from datetime import date
from pathlib import Path
from typing import Final

import msgspec

from harness.engine.pricing import config_dir, user_prices
from harness.engine.specfile import read_plain
from harness.errors import SpecError, StoreError
from harness.money.table import PriceFile, PriceTable, applicable, check_record, price_file, shipped
from harness.schema import PriceRecord

__all__ = ["Entry", "add_record", "book", "own_file"]

SHIPPED: Final = "shipped"
OWN: Final = "own.json"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One record."""

    record: PriceRecord
    file: str
    """That has it; `shipped`."""
    age_days: int
    is_used: bool
    """Whether a run of that day would go by it."""


def book(today: date) -> list[Entry]:
    """Every record of the user's files and the shipped one, by backend, model and day. Raises
    SpecError for a file with a mistake in it."""
    user = user_prices()
    tables = (PriceTable(record for _, record in user), shipped())
    found = [(record, str(path)) for path, record in user]
    found += [(record, SHIPPED) for record in shipped().prices]
    found.sort(key=lambda one: (one[0].backend, one[0].model, one[0].date))
    day = today.isoformat()
    return [
        Entry(
            record=record,
            file=file,
            age_days=(today - date.fromisoformat(record.date)).days,
            is_used=record in applicable(tables, record.backend, record.model, day),
        )
        for record, file in found
    ]


def own_file() -> Path:
    """Raises StoreError without a home folder."""
    folder = config_dir()
    if folder is None:
        raise StoreError("there is no home folder to keep it in", remedy="set HARNESS_CONFIG_DIR")
    return folder / "prices" / OWN


def add_record(record: PriceRecord) -> Path:
    """The user's own file, with `record` in it. Raises SpecError where the record is none, or the
    price of that day is written down already; StoreError where the file cannot be written."""
    path = own_file()
    had = price_file(read_plain(path), str(path)) if path.exists() else ()
    check_record(record, "the record")
    key = (record.backend, record.model, record.host, record.date)
    if any((one.backend, one.model, one.host, one.date) == key for one in had):
        raise SpecError(
            f"it has a price of {record.model!r} on {record.date} already",
            where=str(path),
            remedy="another --date; or change it there, if it was wrong",
        )
    content = msgspec.json.format(msgspec.json.encode(PriceFile(prices=(*had, record))), indent=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content + b"\n")
    except OSError as error:
        raise StoreError(
            f"cannot be written: {error.strerror}",
            where=str(path),
            remedy="HARNESS_CONFIG_DIR names another folder",
        ) from error
    return path


def _replace(path: Path, content: bytes) -> None:
    """Whole, or not at all."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new = Path(name)
        new.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        new.replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
