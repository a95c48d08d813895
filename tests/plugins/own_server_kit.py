"""What tests share of backends that start a server of their own: requests, and their replies."""

from __future__ import annotations

import asyncio
from typing import Any

from harness.protocols import Backend
from harness.schema import Decoded, Message, Request
from harness.transport import open_transport


def ask(text: str = "Compare the two arms.", **fields: Any) -> Request:
    return Request(messages=(Message(role="user", content=text),), **{"max_tokens": 8, **fields})


async def carry(backend: Backend, *requests: Request) -> list[tuple[Any, Decoded]]:
    """All at once; (wire record, what was read of it) for each."""
    transport = open_transport("portable", backend.urls)
    await transport.open()
    try:
        sent = [transport.send(backend.prepare(r), backend.timeouts) for r in requests]
        wires = await asyncio.gather(*sent)
    finally:
        await transport.close()
    return [(w, backend.decode(r, w)) for r, w in zip(requests, wires, strict=True)]
