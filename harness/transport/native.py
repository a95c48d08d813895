"""The native transport: asyncio's side of the reactor.

`send` turns an exchange into bytes and hands them to the reactor, whose thread does the rest;
sealed calls come back through one eventfd in the event loop. Names are resolved before anything is
timed: on the first use of an origin, or ahead of it by `prepare`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from harness._native.clock import monotonic_ns
from harness._native.reactor import Reactor
from harness._native.recorder import Recorder
from harness.errors import SpecError
from harness.transport.files import connections_max
from harness.transport.wire import FRAMING_MODES, Target, parse_url, request_bytes

if TYPE_CHECKING:
    from harness._native.recorder import Record
    from harness.schema import Exchange, TimeoutsSpec

__all__ = ["NativeTransport", "addresses_of"]


class _Waiting(Struct):
    """An exchange on its way to the reactor, perhaps until its origin is resolved."""

    future: asyncio.Future[Record]
    request: bytes
    framing: int
    timeouts: TimeoutsSpec
    lane: int
    due_ns: int


class _Origin(Struct):
    waiting: list[_Waiting]
    """What was sent before the name was resolved, in order."""
    index: int | None = None
    """In the reactor, once resolved."""
    resolving: asyncio.Task[None] | None = None


class NativeTransport:
    """See protocols.Transport. Belongs to the event loop that opened it.

    Plain HTTP/1.1 over TCP and Unix sockets; TLS and proxies are the portable transport's.
    """

    name = "native"

    def __init__(
        self,
        urls: Sequence[str] = (),
        *,
        timestamps: bool = True,
        batch_window_ns: int = 500_000,
    ) -> None:
        """Names in `urls` are resolved by `open`, others when they are first used. The other
        options are the reactor's."""
        self._urls = urls
        self._timestamps = timestamps
        self._batch_window_ns = batch_window_ns
        self._origins: dict[tuple[str, str, int, str], _Origin] = {}
        self._futures: dict[int, asyncio.Future[Record]] = {}
        self._last_ident = 0

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reactor = Reactor(
            timestamps=self._timestamps,
            batch_window_ns=self._batch_window_ns,
            connections_max=connections_max(),
        )
        self._fd = self._reactor.fileno()
        self._loop.add_reader(self._fd, self._drain)
        for url in self._urls:
            await self.prepare(url)

    def lane(self, limit: int) -> int:
        return self._reactor.add_lane(limit)

    async def prepare(self, url: str) -> bool:
        """Resolve the origin of `url` ahead of its first use; whether that worked."""
        origin = self._origin(parse_url(url))
        if origin.resolving is not None:
            await asyncio.shield(origin.resolving)
        return origin.index is not None

    def send(
        self, exchange: Exchange, timeouts: TimeoutsSpec, *, lane: int = 0, due_ns: int = 0
    ) -> asyncio.Future[Record]:
        """See Transport.send. Raises SpecError, at once, for an exchange that is not one HTTP/1.1
        request to http:// or http+unix://."""
        target = parse_url(exchange.url)
        waiting = _Waiting(
            future=self._loop.create_future(),
            request=request_bytes(exchange),
            framing=FRAMING_MODES[exchange.framing],
            timeouts=timeouts,
            lane=lane,
            due_ns=due_ns,
        )
        origin = self._origin(target)
        if origin.index is None:
            origin.waiting.append(waiting)
        else:
            self._submit(origin.index, waiting)
        return waiting.future

    def stats(self) -> dict[str, int]:
        return self._reactor.stats()

    async def close(self) -> None:
        """Calls in flight end as `cancelled`, those that were not sent as `not_sent`."""
        self._loop.remove_reader(self._fd)
        tasks = [origin.resolving for origin in self._origins.values() if origin.resolving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for origin in self._origins.values():
            _refuse(origin, "not_sent", "the transport was closed")
        self._reactor.close()
        self._drain()

    # ------------------------------------------------------------------- to the reactor and back

    def _submit(self, origin: int, waiting: _Waiting) -> None:
        if waiting.future.done():
            return  # cancelled while its origin was being resolved
        self._last_ident += 1
        self._reactor.submit(
            self._last_ident,
            origin,
            waiting.request,
            lane=waiting.lane,
            due_ns=waiting.due_ns,
            framing=waiting.framing,
            connect_timeout_ns=_ns(waiting.timeouts.connect_s),
            first_byte_timeout_ns=_ns(waiting.timeouts.first_byte_s),
            payload_timeout_ns=_ns(waiting.timeouts.between_payloads_s),
            total_timeout_ns=_ns(waiting.timeouts.total_s),
        )
        self._futures[self._last_ident] = waiting.future
        waiting.future.add_done_callback(partial(self._cancelled, self._last_ident))

    def _cancelled(self, ident: int, future: asyncio.Future[Record]) -> None:
        if future.cancelled():
            self._reactor.cancel(ident)

    def _drain(self) -> None:
        for ident, record in self._reactor.drain():
            future = self._futures.pop(ident)
            if not future.done():
                future.set_result(record)

    # --------------------------------------------------------------------------------- origins

    def _origin(self, target: Target) -> _Origin:
        """The origin, resolved or being resolved."""
        origin = self._origins.get(target.origin)
        if origin is None:
            if target.scheme == "https":
                raise SpecError(
                    f"the native transport cannot serve {target.label}: it needs TLS",
                    where="$.transport",
                    remedy="transport: portable",
                )
            origin = self._origins[target.origin] = _Origin(waiting=[])
            if known := _without_resolver(target):
                origin.index = self._reactor.add_origin(known)
            else:
                origin.resolving = self._loop.create_task(self._resolve(target, origin))
        return origin

    async def _resolve(self, target: Target, origin: _Origin) -> None:
        try:
            found = await self._loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            del self._origins[target.origin]  # the next exchange asks again
            said = error.strerror if isinstance(error, OSError) else str(error)
            _refuse(origin, "connect", f"cannot resolve the host {target.host!r}: {said}")
            return
        origin.index = self._reactor.add_origin([_packed(info[4]) for info in found])
        origin.resolving = None
        for waiting in origin.waiting:
            self._submit(origin.index, waiting)
        origin.waiting.clear()


async def addresses_of(target: Target) -> list[tuple[int, bytes]]:
    """Where it is, as (address family, packed struct sockaddr). SpecError for an unknown host."""
    if known := _without_resolver(target):
        return known
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise SpecError(f"cannot resolve the host {target.host!r}: {said}") from error
    return [_packed(info[4]) for info in found]


def _refuse(origin: _Origin, outcome: str, detail: str) -> None:
    """End what waits for an origin, with records that the reactor never saw."""
    now_ns = monotonic_ns()
    for waiting in origin.waiting:
        if not waiting.future.done():
            recorder = Recorder(due_ns=waiting.due_ns or now_ns, reserve=0)
            waiting.future.set_result(recorder.seal(outcome, closed_ns=now_ns, detail=detail))
    origin.waiting.clear()


def _without_resolver(target: Target) -> list[tuple[int, bytes]]:
    """The address of a Unix socket, or those of an IP address; none for a name."""
    if target.socket_path:
        path = target.socket_path.encode()
        return [(socket.AF_UNIX, struct.pack("=H", socket.AF_UNIX) + path + b"\0")]
    try:
        found = socket.getaddrinfo(
            target.host, target.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    except (OSError, UnicodeError):
        return []
    return [_packed(info[4]) for info in found]


def _packed(where: tuple[Any, ...]) -> tuple[int, bytes]:
    """A struct sockaddr of Linux, from the address that getaddrinfo gives."""
    host, port = where[0].partition("%")[0], struct.pack(">H", where[1])
    if len(where) == 2:
        return socket.AF_INET, b"%b%b%b%b" % (
            struct.pack("=H", socket.AF_INET),
            port,
            socket.inet_pton(socket.AF_INET, host),
            bytes(8),
        )
    return socket.AF_INET6, b"%b%b%b%b%b" % (
        struct.pack("=H", socket.AF_INET6),
        port,
        struct.pack(">I", where[2]),
        socket.inet_pton(socket.AF_INET6, host),
        struct.pack("=I", where[3]),
    )


def _ns(seconds: float) -> int:
    """At least 1; the reactor caps what is beyond any run."""
    return max(1, int(min(seconds, 1e9) * 1e9))
