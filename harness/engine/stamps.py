"""Stamps that the process took which runs the model, instead of those of the wire.

A server of our own on this machine may tell when it made each chunk (Decoded.stamps_ns), by the
clock that we go by as well. Such a stamp is not what was seen here but what was said there, so it
is believed only where it can be so: not before the request was sent, not after we had read the
chunk, and not after the chunks behind it. Where one is not believed, or none is told, the chunk has
the stamp of the wire, or that of the next chunk if this is earlier: it cannot have been made later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness._native.recorder import Record as WireRecord
    from harness.schema import ChunkColumns

__all__ = ["ProcessStamps", "process_stamps"]

_LAG_MAX_NS = 2**32 - 1


class ProcessStamps(Struct, frozen=True, kw_only=True):
    """Of one call, one entry per chunk."""

    arrival_ns: NDArray[np.int64]
    """Never backwards."""
    lag_ns: NDArray[np.int64]
    """From there until we had read it."""
    believed: NDArray[np.bool_]
    bounded: NDArray[np.bool_]
    """Not believed, and made before the next chunk was, which is sooner than it came here."""
    refused: int
    """Told, and not believed."""

    def put_into(self, columns: ChunkColumns) -> ChunkColumns:
        """The columns of the wire, with these stamps. A chunk whose stamp is believed has no upper
        bound for one, and none of user space; one that is `bounded` has a bound."""
        import numpy as np

        from harness._native.recorder import FLAG_UPPER_BOUND, FLAG_USER_STAMP

        sizes = np.frombuffer(columns.size, "<u4").copy()
        not_of_the_wire = self.believed | self.bounded
        sizes[not_of_the_wire] &= np.uint32(0xFFFF_FFFF ^ (FLAG_UPPER_BOUND | FLAG_USER_STAMP))
        sizes[self.bounded] |= np.uint32(FLAG_UPPER_BOUND)
        return msgspec.structs.replace(
            columns,
            arrival_ns=self.arrival_ns.astype("<i8").tobytes(),
            lag_ns=np.minimum(self.lag_ns, _LAG_MAX_NS).astype("<u4").tobytes(),
            size=sizes.tobytes(),
        )


def process_stamps(wire: WireRecord, stamps_ns: bytes | None) -> ProcessStamps | None:
    """None where none are told. ValueError if there are more or fewer than chunks."""
    if stamps_ns is None:
        return None
    if len(stamps_ns) != 8 * len(wire):
        raise ValueError(f"{len(stamps_ns)} bytes of stamps for {len(wire)} chunks")
    import numpy as np

    told = np.frombuffer(stamps_ns, "<i8")
    if not told.any():
        return None
    at_wire = wire.arrival_ns
    read = at_wire + wire.lag_ns.astype("i8")
    return _weighed(told, at_wire, read, wire.sent_ns)


def _weighed(
    told: NDArray[np.int64],
    at_wire: NDArray[np.int64],
    read: NDArray[np.int64],
    sent_ns: int | None,
) -> ProcessStamps:
    """Shapes (chunks,); `told` 0: it is not."""
    import numpy as np

    possible = (told != 0) & (told >= (sent_ns or 1)) & (told <= read)
    best = np.where(possible, told, at_wire)
    # Backwards, the smallest so far: no chunk was made after the one behind it.
    arrival = np.minimum.accumulate(best[::-1])[::-1]
    believed = possible & (arrival == told)
    return ProcessStamps(
        arrival_ns=arrival,
        lag_ns=read - arrival,
        believed=believed,
        bounded=~believed & (arrival < at_wire),
        refused=int(((told != 0) & ~believed).sum()),
    )
