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
        self._closing: set[asyncio.Task[None]] = set()

    def take(self) -> httpx.AsyncHTTPTransport:
        """A connection that is idle, or a new one."""
        return self._idle.pop() if self._idle else self.new()

    def new(self) -> httpx.AsyncHTTPTransport:
        """It connects when it is first used. httpx.ConnectError if there is no room for it."""
        self._room.take()
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
        task = asyncio.get_running_loop().create_task(self._close_one(transport))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_one(self, transport: httpx.AsyncHTTPTransport) -> None:
        try:
            await transport.aclose()
        finally:
            self._room.free()

    async def close(self) -> None:
        while self._idle:
            self.drop(self._idle.pop())
        await asyncio.gather(*self._closing, return_exceptions=True)


class Room:
    """For so many connections (0: any number), over all routes."""

    def __init__(self) -> None:
        self._most = 0
        self._taken = 0

    def bound(self, most: int) -> None:
        self._most = most

    def take(self) -> None:
        if self._most and self._taken >= self._most:
            error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            raise httpx.ConnectError(error.strerror or "") from error
        self._taken += 1

    def free(self) -> None:
        self._taken -= 1


class Routes:
    """One Route per origin and proxy."""

    def __init__(self) -> None:
        self._room = Room()
        self._routes: dict[tuple[tuple[str, str, int, str], str | None], Route] = {}
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
            await route.close()
        self._routes.clear()
