"""`chunks`: one JSON object per chunk of every call, warm-up included.

A run may hold many millions, so lines are formatted from the columns in blocks and never collected.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from harness.errors import StoreError
from harness.protocols import RunData
from harness.schema import CallRecord
from harness.text import plain_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["write"]

BLOCK: Final = 8192
"""Chunks formatted at a time: about 1 MB of text."""

LAG_SATURATED: Final = 2**32 - 1
"""The client came more than 4.29 s late: when exactly is not known."""


def write(run: RunData, out: BinaryIO) -> None:
    """Raises StoreError if the run has chunks, but their stamps were not kept."""
    kept = lost = 0
    for record in run.records():
        if not isinstance(record, CallRecord) or not record.chunks.count:
            continue
        if not _has_columns(record):
            lost += 1
            continue
        kept += 1
        for block in _blocks(record):
            out.write(block)
    if lost and not kept:
        raise StoreError(
            "the stamps of this run's chunks were not kept",
            where=run.manifest.run_id,
            remedy="run again with --set keep.chunks=true",
        )


def _has_columns(record: CallRecord) -> bool:
    columns = record.chunks
    sizes = (len(columns.arrival_ns), len(columns.lag_ns), len(columns.size))
    return sizes == (8 * columns.count, 4 * columns.count, 4 * columns.count)


def _blocks(record: CallRecord) -> Iterator[bytes]:
    import numpy as np

    from harness._native.recorder import FLAG_UPPER_BOUND, SIZE_MASK

    columns = record.chunks
    arrival = np.frombuffer(columns.arrival_ns, "<i8")
    lag = np.frombuffer(columns.lag_ns, "<u4")
    size = np.frombuffer(columns.size, "<u4")
    call_id = plain_json(msgspec.json.encode(record.call_id)).decode()
    head = f'{{"call_id":{call_id},"index":'
    for start in range(0, columns.count, BLOCK):
        part = slice(start, start + BLOCK)
        yield "".join(
            f"{head}{index},"
            f'"arrival_ns":{at},"user_ns":{user},"upper_bound":{bound},"bytes":{length}}}\n'
            for index, (at, user, bound, length) in enumerate(
                zip(
                    arrival[part].tolist(),
                    _user_ns(arrival[part], lag[part]),
                    np.where(size[part] & FLAG_UPPER_BOUND, "true", "false").tolist(),
                    (size[part] & SIZE_MASK).tolist(),
                    strict=True,
                ),
                start,
            )
        ).encode()


def _user_ns(arrival: NDArray[np.int64], lag: NDArray[np.uint32]) -> list[int | str]:
    user: list[int | str] = list((arrival + lag).tolist())
    for index in (lag == LAG_SATURATED).nonzero()[0].tolist():
        user[index] = "null"
    return user
