"""How many parameters a model has, as people write it: `7.6B`, `135M`, `3e9`, or a bare number."""

from __future__ import annotations

import math
import re
from typing import Final

from harness.errors import SpecError

__all__ = ["parse_size", "size_words"]

_SIZE: Final = re.compile(
    r"([0-9]{1,18}(?:\.[0-9]{1,9})?(?:e[0-9]{1,2})?)\s*([KMBT]?)", re.IGNORECASE
)
_FACTORS: Final = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_MOST: Final = 10**15


def parse_size(size: str | float, where: str = "") -> int:
    """`7.6B` → 7600000000. Raises SpecError: what is no number, and what cannot be one of weights.

    `8x7B` is refused: experts share weights, so that the product is not the number of them.
    """
    if isinstance(size, str):
        match = _SIZE.fullmatch(size.strip())
        number = float(match[1]) * _FACTORS[match[2].upper()] if match else math.nan
    else:
        number = math.nan if isinstance(size, bool) else float(size)
    if not 1 <= number <= _MOST:  # also refuses nan
        raise SpecError(
            f"{size!r} is no number of parameters", where=where, remedy="such as 7.6B or 135000000"
        )
    return round(number)


def size_words(parameters: int | None) -> str:
    """To three digits: 7615616512 → `7.62B`; a dash where it is not known."""
    if parameters is None:
        return "—"
    for letter in "TBMK":
        if parameters >= 0.9995 * _FACTORS[letter]:  # from there on it rounds to 1
            return f"{parameters / _FACTORS[letter]:.3g}{letter}"
    return str(parameters)
