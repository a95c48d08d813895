"""One call: prepared, carried, decoded, sealed into a CallRecord, handed to the sink."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from harness._native.clock import monotonic_ns
from harness.engine.sealing import (
    CallPlace,
    redacted,
    redactor_for,
    seal,
    unmade,
    without_text,
)
from harness.engine.token_checks import CallSample
from harness.errors import HarnessError
from harness.protocols import Backend, Transport
from harness.schema import CallError, CallRecord, Decoded, KeepSpec, Request, TimeoutsSpec

if TYPE_CHECKING:
    from harness._native.recorder import Record as WireRecord

__all__ = ["Caller"]

GIVEN_UP = CallError(code="cancelled", message="the scenario gave the call up")


class Caller:
    """Makes the calls of one trial."""

    def __init__(
        self,
        backend: Backend,
        transport: Transport,
        timeouts: TimeoutsSpec,
        keep: KeepSpec,
        deliver: Callable[[CallRecord], None],
    ) -> None:
        self._backend = backend
        self._transport = transport
        self._timeouts = timeouts
        self._keep = keep
        self._deliver = deliver
        self._ending: asyncio.Task[None] | None = None
        self._sample: CallSample | None = None
        self._paused = False

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the model is served."""
        return tuple(self._backend.urls)

    @property
    def ended(self) -> bool:
        """Whether the trial was interrupted: no further call is made."""
        return self._ending is not None

    async def end(self) -> None:
        """Close the transport: calls under way are sealed with what they have received."""
        if self._ending is None:
            closing = asyncio.sleep(0) if self._paused else self._transport.close()
            self._ending = asyncio.ensure_future(closing)
        await asyncio.shield(self._ending)

    def carries(self, transport: Transport) -> bool:
        """Whether `end` closes this one."""
        return self._transport is transport

    async def pause(self) -> None:
        """Close the transport while no call is under way; `resume` with another one."""
        self._paused = True
        await self._transport.close()

    def resume(self, backend: Backend, transport: Transport) -> None:
        """From now on calls go this way: the backend was started anew. CancelledError, and the
        transport is not ours, if the trial was interrupted meanwhile."""
        if self.ended:
            raise asyncio.CancelledError
        self._backend, self._transport, self._paused = backend, transport, False

    def lane(self, limit: int) -> int:
        return self._transport.lane(limit)

    def watch(self, sample: CallSample | None) -> None:
        """From now on, `sample` is shown every call that ends; None: no more."""
        self._sample = sample

    async def call(
        self, request: Request, place: CallPlace, ordinal: int, *, lane: int = 0, due_ns: int = 0
    ) -> CallRecord:
        """One call, delivered to the sink whatever becomes of it. Raises SpecError for a request
        that the backend refuses; CancelledError once the trial has ended, or after delivering a
        `cancelled` record if the caller itself gives up (a timeout of the scenario's own)."""
        if self.ended or self._paused:
            raise asyncio.CancelledError
        exchange = self._backend.prepare(request)
        queued_ns = monotonic_ns()
        wire: WireRecord | None = None
        try:
            wire = await self._transport.send(exchange, self._timeouts, lane=lane, due_ns=due_ns)
        finally:
            if wire is None:
                self._deliver(
                    unmade(place, ordinal, "cancelled", GIVEN_UP, request, due_ns or queued_ns)
                )
        decoded = self._decode(request, wire)
        record = redacted(
            seal(wire, decoded, request, exchange, place, ordinal, self._keep),
            redactor_for(exchange.headers),
        )
        wire.drop_payloads()
        if self._sample is not None:
            self._sample.offer(ordinal, request, record)
        self._deliver(without_text(record) if not self._keep.text else record)
        return record

    def _decode(self, request: Request, wire: WireRecord) -> Decoded:
        """A backend must not raise here; if it does, the call fails and the run goes on."""
        try:
            decoded = self._backend.decode(request, wire)
            if len(decoded.kinds) != len(wire):
                raise HarnessError(f"decode gave {len(decoded.kinds)} kinds for {len(wire)} chunks")
        except Exception as error:  # a stranger's decoder
            message = f"{type(error).__name__}: {error}"
            return Decoded(
                kinds=bytes(len(wire)), error=CallError(code="plugin", message=message[:500])
            )
        return decoded
