"""The portable transport: httpx connections, our framing and our records.

For what the reactor does not do: TLS, proxies, and systems that are not Linux. It satisfies the
same interface and passes the same contract tests. Its stamps are taken in user space, after the
event loop got round to the socket, and say so; a call may start a millisecond or two after its due
instant, which is recorded too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from harness._native.clock import monotonic_ns, realtime_offset_ns
from harness._native.recorder import Record, Recorder
from harness.schema import Exchange, TimeoutsSpec
from harness.transport.files import connections_max
from harness.transport.lanes import Lanes
from harness.transport.portable_body import Counters
from harness.transport.portable_call import Course
from harness.transport.portable_routes import Route, Routes
from harness.transport.proxies import proxy_for
from harness.transport.wire import Target, parse_url, request_fields

__all__ = ["PortableTransport"]

FRAME_LIMIT = 67_108_864


class _Call:
    """One exchange from `send` to its record."""

    def __init__(
        self,
        exchange: Exchange,
        timeouts: TimeoutsSpec,
        route: Route,
        lane: int,
        due_ns: int,
        future: asyncio.Future[Record],
    ) -> None:
        self.exchange = exchange
        self.timeouts = timeouts
        self.route = route
        self.lane = lane
        self.due_ns = due_ns
        self.future = future
        self.withdrawn = False
        self.task: asyncio.Task[Record] | None = None


class PortableTransport:
    """See protocols.Transport. Belongs to the event loop that opened it."""

    name = "portable"

    def __init__(self, urls: Sequence[str] = (), *, frame_limit: int = FRAME_LIMIT) -> None:
        """`urls` are made ready by open(), so that no call waits for certificates to be read;
        others can be sent to as well. SpecError for an address or a proxy that cannot be used."""
        self._targets = [parse_url(url) for url in urls]
        self._proxies = {target.origin: proxy_for(target) for target in self._targets}
        self._frame_limit = frame_limit
        self._lanes: Lanes[_Call] = Lanes(self._start)
        self._routes = Routes()
        self._running: set[_Call] = set()
        self._counters = Counters()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._routes.bound(connections_max())
        for target in self._targets:
            self._route(target)

    def lane(self, limit: int) -> int:
        return self._lanes.add(limit)

    def send(
        self, exchange: Exchange, timeouts: TimeoutsSpec, *, lane: int = 0, due_ns: int = 0
    ) -> asyncio.Future[Record]:
        """Raises SpecError at once for an exchange that is not HTTP, RuntimeError when the
        transport is not open. Cancelling the future ends the call; its record goes nowhere, for
        whoever awaits it gets CancelledError."""
        if self._loop is None:
            raise RuntimeError("the transport is not open")
        request_fields(exchange)
        route = self._route(parse_url(exchange.url))
        call = _Call(exchange, timeouts, route, lane, due_ns, self._loop.create_future())
        call.future.add_done_callback(lambda future: self._given_up(call, future))
        self._lanes.submit(call)
        return call.future

    def stats(self) -> dict[str, int]:
        """The keys of Reactor.stats that mean something here."""
        flying = {"in_flight": len(self._running), "queued": len(self._lanes.waiting())}
        return {**vars(self._counters), "kernel_stamps": 0, **flying}

    async def close(self) -> None:
        """Calls in flight end as cancelled, queued ones as not_sent."""
        self._loop = None
        for call in self._lanes.clear():
            _give(call, _unsent(call.due_ns))
        tasks = [call.task for call in self._running if call.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._routes.close()

    # ---------------------------------------------------------------------------- one call

    def _start(self, call: _Call) -> None:
        assert self._loop is not None
        self._running.add(call)
        call.task = self._loop.create_task(self._carry(call))
        call.task.add_done_callback(lambda task: self._ended(call, task))

    async def _carry(self, call: _Call) -> Record:
        course = Course(
            call.exchange,
            parse_url(call.exchange.url),
            call.timeouts,
            call.route,
            due_ns=call.due_ns,
            frame_limit=self._frame_limit,
            counters=self._counters,
        )
        return await course.run()

    def _ended(self, call: _Call, task: asyncio.Task[Record]) -> None:
        self._running.discard(call)
        if not task.cancelled() and (bug := task.exception()) is not None:
            if not call.future.done():
                call.future.set_exception(bug)
            closed_ns = monotonic_ns()
        else:
            # A task that was cancelled before its first step never came to make its record.
            record = _unsent(call.due_ns) if task.cancelled() else task.result()
            _give(call, record)
            closed_ns = record.closed_ns
        self._lanes.release(call.lane, closed_ns)

    def _given_up(self, call: _Call, future: asyncio.Future[Record]) -> None:
        if future.cancelled():
            call.withdrawn = True
            if call.task is not None:
                call.task.cancel()

    def _route(self, target: Target) -> Route:
        if target.origin not in self._proxies:
            self._proxies[target.origin] = proxy_for(target)
        return self._routes.to(target, self._proxies[target.origin])


def _give(call: _Call, record: Record) -> None:
    if not call.future.done():
        call.future.set_result(record)


def _unsent(due_ns: int) -> Record:
    now_ns = monotonic_ns()
    return Recorder(due_ns=due_ns or now_ns, reserve=0).seal(
        "not_sent", closed_ns=now_ns, realtime_offset_ns=realtime_offset_ns()[0]
    )
