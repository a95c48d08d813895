"""How exchanges travel: the native reactor where it can serve, httpx where it cannot.

wire.py            an exchange as bytes: addresses, heads, what is refused
proxies.py         which proxy the environment wants
lanes.py           when a call may start
native.py          the Linux reactor behind protocols.Transport
portable.py        httpx behind it; portable_call.py, portable_body.py: one exchange, its body;
                   portable_routes.py: connections
tap.py             the proxy that stamps what other programs ask; tap_native.py: asyncio's side
                   of its native thread; tap_portable.py, tap_visit.py: in asyncio and httpx

Both give the same chunks for the same bytes and pass the same contract tests. They differ in their
stamps: the kernel's, or taken in user space and marked so. Nothing here falls back silently.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NoReturn

from harness.errors import NativeMissing, SpecError
from harness.protocols import Transport
from harness.schema import ChunkColumns
from harness.transport.proxies import proxy_for
from harness.transport.wire import Target, parse_url

if TYPE_CHECKING:
    from harness._native.recorder import Record

__all__ = [
    "client_lag",
    "native_obstacle",
    "open_transport",
    "pack_columns",
    "refuse_without_native",
]


def open_transport(kind: Literal["auto", "native", "portable"], urls: Sequence[str]) -> Transport:
    """A transport for these addresses; its `open` is still to be awaited.

    `auto` is native on Linux when every address is plain HTTP (TCP or Unix socket) and none needs a
    proxy, else portable. Raises SpecError for an address that cannot be used, or one that `native`
    cannot serve; NativeMissing if the compiled part that it takes is not there.
    """
    import numpy  # noqa: F401  (every record gives arrays: not to be loaded while calls are timed)

    obstacle = native_obstacle([parse_url(url) for url in urls])
    if kind == "native" and obstacle:
        raise SpecError(
            f"the native transport cannot serve this: {obstacle}",
            where="$.transport",
            remedy="transport: portable",
        )
    try:
        if kind == "portable" or obstacle:
            from harness.transport.portable import PortableTransport

            return PortableTransport(urls)
        from harness.transport.native import NativeTransport

        return NativeTransport(urls)
    except ImportError as error:
        refuse_without_native(error)


def refuse_without_native(error: ImportError) -> NoReturn:
    """NativeMissing, if it is a compiled module of ours that cannot be imported; else the error."""
    if not (error.name or "").startswith("harness._native"):
        raise error
    raise NativeMissing(
        f"the compiled module {error.name} is missing or does not fit this Python",
        remedy="python setup.py build_ext --inplace, or reinstall chimera-harness",
    ) from error


def native_obstacle(targets: Sequence[Target]) -> str:
    """Why the reactor cannot serve these; empty if it can."""
    if not sys.platform.startswith("linux"):
        return f"it needs Linux, and this is {sys.platform}"
    for target in targets:
        if target.scheme == "https":
            return f"{target.label} needs TLS"
        if proxy_for(target):
            return f"the environment sets a proxy for {target.label}"
    return ""


def client_lag(record: Record) -> tuple[int, int, int] | tuple[None, None, None]:
    """(p50, p99, max) in ns of user-space stamp − kernel stamp, over the reads of one call.

    Chunks that are upper bounds share the read of a later one, and are left out. All None where no
    read has a kernel stamp: the lag is then not known, which is not the same as 0.
    """
    from harness._native.recorder import FLAG_UPPER_BOUND, FLAG_USER_STAMP

    known = record.size_flags & (FLAG_UPPER_BOUND | FLAG_USER_STAMP) == 0
    lags: list[int] = sorted(record.lag_ns[known].tolist())
    if not lags:
        return None, None, None
    return _quantile(lags, 0.5), _quantile(lags, 0.99), lags[-1]


def _quantile(ordered: list[int], q: float) -> int:
    """Linear interpolation at h = (n − 1) q; numpy's own takes longer than all of this."""
    h = (len(ordered) - 1) * q
    low = int(h)
    high = min(low + 1, len(ordered) - 1)
    return round(ordered[low] + (ordered[high] - ordered[low]) * (h - low))


def pack_columns(record: Record, kinds: bytes) -> ChunkColumns:
    """The record's stamps as little-endian columns, with one ChunkKind per chunk.

    ValueError if there are more or fewer kinds than chunks.
    """
    if len(kinds) != len(record):
        raise ValueError(f"{len(kinds)} kinds for {len(record)} chunks")
    return ChunkColumns(
        count=len(record),
        arrival_ns=record.arrival_ns.astype("<i8", copy=False).tobytes(),
        lag_ns=record.lag_ns.astype("<u4", copy=False).tobytes(),
        size=record.size_flags.astype("<u4", copy=False).tobytes(),
        kind=kinds,
    )
