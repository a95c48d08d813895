"""What the tests of backend `llamacpp` share: backends, requests, and both together."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from harness_llamacpp import LlamaCppOptions
from harness_llamacpp.backend import LlamaCppBackend

from harness.protocols import BackendConfig
from harness.schema import Decoded, Message, Request, TimeoutsSpec
from harness.transport import open_transport


def make(model: str | None = None, urls: tuple[str, ...] = (), **options: Any) -> LlamaCppBackend:
    return LlamaCppBackend(
        BackendConfig(
            model=model,
            urls=urls,
            options=msgspec.convert(options, LlamaCppOptions),
            timeouts=TimeoutsSpec(),
            seed=11,
        )
    )


def ask(text: str = "Compare the two arms.", **fields: Any) -> Request:
    return Request(messages=(Message(role="user", content=text),), **{"max_tokens": 8, **fields})


async def carry(backend: LlamaCppBackend, *requests: Request) -> list[tuple[Any, Decoded]]:
    """All at once; (wire record, what was read of it) for each."""
    transport = open_transport("portable", backend.urls)
    await transport.open()
    try:
        sent = [transport.send(backend.prepare(r), backend.timeouts) for r in requests]
        wires = await asyncio.gather(*sent)
    finally:
        await transport.close()
    return [(w, backend.decode(r, w)) for r, w in zip(requests, wires, strict=True)]
