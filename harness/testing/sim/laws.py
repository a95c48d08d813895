"""Laws of time: how long something takes, drawn from a seeded source or taken from a record.
Milliseconds in, ns out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from random import Random
from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta, Struct

from harness.errors import SpecError

__all__ = [
    "MS",
    "Constant",
    "Drawn",
    "Gamma",
    "Law",
    "Lognormal",
    "Replay",
    "Uniform",
    "mean_ms",
    "plain_law",
    "sampler",
]

MS: Final = 1_000_000

NotNegative: TypeAlias = Annotated[float, Meta(ge=0)]
Positive: TypeAlias = Annotated[float, Meta(gt=0)]


class Constant(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=str.lower, tag_field="law"
):
    """Always the same."""

    ms: NotNegative


class Uniform(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=str.lower, tag_field="law"
):
    """Evenly between two bounds."""

    low_ms: NotNegative
    high_ms: NotNegative

    def __post_init__(self) -> None:
        if self.high_ms < self.low_ms:
            raise ValueError("high_ms is below low_ms")


class Lognormal(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=str.lower, tag_field="law"
):
    """Skewed to the right, as waiting times are. Mean and standard deviation of the time itself,
    not of its logarithm."""

    mean_ms: Positive
    sd_ms: NotNegative


class Gamma(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=str.lower, tag_field="law"
):
    """sd_ms = mean_ms is the exponential law; less is more regular."""

    mean_ms: Positive
    sd_ms: Positive


class Replay(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag=str.lower,
    tag_field="law",
    omit_defaults=True,
):
    """The times of a recorded run, call by call (replay.py)."""

    run: str
    """Its folder, the beginning of its name below ./runs, or `latest`; or a JSON Lines file."""
    arm: str | None = None
    """Calls of this arm only."""
    speed: Positive = 1.0
    """2: everything takes half the time."""


Drawn: TypeAlias = Constant | Uniform | Lognormal | Gamma
Law: TypeAlias = Drawn | Replay

_SHORT: Final = re.compile(r"(?P<name>[a-z]+):(?P<first>[\d.]+),(?P<second>[\d.]+)")
_FIELDS: Final = {
    "uniform": ("low_ms", "high_ms"),
    "lognormal": ("mean_ms", "sd_ms"),
    "gamma": ("mean_ms", "sd_ms"),
}


def plain_law(value: Any, where: str) -> Any:
    """A law as the spec's decoder wants it. Short forms: `50`, `"lognormal:50,10"`, which is mean
    and standard deviation (uniform: bounds), in ms, and `"replay:RUN"`. Raises SpecError."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _named_law(value, where)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise SpecError(f"must be a finite number, is {value}", where=where)
        return {"law": "constant", "ms": value}
    return value


def _named_law(text: str, where: str) -> dict[str, Any]:
    name, _, run = text.partition(":")
    if name == "replay" and run:
        return {"law": "replay", "run": run}
    found = _SHORT.fullmatch(text)
    names = _FIELDS.get(found["name"]) if found else None
    try:
        if found and names:
            values = (float(found["first"]), float(found["second"]))
            return {"law": found["name"], **dict(zip(names, values, strict=True))}
    except ValueError:
        pass
    raise SpecError(
        f"{text!r} is no law",
        where=where,
        remedy="50, uniform:40,60, lognormal:50,10, gamma:50,10 or replay:RUN",
    )


def sampler(law: Drawn, random: Random) -> Callable[[], int]:
    """Draws one time after another, in ns."""
    match law:
        case Constant(ms=ms):
            constant = round(ms * MS)
            return lambda: constant
        case Uniform(low_ms=low, high_ms=high):
            return lambda: round(random.uniform(low, high) * MS)
        case Lognormal(mean_ms=mean, sd_ms=sd):
            # Moments of the lognormal law: Johnson, Kotz, Balakrishnan, vol. 1, ch. 14.
            variance = math.log1p((sd / mean) ** 2)
            mu, sigma = math.log(mean) - variance / 2, math.sqrt(variance)
            return lambda: round(random.lognormvariate(mu, sigma) * MS)
        case Gamma(mean_ms=mean, sd_ms=sd):
            shape, scale = (mean / sd) ** 2, sd * sd / mean
            return lambda: round(random.gammavariate(shape, scale) * MS)


def mean_ms(law: Drawn) -> float:
    match law:
        case Constant(ms=ms):
            return ms
        case Uniform(low_ms=low, high_ms=high):
            return (low + high) / 2
        case Lognormal(mean_ms=mean) | Gamma(mean_ms=mean):
            return mean
