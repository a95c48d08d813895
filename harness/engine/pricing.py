"""Which price the calls of a trial have: found once, before the run begins, and the same wherever
its trials are executed.

    the spec's own records, `$.prices`
    what the backend has fetched from its service (Effective.price)
    the user's files: $HARNESS_PRICES (files, separated by `:`), and all in <config>/prices
    the shipped table

<config> is $HARNESS_CONFIG_DIR, else $XDG_CONFIG_HOME/chimera-harness, else
~/.config/chimera-harness. The newest record at or before the day on which the run began is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from harness.engine.plan import Arm, Plan
from harness.engine.specfile import read_plain
from harness.errors import SpecError
from harness.money.table import (
    PriceTable,
    applicable,
    check_record,
    for_hosts,
    nearest_model,
    price_file,
    shipped,
)
from harness.schema import Effective, PriceRecord, RunSpec

__all__ = [
    "check_price",
    "config_dir",
    "layers",
    "price_files",
    "priced",
    "prices_for",
    "remedy_for",
    "user_prices",
]

SUFFIXES: Final = (".json", ".yaml", ".yml", ".toml")
FIELD: Final = "price"
"""Of Effective.unknown."""


def config_dir() -> Path | None:
    """Where a user's own files are. Not created here; None without a home folder."""
    if chosen := os.environ.get("HARNESS_CONFIG_DIR"):
        return Path(chosen).expanduser()
    try:
        base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    except RuntimeError:
        return None
    return Path(base) / "chimera-harness"


def price_files() -> list[Path]:
    """The user's own, those of $HARNESS_PRICES first. Raises SpecError for one that is not there:
    somebody counts on it."""
    named = [Path(one) for one in os.environ.get("HARNESS_PRICES", "").split(os.pathsep) if one]
    for path in named:
        if not path.is_file():
            raise SpecError("there is no such file", where=f"HARNESS_PRICES: {path}")
    folder = config_dir()
    kept: list[Path] = []
    if folder is not None and (folder / "prices").is_dir():
        found = sorted((folder / "prices").iterdir())
        kept = [path for path in found if path.suffix.lower() in SUFFIXES and path.is_file()]
    unique = {path.expanduser().resolve(): path for path in (*named, *kept)}
    return list(unique.values())


def user_prices(files: Iterable[Path] | None = None) -> list[tuple[Path, PriceRecord]]:
    """What the user's files say, with the file of each. Raises SpecError with the file and the path
    of the mistake; also where two files say the price of the same day."""
    found: list[tuple[Path, PriceRecord]] = []
    for path in price_files() if files is None else files:
        found += [(path, record) for record in price_file(read_plain(path), str(path))]
    said: dict[tuple[str, ...], Path] = {}
    for path, record in found:
        first = said.setdefault((record.backend, record.model, record.host, record.date), path)
        if first != path:
            raise SpecError(
                f"the price of {record.model!r} on {record.date} is in {first} as well",
                where=str(path),
                remedy="leave it out of one of them",
            )
    return found


def layers(spec: RunSpec) -> tuple[PriceTable, ...]:
    """In the order in which they are asked. Raises SpecError."""
    return PriceTable(spec.prices), PriceTable(record for _, record in user_prices()), shipped()


def prices_for(plan: Plan, day: str) -> tuple[PriceRecord, ...]:
    """Every record that may price a call of this run; those of the spec first. Raises SpecError."""
    tables = layers(plan.spec)
    models = dict.fromkeys((arm.backend.name, arm.backend_config.model or "") for arm in plan.arms)
    found: dict[PriceRecord, None] = {}
    for backend, model in models:
        found |= dict.fromkeys(applicable(tables, backend, model, day))
    return tuple(found)


def priced(
    effective: Effective,
    arm: Arm,
    urls: Sequence[str],
    spec: RunSpec,
    prices: Sequence[PriceRecord],
) -> Effective:
    """With the price by which the calls of this trial are to be priced; or why there is none, where
    calls cost money."""
    key = arm.backend.name, arm.backend_config.model or ""
    ours = [record for record in prices if (record.backend, record.model) == key]
    own = for_hosts((record for record in ours if record in spec.prices), urls)
    fetched, refused = _fetched(effective)
    price = own or fetched or for_hosts(ours, urls)
    if price is not None:
        left = {name: why for name, why in effective.unknown.items() if name != FIELD}
        return replace(effective, price=price, unknown=left)
    effective = replace(effective, price=None)
    if effective.location != "api" or (FIELD in effective.unknown and not refused):
        return effective
    why = refused or _why_not(key, ours)
    return replace(effective, unknown={**effective.unknown, FIELD: why})


def check_price(effective: Effective, arm: Arm) -> None:
    """Under a budget. Raises SpecError where calls may cost what nobody knows."""
    if effective.price is not None or effective.location == "local":
        return
    backend, model = arm.backend.name, arm.backend_config.model or effective.model or ""
    why = effective.unknown.get(FIELD) or _why_not((backend, model), ())
    raise SpecError(
        f"{why}, so no call can be held to the budget",
        where="$.budget_usd",
        remedy=remedy_for(backend, model),
    )


def _fetched(effective: Effective) -> tuple[PriceRecord | None, str]:
    """What a stranger's backend has found out, if it is a price; else why it is none."""
    if effective.price is None:
        return None, ""
    try:
        check_record(effective.price, "the price that the backend gives")
    except SpecError as error:
        return None, str(error)[:300]
    return effective.price, ""


def _why_not(key: tuple[str, str], ours: Sequence[PriceRecord]) -> str:
    backend, model = key
    if ours:
        return f"the price of {model!r} is known for {ours[0].host} alone"
    return f"no price record for {model!r} of backend {backend!r}"


def remedy_for(backend: str, model: str) -> str:
    """What to do where a price is missing: for people, with the nearest name that has one."""
    try:
        tables = (PriceTable(record for _, record in user_prices()), shipped())
    except SpecError:
        tables = (PriceTable(), shipped())
    near = nearest_model(model, tables)
    hint = f" (the nearest that has one: {near})" if near else ""
    return (
        f"harness prices add {backend} {model} --input USD --output USD --source WHERE, "
        f"or $.prices{hint}"
    )
