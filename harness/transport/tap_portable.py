"""The portable tap: asyncio and h11 towards the agent, httpx towards the server.

For what the native one does not do: TLS upstreams, proxies, systems that are not Linux. Each
exchange runs over the portable transport's own Course, which passes every span of the body on
before it looks into it. Two things about a request are changed beside its Host: hop-by-hop headers
stay here, and `Accept-Encoding` becomes `identity`, for a compressed stream could not be read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

import h11

from harness.errors import SpecError
from harness.schema import Exchange
from harness.transport.files import connections_max
from harness.transport.portable_body import Counters
from harness.transport.portable_routes import Route, Routes
from harness.transport.proxies import proxy_for
from harness.transport.tap import Tapped
from harness.transport.tap_visit import Visit, fields_of
from harness.transport.wire import HOP_BY_HOP, Target, parse_url

__all__ = ["PortableTap"]

_DELAYS_KEPT: Final = 65_536


class PortableTap:
    """See harness.transport.tap.Tap. Belongs to the event loop that opened it."""

    name = "portable"

    def __init__(self, upstreams: Sequence[str] = ()) -> None:
        """SpecError for an address that cannot be used."""
        self._targets = [parse_url(url) for url in upstreams]
        self._routes = Routes()
        self._doors: list[PortableDoor] = []
        self.counters = Counters()
        self.delays: dict[str, deque[int]] = {
            "request": deque(maxlen=_DELAYS_KEPT),
            "chunk": deque(maxlen=_DELAYS_KEPT),
        }
        self.connections = self.requests = self.errors = 0

    async def open(self) -> None:
        self._routes.bound(connections_max())
        for target in self._targets:
            self.route(target)

    async def door(self, upstream: str, *, port: int = 0) -> PortableDoor:
        made = PortableDoor(self, upstream)
        await made.open(port)
        self._doors.append(made)
        return made

    def stats(self) -> dict[str, int]:
        counts = {
            "connections": self.connections,
            "requests": self.requests,
            "chunks": self.counters.chunks,
            "bytes": self.counters.bytes,
            "errors": self.errors,
        }
        for what, delays in self.delays.items():
            ordered = sorted(delays)
            for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
                at = round((len(ordered) - 1) * q)
                counts[f"{what}_delay_{name}_ns"] = ordered[at] if ordered else 0
        return counts

    async def close(self) -> None:
        for door in self._doors:
            await door.shut()
        await self._routes.close()

    def route(self, target: Target) -> Route:
        return self._routes.to(target, proxy_for(target))


class PortableDoor:
    """See harness.transport.tap.Door."""

    def __init__(self, tap: PortableTap, upstream: str) -> None:
        self.tap = tap
        self.target = parse_url(upstream)
        before, _, rest = upstream.partition("://")
        self._origin = f"{before}://{rest.partition('/')[0]}"
        self.prefix = self.target.path.rstrip("/")
        self.url = ""
        self.closed = False
        self._ended: list[Tapped] = []
        self._visits: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, port: int) -> None:
        self.tap.route(self.target)  # certificates are read before anybody waits for them
        try:
            self._server = await asyncio.start_server(self._visited, "127.0.0.1", port)
        except OSError as error:
            raise SpecError(
                f"cannot listen on 127.0.0.1:{port}: {error.strerror}",
                where="tap",
                remedy="another port, or 0 for any that is free",
            ) from error
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def take(self) -> list[Tapped]:
        found, self._ended = self._ended, []
        return found

    async def close(self) -> list[Tapped]:
        await self.shut()
        return self.take()

    async def shut(self) -> None:
        """As close, but what is left stays to be taken."""
        if self._server is not None:
            self._server.close()
            self._server, self.closed = None, True
            await asyncio.sleep(0)  # what has come in whole is passed on in this turn
            for visit in self._visits:
                visit.cancel()
            await asyncio.gather(*self._visits, return_exceptions=True)

    def exchange(self, request: h11.Request, body: bytes) -> Exchange:
        """As it goes to the server. SpecError for a target that cannot be sent."""
        named = request.target.decode("ascii")
        if not named.startswith("/"):  # absolute form: only its path counts here
            parts = _address(named)
            if parts is None or parts.scheme not in ("http", "https") or not parts.netloc:
                # Behind our origin it would be more of its host's name: `.elsewhere.net/`.
                raise SpecError("a request's target begins with a slash, or is a whole address")
            named = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        left_out = HOP_BY_HOP | {"accept-encoding"}
        return Exchange(
            url=self._origin + self.prefix + named,
            method=request.method.decode("ascii"),
            headers=tuple(
                field for field in fields_of(request) if field[0].lower() not in left_out
            ),
            body=body,
        )

    def add(self, tapped: Tapped) -> None:
        self._ended.append(tapped)
        record, tap = tapped.record, self.tap
        tap.errors += record.outcome != "complete"
        if record.sent_ns is not None:
            tap.delays["request"].append(max(0, record.sent_ns - tapped.request_ns))
        tap.delays["chunk"].extend(record.lag_ns.tolist())

    async def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.current_task()
        assert visit is not None
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)
        self.tap.connections += 1
        try:
            await Visit(self, reader, writer).serve()
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            self.tap.connections -= 1
            writer.close()


def _address(target: str) -> SplitResult | None:
    try:
        return urlsplit(target)
    except ValueError:  # such as half an IPv6 address
        return None
