"""Cold starts: that the model is really gone, or the server really new, before a call is timed.

`unload` leaves it to the backend, which must wait until the server says that the model is out of
memory. `restart` closes the backend and opens it anew. That is a cold start only if closing ends
the server: a backend that merely talks to somebody else's closes a connection and changes nothing.
So we look, and refuse a restart after which the old server still answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from harness.errors import BackendError, SpecError
from harness.protocols import Backend, Unloads
from harness.schema import RunSpec
from harness.transport.wire import Target, parse_url

__all__ = ["confirm_stopped", "refuse_impossible"]

WHERE: Final = "$.iterations.cold_by"
CONNECT_S: Final = 2.0
"""Who has not taken a connection by then does not serve."""


def refuse_impossible(spec: RunSpec, backend: Backend, name: str) -> None:
    """Before anything is opened. Raises SpecError."""
    wanted = spec.iterations
    if wanted.cold and wanted.cold_by == "unload" and not isinstance(backend, Unloads):
        raise SpecError(
            f"backend {name!r} cannot unload its model",
            where=WHERE,
            remedy="cold_by: restart, if the backend runs its own server; else cold: 0",
        )


async def confirm_stopped(urls: Sequence[str]) -> None:
    """Where nothing listens any more. Raises BackendError. What is no network address (a model in
    this process) ended with the backend."""
    for url in urls:
        try:
            target = parse_url(url)
        except SpecError:
            continue
        if await _listens(target):
            raise BackendError(
                "this server goes on when the backend is closed, so that restarting the backend "
                "starts nothing cold",
                where=url,
                remedy=f"{WHERE.removeprefix('$.')}: unload, where the backend can; else cold: 0",
            )


async def _listens(target: Target) -> bool:
    try:
        async with asyncio.timeout(CONNECT_S):
            if target.socket_path:
                _, writer = await asyncio.open_unix_connection(target.socket_path)
            else:
                _, writer = await asyncio.open_connection(target.host, target.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
