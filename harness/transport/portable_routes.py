"""Connections of the portable transport: one httpx transport each, handed from call to call.

httpx has a pool of its own, but every request that enters or leaves it goes over all connections
and asks the system about each idle one: with 100 of them a call was measured at 20 ms of CPU. So
each httpx transport holds one connection, and the pool is a list, last used first.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Iterable

import httpx

from harness.transport.wire import Target

__all__ = ["Route", "Routes"]

_IDLE_MAX = 4096
_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)


class Route:
    """How the exchanges of one origin travel."""

    def __init__(
        self, context: ssl.SSLContext, proxy: str | None, socket_path: str, room: Room
    ) -> None:
        self.proxied = proxy is not None
        self._room = room
        self._context = context
        self._proxy = proxy
        self._socket_path = socket_path
        self._idle: list[httpx.AsyncHTTPTransport] = []

    async def take(self) -> httpx.AsyncHTTPTransport:
        """A connection that is idle, or a new one, which connects when it is first used.
        httpx.ConnectError if there is no room for it."""
        if self._idle:
            return self._idle.pop()
        await self._room.take()
        return self._new()

    def renew(self, dead: httpx.AsyncHTTPTransport) -> httpx.AsyncHTTPTransport:
        """A new one, in the place of one that the server has closed."""
        self._room.close(dead, frees=False)
        return self._new()

    def _new(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=self._context, limits=_ONE, proxy=self._proxy, uds=self._socket_path or None
        )

    def keep(self, transport: httpx.AsyncHTTPTransport) -> None:
        """For another call. If the server has closed it, it will connect again."""
        if len(self._idle) < _IDLE_MAX:
            self._idle.append(transport)
        else:
            self.drop(transport)

    def drop(self, transport: httpx.AsyncHTTPTransport) -> None:
        """Something went wrong on it. Nobody waits for it to close."""
        self._room.close(transport)

    def give_up(self) -> bool:
        """Drop the one that has been idle longest. False: none is idle."""
        if self._idle:
            self.drop(self._idle.pop(0))
            return True
        return False


class Room:
    """For so many connections (0: any number), over all routes. One that is closing still has its
    place."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = routes
        self._most = 0
        self._taken = 0
        self._closing: set[asyncio.Task[None]] = set()

    def bound(self, most: int) -> None:
        self._most = most

    async def take(self) -> None:
        """Where there is none left, an idle connection of any route makes room."""
        while self._most and self._taken >= self._most:
            any(route.give_up() for route in self._routes)
            if not self._closing:
                error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
                raise httpx.ConnectError(error.strerror or "") from error
            await asyncio.wait(self._closing, return_when=asyncio.FIRST_COMPLETED)
        self._taken += 1

    def close(self, transport: httpx.AsyncHTTPTransport, *, frees: bool = True) -> None:
        """Begin to; `frees`: its place is free when it is closed."""
        task = asyncio.get_running_loop().create_task(self._close(transport, frees))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, transport: httpx.AsyncHTTPTransport, frees: bool) -> None:
        try:
            await transport.aclose()
        finally:
            self._taken -= frees

    async def closed(self) -> None:
        """Return once all that are closing are closed."""
        await asyncio.gather(*self._closing, return_exceptions=True)


class Routes:
    """One Route per origin and proxy."""

    def __init__(self) -> None:
        self._routes: dict[tuple[tuple[str, str, int, str], str | None], Route] = {}
        self._room = Room(self._routes.values())
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def bound(self, connections_max: int) -> None:
        self._room.bound(connections_max)

    def to(self, target: Target, proxy: str | None) -> Route:
        key = target.origin, proxy
        if key not in self._routes:
            context = self._context(target.scheme == "https")
            self._routes[key] = Route(context, proxy, target.socket_path, self._room)
        return self._routes[key]

    def _context(self, tls: bool) -> ssl.SSLContext:
        # Made once: reading the certificates takes tens of ms. Plain HTTP needs none of them, but
        # httpx would make a context for every transport.
        if tls not in self._contexts:
            self._contexts[tls] = httpx.create_ssl_context(verify=tls)
        return self._contexts[tls]

    async def close(self) -> None:
        for route in self._routes.values():
            while route.give_up():
                pass
        await self._room.closed()
        self._routes.clear()
