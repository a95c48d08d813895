"""One connection of an agent to the portable tap: its requests, one after another, each passed on
and answered as the answer comes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import h11
import httpx

from harness._native.clock import monotonic_ns
from harness._native.recorder import Recorder
from harness.errors import SpecError
from harness.schema import TimeoutsSpec
from harness.transport.portable import FRAME_LIMIT
from harness.transport.portable_call import Course
from harness.transport.tap import Tapped
from harness.transport.wire import parse_url

if TYPE_CHECKING:
    from harness._native.recorder import Record
    from harness.transport.tap_portable import PortableDoor

__all__ = ["Visit", "fields_of"]

_READ_SIZE: Final = 65_536
_BODY_MAX: Final = 256 * 2**20
_AHEAD_MAX: Final = 2**20
"""What an agent may send before its last request is answered."""
_FOR_EVER_S: Final = 10 * 365 * 86_400.0
_PATIENCE: Final = TimeoutsSpec(
    connect_s=10.0, first_byte_s=_FOR_EVER_S, between_payloads_s=_FOR_EVER_S, total_s=_FOR_EVER_S
)
"""How long to wait for an answer is the agent's affair."""
_NOT_PASSED_BACK: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade"})


class Visit:
    """One connection of an agent: its requests, one after another."""

    def __init__(
        self, door: PortableDoor, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._door = door
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_READ_SIZE)
        self._read_ns = 0
        self._ahead = 0

    async def serve(self) -> None:
        try:
            await self._serve()
        except h11.RemoteProtocolError as error:
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self._refuse(error.error_status_hint, f"no HTTP/1.1 request: {error}")

    async def _serve(self) -> None:
        while not self._door.closed and (asked := await self._request()) is not None:
            request, body = asked
            if request.method == b"CONNECT" or _upgrades(request):
                self._refuse_and_record(501, "the tap passes on requests, not tunnels", request)
                return
            if not await self._pass_on(request, body):
                return
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()
            self._ahead = 0

    async def _request(self) -> tuple[h11.Request, bytes] | None:
        """The next one, whole. None: the agent has no more."""
        request: h11.Request | None = None
        body: list[bytes] = []
        size = 0
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[]))
                data = await self._reader.read(_READ_SIZE)
                self._read_ns = monotonic_ns()
                self._http.receive_data(data)
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                size += len(event.data)
                if size > _BODY_MAX:
                    assert request is not None
                    self._refuse_and_record(413, f"a request of over {_BODY_MAX} bytes", request)
                    return None
                body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                return request, b"".join(body)
            else:  # ConnectionClosed, PAUSED
                return None

    async def _pass_on(self, request: h11.Request, body: bytes) -> bool:
        """Whether the connection may serve on."""
        door, request_ns = self._door, self._read_ns
        onward = _Onward(self._http, self._writer)
        try:
            exchange = door.exchange(request, body)
            course = Course(
                exchange,
                parse_url(exchange.url),
                _PATIENCE,
                door.tap.route(door.target),
                due_ns=request_ns,
                frame_limit=FRAME_LIMIT,
                counters=door.tap.counters,
                onward=onward,
            )
        except SpecError as error:
            self._refuse(400, str(error))
            return False
        door.tap.requests += 1
        record = await self._until_over(asyncio.ensure_future(course.run()))
        path = parse_url(exchange.url).path.removeprefix(door.prefix)
        door.add(_tapped(request, path, body, request_ns, record, onward.end_ns))
        if onward.begun and onward.end_ns is None:
            self._writer.transport.abort()  # so the agent sees that it is not whole
        elif not onward.begun and record.outcome == "connect":
            self._refuse(502, f"the tap cannot reach its server: {record.detail}")
        elif not onward.begun:
            self._writer.transport.abort()
        return onward.end_ns is not None

    async def _until_over(self, course: asyncio.Task[Record]) -> Record:
        """Its record. The agent goes away, or the door is closed: the course is cancelled, and ends
        with what it has."""
        try:
            await self._listen_during(course)
        except asyncio.CancelledError:  # the door is closed; the record is wanted all the same
            course.cancel()
        await asyncio.wait([course])
        return course.result()

    async def _listen_during(self, course: asyncio.Task[Record]) -> None:
        while not course.done():
            reading = asyncio.ensure_future(self._reader.read(_READ_SIZE))
            try:
                await asyncio.wait([course, reading], return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not reading.done():
                    reading.cancel()
                    await asyncio.wait([reading])
            if not reading.cancelled():
                self._heard(reading, course)

    def _heard(self, reading: asyncio.Task[bytes], course: asyncio.Task[Record]) -> None:
        """The agent said something before it was answered: its next request, or farewell."""
        data = b"" if reading.exception() is not None else reading.result()
        self._read_ns = monotonic_ns()
        self._ahead += len(data)
        if not data or self._ahead > _AHEAD_MAX:
            course.cancel()
        else:
            self._http.receive_data(data)

    def _refuse_and_record(self, status: int, why: str, request: h11.Request) -> None:
        """A request that was understood, and is not passed on."""
        self._refuse(status, why)
        sealed = Recorder(due_ns=self._read_ns, reserve=0).seal(
            "not_sent", closed_ns=monotonic_ns(), detail=why
        )
        path = request.target.decode("ascii")
        self._door.add(_tapped(request, path, b"", self._read_ns, sealed, None))

    def _refuse(self, status: int, why: str) -> None:
        import msgspec

        said = msgspec.json.encode({"error": why})
        fields = [("Content-Type", "application/json"), ("Content-Length", str(len(said)))]
        self._write(
            h11.Response(status_code=status, headers=[*fields, ("Connection", "close")]),
            h11.Data(data=said),
            h11.EndOfMessage(),
        )

    def _write(self, *events: h11.Event) -> None:
        self._writer.write(b"".join(self._http.send(event) or b"" for event in events))


class _Onward:
    """Towards the agent. See portable_call.Onward."""

    def __init__(self, http: h11.Connection, writer: asyncio.StreamWriter) -> None:
        self._http = http
        self._writer = writer
        self.begun = False
        self.end_ns: int | None = None
        self._last_ns = 0

    def head(self, response: httpx.Response) -> None:
        """Not kept back for the body: a server that says it early means something by it."""
        self.begun = True
        kept = [f for f in response.headers.raw if f[0].lower().decode() not in _NOT_PASSED_BACK]
        said = h11.Response(
            status_code=response.status_code,
            headers=kept,
            reason=response.extensions.get("reason_phrase", b""),
        )
        self._writer.write(self._http.send(said) or b"")

    def span(self, data: bytes) -> int:
        framed = self._http.send(h11.Data(data=data)) or b""
        self._last_ns = monotonic_ns()
        self._writer.write(framed)
        return self._last_ns

    async def drain(self) -> None:
        with suppress(OSError):  # that the agent is gone is noticed where it is listened to
            await self._writer.drain()

    def end(self) -> None:
        last = self._http.send(h11.EndOfMessage()) or b""
        self.end_ns = monotonic_ns() if last or not self._last_ns else self._last_ns
        if last:
            self._writer.write(last)


def _tapped(
    request: h11.Request,
    path: str,
    body: bytes,
    request_ns: int,
    record: Record,
    end_sent_ns: int | None,
) -> Tapped:
    return Tapped(
        method=request.method.decode("ascii"),
        path=path,
        headers=tuple((name.lower(), value) for name, value in fields_of(request)),
        body=body,
        request_ns=request_ns,
        request_by_kernel=False,
        record=record,
        end_sent_ns=end_sent_ns,
    )


def fields_of(request: h11.Request) -> list[tuple[str, str]]:
    return [(n.decode("ascii"), v.decode("latin-1")) for n, v in request.headers]


def _upgrades(request: h11.Request) -> bool:
    return any(name == b"upgrade" for name, _ in request.headers)
