"""One call: prepared, carried, decoded, sealed into a CallRecord, handed to the sink.

A server may refuse a call for a while. Where its backend says so (harness.protocols.Retries) it is
sent again, after the wait that the backend names; its slot of the load is free meanwhile. One
record comes of it, that of the last attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from harness._native.clock import monotonic_ns
from harness.engine.accounts import account_sample, accounts_of
from harness.engine.readers import Readers
from harness.engine.retrying import again_after_s, reasons
from harness.engine.sealing import (
    CallPlace,
    redacted,
    redactor_for,
    seal,
    unmade,
    without_text,
)
from harness.engine.tapping import KeptDoor, TrialTap
from harness.engine.till import Till
from harness.engine.token_checks import CallSample
from harness.errors import HarnessError
from harness.protocols import Backend, Transport
from harness.schema import (
    Account,
    CallError,
    CallRecord,
    Decoded,
    Exchange,
    KeepSpec,
    Request,
    TimeoutsSpec,
)

if TYPE_CHECKING:
    from harness._native.recorder import Record as WireRecord

__all__ = ["INTERRUPTED", "Caller"]

GIVEN_UP = CallError(code="cancelled", message="the scenario gave the call up")
INTERRUPTED = CallError(code="cancelled", message="the run was interrupted")


class Caller:
    """Makes the calls of one trial, and takes those that its agents made themselves."""

    def __init__(
        self,
        backend: Backend,
        transport: Transport,
        timeouts: TimeoutsSpec,
        keep: KeepSpec,
        deliver: Callable[[CallRecord], None],
        *,
        tap: TrialTap | None = None,
        readers: Readers | None = None,
        till: Till | None = None,
    ) -> None:
        self._backend = backend
        self._transport = transport
        self._timeouts = timeouts
        self.keep = keep
        self._deliver = deliver
        self._tap = tap
        self._readers = readers
        self.outside = 0
        """Agents under way whose calls are made by other programs: nothing here ends those."""
        self._ending: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        """Set once no further call is made: nobody waits to try again."""
        self._sample: CallSample | None = None
        self._to_reconcile: CallSample | None = None
        self._paused = False
        self.till = till or Till()

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the model is served."""
        return tuple(self._backend.urls)

    @property
    def ended(self) -> bool:
        """Whether the trial was interrupted: no further call is made."""
        return self._ending is not None

    async def end(self) -> None:
        """Close transport and tap: calls under way are sealed with what they have received."""
        if self._ending is None:
            self._over.set()
            self._ending = asyncio.ensure_future(
                asyncio.sleep(0) if self._paused else self._close()
            )
        await asyncio.shield(self._ending)

    async def _close(self) -> None:
        try:
            if self._tap is not None:
                await self._tap.end()
        finally:
            await self._transport.close()

    def carries(self, transport: Transport) -> bool:
        """Whether `end` closes this one."""
        return self._transport is transport

    async def pause(self) -> None:
        """Close the transport while no call is under way; `resume` with another one."""
        self._paused = True
        await self._close()

    def resume(self, backend: Backend, transport: Transport, tap: TrialTap | None = None) -> None:
        """From now on calls go this way: the backend was started anew. CancelledError, and
        transport and tap are not ours, if the trial was interrupted meanwhile."""
        if self.ended:
            raise asyncio.CancelledError
        self._backend, self._transport, self._paused = backend, transport, False
        self._tap = tap

    def lane(self, limit: int) -> int:
        return self._transport.lane(limit)

    def watch(self, sample: CallSample | None) -> None:
        """From now on, `sample` is shown every call that ends; None: no more. Likewise, for as
        long, some are remembered for `reconcile`."""
        self._sample = sample
        self._to_reconcile = account_sample(self._backend) if sample is not None else None

    async def reconcile(self) -> tuple[Account, ...]:
        """What the service says now of calls that ended since `watch`; nothing where there is none
        to ask. Raises CancelledError alone."""
        sample, self._to_reconcile = self._to_reconcile, None
        calls = [record for _, record in sample.calls()] if sample is not None else []
        return await accounts_of(self._backend, calls, self._over)

    def prepare(self, request: Request, at: str | None = None) -> Exchange:
        """As the backend makes it; for its endpoint `at`, if one is named. Raises SpecError."""
        exchange = self._backend.prepare(request)
        bases = [url for url in self.urls if _is_below(exchange.url, url)]
        if at is None or not bases:
            return exchange
        rest = exchange.url[max(map(len, bases)) :]
        return msgspec.structs.replace(exchange, url=at + rest)

    async def call(
        self,
        request: Request,
        place: CallPlace,
        ordinal: int,
        *,
        lane: int = 0,
        due_ns: int = 0,
        at: str | None = None,
    ) -> CallRecord:
        """One call, delivered to the sink whatever becomes of it; to the endpoint `at`, if one is
        named. Raises SpecError for a request that the backend refuses, or whose cost cannot be
        bounded under a budget; CancelledError once the trial has ended, or after delivering a
        `cancelled` record if the caller itself gives up (a timeout of the scenario's own)."""
        if self.ended or self._paused:
            raise asyncio.CancelledError
        exchange = self.prepare(request, at)
        earlier: tuple[CallError, ...] = ()
        record: CallRecord | None = None
        while True:
            worst = self.till.hold(request, exchange)
            if worst is None:  # it does not fit into the budget
                record = record or self._unpaid(place, ordinal, request, due_ns)
                break
            record = await self._attempt(
                request, exchange, place, ordinal, earlier, worst, lane=lane, due_ns=due_ns
            )
            wait_s = again_after_s(self._backend, record)
            if wait_s is None:
                break
            if not await self._goes_on_after(wait_s, record):
                record = _given_up(record, INTERRUPTED)
                break
            earlier = reasons(record)
            due_ns = 0  # no schedule knows of it: as soon as its turn comes
        if self._to_reconcile is not None and record.status != "not_sent":
            self._to_reconcile.offer(ordinal, request, record)
        self.deliver(ordinal, request, record)
        return record

    async def _attempt(
        self,
        request: Request,
        exchange: Exchange,
        place: CallPlace,
        ordinal: int,
        earlier: tuple[CallError, ...],
        worst: Decimal,
        *,
        lane: int,
        due_ns: int,
    ) -> CallRecord:
        queued_ns = monotonic_ns()
        counted: dict[str, Any] = {"attempts": len(earlier) + 1, "earlier": earlier}
        wire: WireRecord | None = None
        try:
            wire = await self._transport.send(exchange, self._timeouts, lane=lane, due_ns=due_ns)
        finally:
            if wire is None:
                none = unmade(place, ordinal, "cancelled", GIVEN_UP, request, due_ns or queued_ns)
                counted["request_bytes"] = len(exchange.body)
                self.till.settle(worst, None)
                self._deliver(msgspec.structs.replace(none, **counted))
        decoded = _decode(self._backend, request, wire)
        record = redacted(
            seal(wire, decoded, request, exchange, place, ordinal, self.keep, self.till.price),
            redactor_for(exchange.headers),
        )
        wire.drop_payloads()
        self.till.settle(worst, record)
        return msgspec.structs.replace(record, **counted) if earlier else record

    def _unpaid(self, place: CallPlace, ordinal: int, request: Request, due_ns: int) -> CallRecord:
        refusal = self.till.refusal()
        return unmade(place, ordinal, "not_sent", refusal, request, due_ns or None)

    async def _goes_on_after(self, wait_s: float, record: CallRecord) -> bool:
        """Whether the trial still runs so much later: an interrupt ends the wait. Delivers `record`
        as cancelled if the caller gives up meanwhile."""
        try:
            async with asyncio.timeout(wait_s):
                await self._over.wait()
        except TimeoutError:
            return True
        except asyncio.CancelledError:
            self._deliver(_given_up(record, GIVEN_UP))
            raise
        return False

    def deliver(self, ordinal: int, request: Request | None, record: CallRecord) -> None:
        """To the sink, without what the spec says not to keep. `request`, where it is known: its
        tokens may be counted."""
        if self._sample is not None and request is not None:
            self._sample.offer(ordinal, request, record)
        self._deliver(without_text(record) if not self.keep.text else record)

    # Calls that other programs make. ----------------------------------------------------------

    async def open_door(self, upstream: str, port: int) -> KeptDoor | None:
        """For one agent; None where nothing is tapped. Raises SpecError for an address that cannot
        be; CancelledError once the trial has ended."""
        if self.ended:
            raise asyncio.CancelledError
        return await self._tap.door(upstream, port=port) if self._tap is not None else None

    def forget_door(self, door: KeptDoor) -> None:
        if self._tap is not None:
            self._tap.forget(door)

    def passed_on(self, requests: int) -> None:
        """They went through the tap, and were no model calls."""
        if self._tap is not None:
            self._tap.passed_on += requests

    def reads(self, method: str, path: str, more: Iterable[str]) -> bool:
        """Whether this is a model call: somebody can read its response."""
        return method == "POST" and self._reader(path, more) is not None

    def read(self, path: str, more: Iterable[str], request: Request, wire: WireRecord) -> Decoded:
        return _decode(self._reader(path, more) or self._backend, request, wire)

    def _reader(self, path: str, more: Iterable[str]) -> Backend | None:
        if self._readers is None:
            return self._backend
        return self._readers.reader(self._backend, path, more)


def _given_up(record: CallRecord, why: CallError) -> CallRecord:
    """A call that was to be sent once more, and was not."""
    return msgspec.structs.replace(record, status="cancelled", error=why, earlier=reasons(record))


def _is_below(url: str, base: str) -> bool:
    return url.startswith(base) and (base.endswith("/") or url[len(base) :][:1] in ("", "/", "?"))


def _decode(backend: Backend, request: Request, wire: WireRecord) -> Decoded:
    """A backend must not raise here; if it does, the call fails and the run goes on."""
    try:
        decoded = backend.decode(request, wire)
        if len(decoded.kinds) != len(wire):
            raise HarnessError(f"decode gave {len(decoded.kinds)} kinds for {len(wire)} chunks")
        if decoded.stamps_ns is not None and len(decoded.stamps_ns) != 8 * len(wire):
            given = len(decoded.stamps_ns)
            raise HarnessError(f"decode gave {given} bytes of stamps for {len(wire)} chunks")
    except Exception as error:  # a stranger's decoder
        message = f"{type(error).__name__}: {error}"
        return Decoded(
            kinds=bytes(len(wire)), error=CallError(code="plugin", message=message[:500])
        )
    return decoded
