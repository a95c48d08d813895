"""Price records by their exact keys. A model that nobody wrote a record for has no price: not that
of the model whose name its own begins with, and not $0.

A table is one layer: the spec's records, the user's files, the shipped file. `PriceTable.on` looks
a model up in one; `applicable` puts the layers in their order.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from importlib import resources
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from harness.errors import SpecError
from harness.money.amounts import parse_amount
from harness.schema import PriceRecord
from harness.strict import decode

__all__ = [
    "PriceFile",
    "PriceTable",
    "applicable",
    "check_prices",
    "for_hosts",
    "nearest_model",
    "price_file",
    "shipped",
]

VERSION: Final = 1
SHIPPED: Final = "prices.json"
_AMOUNTS: Final = (
    "input_usd_per_token",
    "output_usd_per_token",
    "cached_input_usd_per_token",
    "request_usd",
)
Key = tuple[str, str, str, str]


class PriceFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shipped file, and a user's own."""

    prices: tuple[PriceRecord, ...]
    version: int = VERSION
    """Of this format."""


def price_file(raw: Any, where: str) -> tuple[PriceRecord, ...]:
    """The records of a file as plain data. Raises SpecError with the path of the mistake."""
    found = decode(raw, PriceFile, where=f"{where}: $")
    if found.version != VERSION:
        raise SpecError(
            f"price files have version {VERSION}, this is {found.version}",
            where=f"{where}: $.version",
            remedy="pip install --upgrade chimera-harness" if found.version > VERSION else "1",
        )
    check_prices(found.prices, f"{where}: $.prices")
    return found.prices


def check_prices(prices: Sequence[PriceRecord], where: str) -> None:
    """Every field says what it must, and no price is said twice. Raises SpecError."""
    seen: dict[Key, int] = {}
    for index, record in enumerate(prices):
        check_record(record, f"{where}[{index}]")
        first = seen.setdefault(_key(record), index)
        if first != index:
            raise SpecError(
                f"the price of {record.model!r} on {record.date} is said a second time",
                where=f"{where}[{index}]",
                remedy=f"leave out this one or {where}[{first}]",
            )


def check_record(record: PriceRecord, where: str) -> None:
    """Raises SpecError with the field."""
    for name in ("backend", "model", "source"):
        if not getattr(record, name).strip():
            raise SpecError("it is empty", where=f"{where}.{name}")
    for name in _AMOUNTS:
        text = getattr(record, name)
        if text is not None and parse_amount(text) is None:
            raise SpecError(
                f"{text!r} is no amount of dollars",
                where=f"{where}.{name}",
                remedy='a decimal in quotes, such as "0.00000015"',
            )
    if not _is_day(record.date):
        raise SpecError(
            f"{record.date!r} is no day", where=f"{where}.date", remedy='"2026-11-20", in quotes'
        )


class PriceTable:
    """Records that were checked, of one layer."""

    def __init__(self, prices: Iterable[PriceRecord] = ()) -> None:
        self.prices = tuple(sorted(prices, key=_key))

    def on(self, backend: str, model: str, day: str) -> list[PriceRecord]:
        """The newest record at or before `day` (ISO 8601), one for each host that has its own;
        those of a host first."""
        newest: dict[str, PriceRecord] = {}
        for record in self.prices:
            if (record.backend, record.model) == (backend, model) and record.date <= day:
                newest[record.host] = record  # they are sorted by their day
        return sorted(newest.values(), key=lambda record: not record.host)

    def later(self, backend: str, model: str, day: str) -> PriceRecord | None:
        """The first record behind `day`: why there is none on it."""
        of_model = (r for r in self.prices if (r.backend, r.model) == (backend, model))
        return next((record for record in of_model if record.date > day), None)


def applicable(
    layers: Iterable[PriceTable], backend: str, model: str, day: str
) -> tuple[PriceRecord, ...]:
    """Every record that may be the price, in the order in which they are to be tried: what an
    earlier layer says of a host, no later one says again."""
    found: dict[str, PriceRecord] = {}
    for layer in layers:
        for record in layer.on(backend, model, day):
            found.setdefault(record.host, record)
    return tuple(found.values())


def for_hosts(prices: Iterable[PriceRecord], urls: Iterable[str]) -> PriceRecord | None:
    """The first that holds for all of these servers."""
    hosts = {(urlsplit(url).hostname or "").lower() for url in urls}
    return next((r for r in prices if not r.host or hosts == {r.host.lower()}), None)


def nearest_model(name: str, tables: Iterable[PriceTable]) -> str | None:
    """For people alone: what they may have meant. No call is ever priced by it."""
    known = {record.model for table in tables for record in table.prices}
    close = difflib.get_close_matches(name, sorted(known - {name}), n=1)
    return close[0] if close else None


@lru_cache(maxsize=1)
def shipped() -> PriceTable:
    """The table that comes with this version."""
    import msgspec

    text = resources.files("harness.money").joinpath(SHIPPED).read_bytes()
    raw: Mapping[str, Any] = msgspec.json.decode(text)
    return PriceTable(price_file(raw, SHIPPED))


def _key(record: PriceRecord) -> Key:
    return record.backend, record.model, record.host, record.date


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
