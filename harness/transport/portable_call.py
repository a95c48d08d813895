"""One exchange over httpx: its instants, its timeouts, and how it ended.

httpx makes the connection and reads it, httpcore's trace extension says when each step was done,
and portable_body cuts the chunks. One asyncio.timeout watches the call: its deadline moves as the
call goes on, and `_armed` names the outcome it stands for. Errors become outcomes in one table.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterable, Iterator
from typing import Any, NamedTuple, Protocol, cast

import httpx

from harness._native.clock import monotonic_ns, realtime_offset_ns
from harness._native.framing import MODE_WHOLE, ResponseParser, Splitter
from harness._native.recorder import Record, Recorder
from harness.schema import Exchange, TimeoutsSpec
from harness.transport.portable_body import Body, Counters, Reads, RefusedError
from harness.transport.portable_routes import Route
from harness.transport.wire import Target, body_mode, request_fields

__all__ = ["Course", "Onward"]

# A smaller change of the realtime offset may be slewing: not every system slews both clocks.
_STEP_NS = 1_000_000

# The first entry that fits, with its part of the message, counts. What h11 calls a protocol error
# may be a body that was cut off.
_OUTCOMES: tuple[tuple[type[Exception], str, str], ...] = (
    (httpx.ConnectError, "", "connect"),
    (httpx.ConnectTimeout, "", "connect"),
    (httpx.ProxyError, "", "connect"),
    (httpx.UnsupportedProtocol, "", "connect"),
    (httpx.WriteError, "", "send"),
    (httpx.LocalProtocolError, "", "send"),
    (httpx.RemoteProtocolError, "disconnected without sending a response", "eof"),
    (httpx.RemoteProtocolError, "peer closed connection without sending", "eof"),
    (httpx.RemoteProtocolError, "", "protocol"),
    (httpx.ReadError, "", "reset"),
    (httpx.TransportError, "", "protocol"),
)
_CONNECTED = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")


class Ending(NamedTuple):
    """What seal() is told."""

    outcome: str
    errno: int = 0
    detail: str = ""


class Onward(Protocol):
    """Who a response is passed on to while it comes: the tap's agent."""

    def head(self, response: httpx.Response) -> None: ...

    def span(self, data: bytes) -> int:
        """Pass on a part of the body; the instant right before that."""

    async def drain(self) -> None:
        """Wait for a slow reader."""

    def end(self) -> None:
        """The response is whole."""


class Course:
    """Runs once: `record = await Course(…).run()`."""

    def __init__(
        self,
        exchange: Exchange,
        target: Target,
        timeouts: TimeoutsSpec,
        route: Route,
        *,
        due_ns: int,
        frame_limit: int,
        counters: Counters,
        onward: Onward | None = None,
    ) -> None:
        self._onward = onward
        self._exchange = exchange
        self._target = target
        self._timeouts = timeouts
        self._route = route
        self._frame_limit = frame_limit
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._recorder = Recorder(due_ns=due_ns)
        self._reads = Reads(counters)
        self._body: Body | None = None
        self._body_end_ns = 0
        self._total_at = 0.0
        self._armed = ""
        self._begin_attempt()

    def _begin_attempt(self) -> None:
        self._connected_ns = 0
        self._sent_ns = 0
        self._headers_ns = 0
        self._touched = False
        self._send_failed = False
        self._tunnelling = False

    async def run(self) -> Record:
        """The sealed record, whatever happens on the wire. Cancelling the task ends the call as
        `cancelled` (`not_sent` if nothing was sent), and it still returns its record."""
        offset_ns, _ = realtime_offset_ns()
        self._total_at = self._loop.time() + self._timeouts.total_s
        try:
            async with asyncio.timeout(None) as self._timer:
                await self._attempts()
            ending = Ending("complete")
        except TimeoutError:
            if not self._timer.expired():
                raise
            ending = Ending(self._armed)
        except asyncio.CancelledError:
            ending = Ending("cancelled" if self._touched else "not_sent")
        except httpx.TransportError as error:
            ending = self._explain(error)
        except RefusedError as error:
            ending = Ending(error.outcome, 0, str(error))
        if self._body_end_ns:
            ending = Ending("complete")  # only putting the connection away went wrong
        return self._seal(ending, offset_ns)

    # ------------------------------------------------------------------------------ the wire

    async def _attempts(self) -> None:
        self._arm("timeout_connect", self._timeouts.connect_s)
        transport = await self._route.take()
        whole = False
        try:
            try:
                await self._attempt(transport)
            except httpx.TransportError as error:
                kept = not self._connected_ns and not self._headers_ns
                if not kept or self._explain(error).outcome == "connect":
                    raise
                # The server gave up the kept connection, and this request with it, without a word;
                # or it had said too much on it, and this response cannot be told from that.
                transport = self._route.renew(transport)
                self._begin_attempt()
                self._recorder.mark(reconnected=True)
                self._counters.reconnects += 1
                self._arm("timeout_connect", self._timeouts.connect_s)
                await self._attempt(transport)
            whole = True
        finally:
            if whole:
                self._route.keep(transport)
            else:
                self._route.drop(transport)

    async def _attempt(self, transport: httpx.AsyncHTTPTransport) -> None:
        response = await transport.handle_async_request(self._request())
        try:
            await self._receive(response)
        finally:
            await response.aclose()

    def _request(self) -> httpx.Request:
        target, exchange = self._target, self._exchange
        extensions: dict[str, Any] = {"trace": self._trace}
        if not self._route.proxied:
            # httpx would rewrite what it thinks ought to be percent-encoded.
            extensions["target"] = target.path.encode("ascii")
        scheme = "https" if target.scheme == "https" else "http"
        return httpx.Request(
            exchange.method,
            f"{scheme}://{target.host_header}{target.path}",
            headers=request_fields(exchange),
            stream=httpx.ByteStream(exchange.body),
            extensions=extensions,
        )

    async def _trace(self, event: str, info: dict[str, Any]) -> None:
        now_ns = monotonic_ns()
        if event.endswith(_CONNECTED):
            self._connected_ns = now_ns
        elif event == "http11.send_request_headers.started":
            # Through a proxy, TLS begins with an exchange of its own that is not ours.
            self._tunnelling = info["request"].method == b"CONNECT"
            if not self._tunnelling:
                self._touched = True
                self._sent_ns = now_ns
                self._arm("timeout_first_byte", self._timeouts.first_byte_s)
        elif self._tunnelling:
            return
        elif event == "http11.send_request_body.started":
            # As in the reactor: before the last bytes are handed over, because on loopback the
            # server may answer before the hand-over returns. The body goes in one write.
            if self._exchange.body:
                self._sent_ns = now_ns
        elif event in ("http11.send_request_headers.failed", "http11.send_request_body.failed"):
            self._sent_ns = 0
            self._send_failed = True
        elif event == "http11.receive_response_headers.started":
            self._reads.expect()
        elif event == "http11.receive_response_headers.complete":
            if not self._reads.note(now_ns):
                raise httpx.RemoteProtocolError("the response came before its request was sent")
            self._headers_ns = self._reads.stamp_ns

    async def _receive(self, response: httpx.Response) -> None:
        head = _head(response)
        self._recorder.mark(http_status=response.status_code, head=head)
        parser = ResponseParser(self._exchange.method)
        try:
            parser.feed(head)
        except ValueError as error:
            raise RefusedError("protocol", str(error)) from error
        mode = body_mode(response.status_code, parser.mode, self._exchange.framing, head)
        splitter = Splitter(cast(Any, mode), limit=self._frame_limit)
        self._body = Body(self._recorder, splitter, self._reads, self._counters)
        began = False
        onward = self._onward
        if onward is not None:
            onward.head(response)
        async for span in cast(AsyncIterable[bytes], response.stream):
            completed = self._body.feed(span, onward.span if onward is not None else None)
            if not began:
                self._recorder.mark(first_byte_ns=self._reads.stamp_ns)
            # A whole body is one payload: any part of it is a sign of life. A comment is none.
            if completed or mode == MODE_WHOLE or not began:
                self._arm("timeout_payload", self._timeouts.between_payloads_s)
            began = True
            if onward is not None:
                await onward.drain()
        if onward is not None:
            onward.end()
        fresh = self._reads.note(monotonic_ns())
        chunked = "chunked" in response.headers.get("transfer-encoding", "").lower()
        self._body.end(more_in_read=chunked and not fresh)
        self._body_end_ns = self._reads.stamp_ns

    def _arm(self, outcome: str, timeout_s: float) -> None:
        at = self._loop.time() + timeout_s
        self._armed = outcome if at < self._total_at else "timeout_total"
        self._timer.reschedule(min(at, self._total_at))

    # ----------------------------------------------------------------------------- the record

    def _seal(self, ending: Ending, offset_ns: int) -> Record:
        if self._body is not None:
            self._body.abandon()
        self._recorder.mark(
            connected_ns=self._connected_ns, sent_ns=self._sent_ns, headers_ns=self._headers_ns
        )
        offset_now_ns, uncertainty_ns = realtime_offset_ns()
        stepped = abs(offset_now_ns - offset_ns) > _STEP_NS + 2 * uncertainty_ns
        self._counters.clock_steps += stepped
        return self._recorder.seal(
            ending.outcome,
            closed_ns=monotonic_ns(),
            body_end_ns=self._body_end_ns,
            realtime_offset_ns=offset_ns,
            errno=ending.errno,
            detail=ending.detail,
            comments=self._body.comments if self._body is not None else 0,
            unterminated=self._body.unterminated if self._body is not None else False,
            clock_stepped=stepped,
        )

    def _explain(self, error: httpx.TransportError) -> Ending:
        text = str(error)
        outcome = next(o for kind, part, o in _OUTCOMES if isinstance(error, kind) and part in text)
        if self._send_failed and not self._headers_ns and outcome in ("eof", "reset"):
            outcome = "send"
        # anyio wraps the system's error in one of its own, which is an OSError too, but says less.
        found = [c for c in _causes(error) if isinstance(c, OSError) and c.errno]
        errno = found[0].errno if found and _is_system_error(found[0]) else 0
        # asyncio adds the address to what the system said; `where` has it.
        said = os.strerror(errno) if errno else (found[0].strerror if found else "") or text
        said = said or type(error).__name__
        where = f"{self._target.label}: " if outcome == "connect" else ""
        return Ending(outcome, errno or 0, where + said[:300])


def _head(response: httpx.Response) -> bytes:
    """As it came, but for the white space round header values, which httpx does not keep."""
    version = response.extensions.get("http_version", b"HTTP/1.1")
    reason = response.extensions.get("reason_phrase", b"")
    lines = [b"%b %d %b" % (version, response.status_code, reason)]
    lines += [b"%b: %b" % field for field in response.headers.raw]
    return b"\r\n".join([*lines, b"", b""])


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, outermost first, through groups as well."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                yield from _causes(part)
        error = error.__cause__ or error.__context__


def _is_system_error(error: BaseException) -> bool:
    """Whether `errno` is the system's: the resolver and OpenSSL number their errors themselves."""
    return isinstance(error, OSError) and not isinstance(error, (socket.gaierror, ssl.SSLError))
