"""safetensors files: their headers, and how to write one.

The layout: 8 bytes (little-endian length), a JSON header (tensor → dtype, shape, offsets), then the
numbers. Headers are read here rather than by the library, which would have to be given a framework;
files are written here because numpy has no bfloat16.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness.control import NOT_JSON

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["WIDTH_BYTES", "BadHeaderError", "TensorInfo", "headers", "write"]

_HEADER_MAX: Final = 100_000_000
"""The format's own bound."""
WIDTH_BYTES: Final = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}
_NAMES: Final = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


class BadHeaderError(ValueError):
    """The file is no safetensors file; the message says why."""


class TensorInfo(msgspec.Struct, frozen=True):
    """One tensor, as the header has it."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)

    @property
    def floating(self) -> bool:
        return self.dtype.startswith(("F", "BF"))


def headers(paths: Iterable[Path]) -> dict[str, TensorInfo]:
    """Every tensor of these files by name. BadHeaderError, OSError."""
    found: dict[str, TensorInfo] = {}
    for path in paths:
        found |= _header(path)
    return found


def _header(path: Path) -> dict[str, TensorInfo]:
    with path.open("rb") as file:
        raw = file.read(8)
        length = struct.unpack("<Q", raw)[0] if len(raw) == 8 else 0
        if not 2 <= length <= min(_HEADER_MAX, path.stat().st_size - 8):
            raise BadHeaderError(f"{path.name} is no safetensors file")
        body = file.read(length)
    try:
        entries = msgspec.json.decode(body, type=dict[str, Any])
        entries.pop("__metadata__", None)
        return msgspec.convert(entries, dict[str, TensorInfo])
    except NOT_JSON as error:
        raise BadHeaderError(f"the header of {path.name} cannot be read: {error}") from None


def write(path: Path, tensors: Mapping[str, NDArray[np.float32]], dtype: str) -> None:
    """Float32 arrays as `float32`, `float16` or `bfloat16` (rounded to nearest even). OSError."""
    name = _NAMES[dtype]
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for key, tensor in tensors.items():
        end = at + tensor.size * WIDTH_BYTES[name]
        entries[key] = {"dtype": name, "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    header = msgspec.json.encode(entries)
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for tensor in tensors.values():
            file.write(_numbers(tensor, dtype))


def _numbers(tensor: NDArray[np.float32], dtype: str) -> bytes:
    import numpy as np

    if dtype == "float32":
        return tensor.astype("<f4", copy=False).tobytes()
    if dtype == "float16":
        return tensor.astype("<f2").tobytes()
    bits = tensor.astype("<f4", copy=False).view("<u4")
    # To nearest, ties to even: half of what is cut off, less one where the last bit kept is 0.
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(
        16
    )
    return bytes(rounded.astype("<u2").tobytes())
