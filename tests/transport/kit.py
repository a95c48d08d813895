"""What the transport tests share: every kind that this machine has, opened and closed."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from typing import Literal

from harness._native.recorder import Record
from harness.protocols import Transport
from harness.schema import Exchange, TimeoutsSpec
from harness.transport import open_transport

Kind = Literal["native", "portable"]
KINDS: list[Kind] = ["native", "portable"] if sys.platform.startswith("linux") else ["portable"]

AMPLE = TimeoutsSpec(connect_s=30, first_byte_s=30, between_payloads_s=30, total_s=60)


@contextlib.asynccontextmanager
async def opened(kind: Kind, *urls: str) -> AsyncIterator[Transport]:
    transport = open_transport(kind, urls)
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


def post(url: str, body: bytes = b"{}", **fields) -> Exchange:
    return Exchange(url=url, body=body, headers=(("Content-Type", "application/json"),), **fields)


async def fetch(kind: Kind, url: str, timeouts: TimeoutsSpec = AMPLE, **fields) -> Record:
    """One exchange over a transport of its own."""
    async with opened(kind, url) as transport:
        return await transport.send(post(url, **fields), timeouts)


async def until(condition: Callable[[], bool]) -> None:
    """Let the others run until it holds."""
    while not condition():  # noqa: ASYNC110  # counts of another thread raise no event
        await asyncio.sleep(0)
