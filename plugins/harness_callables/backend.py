"""`none`: the backend of a run that calls no model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import SpecError
from harness.protocols import BackendConfig
from harness.schema import Decoded, Effective, Exchange, Request

if TYPE_CHECKING:
    from harness._native.recorder import Record

__all__ = ["NoBackend"]

NONE = "this run has no model server"


class NoBackend:
    """There is nothing to open, and whoever calls is told so."""

    urls: tuple[str, ...] = ()

    def __init__(self, config: BackendConfig) -> None:
        if config.model is not None or config.urls:
            raise SpecError(
                "the backend `none` has no server, and takes neither model nor url",
                where="$.backend",
                remedy="backend: {name: openai, …}, for a scenario that calls a model",
            )

    async def open(self) -> None:
        pass

    async def effective(self) -> Effective:
        fields = ("server", "server_version", "model", "model_digest", "context_length")
        return Effective(unknown=dict.fromkeys(fields, NONE), details={"server": NONE})

    def prepare(self, request: Request) -> Exchange:
        raise SpecError(
            f"{NONE}, and the scenario makes a call",
            where="$.backend",
            remedy="--backend NAME; for a function of yours, calls_model=True",
        )

    def decode(self, request: Request, record: Record) -> Decoded:
        return Decoded(kinds=bytes(len(record)))

    async def close(self) -> None:
        pass
