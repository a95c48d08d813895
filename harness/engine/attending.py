"""An agent within an iteration: where it finds the server, and what becomes of the calls it makes.

Entering gives it a door of the tap, if there is one and its calls are made outside. Leaving closes
that door, finds for each exchange what the program reported of it, and delivers the records:
nothing of that is done while the agent works, but where `settle` asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import msgspec

from harness.engine.calls import Caller
from harness.engine.matching import match
from harness.engine.sealing import CallPlace
from harness.engine.tapping import KeptDoor
from harness.engine.witnessed import (
    Headers,
    asked_by,
    exchange_of,
    seal_reported,
    seal_tapped,
)
from harness.errors import SpecError
from harness.schema import CallRecord, Exchange, ReportedCall, Request, Span
from harness.transport.tap import Tapped

__all__ = ["Attending", "origin_of"]


class Attending:
    """An async context manager, and the AgentCalls (harness.protocols) that it gives."""

    url = ""
    tapped = False

    def __init__(
        self,
        caller: Caller,
        place: CallPlace,
        name: str,
        *,
        endpoint: int | None,
        outside: bool,
        port: int = 0,
        ordinal: Callable[[], int],
        span: Callable[[Span], None],
        hide: Callable[[Headers], None],
    ) -> None:
        """`ordinal()` gives the next call's number within the iteration; `span` keeps one; `hide`
        is told headers whose values must not reach the disk, whoever says them."""
        self._caller = caller
        self._place = place
        self._name = name
        self._endpoint = endpoint
        self._outside = outside
        self._port = port
        self._ordinal = ordinal
        self._span = span
        self._hide = hide
        self._door: KeptDoor | None = None
        self._reported: list[ReportedCall] = []
        self._prepared: dict[str, tuple[Request, Exchange]] = {}
        """Stage → what was prepared for it."""
        self._headers: Headers = ()
        """Of what was prepared: the program was given them, and may say them back."""
        self._paths: set[str] = set()
        self._settled = 0

    # The context. -----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._served_at = served_at = self._address()
        self.url = self._upstream = origin_of(served_at)
        if self._outside:
            self._caller.outside += 1
            try:
                self._door = await self._caller.open_door(self._upstream, self._port)
            except BaseException:
                self._caller.outside -= 1
                raise
        if self._door is not None:
            self.url, self.tapped = self._door.url, True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._door is not None:
                await self._door.close()
        finally:
            if self._outside:
                self._caller.outside -= 1
            self._seal(self._door.take() if self._door is not None else [])
            if self._door is not None:
                self._caller.forget_door(self._door)

    # AgentCalls. ------------------------------------------------------------------------------

    def prepare(self, request: Request) -> Exchange:
        named = self._named(request)
        exchange = self._caller.prepare(named, self._served_at)
        rest = exchange.url.removeprefix(origin_of(exchange.url))
        self._paths.add(urlsplit(exchange.url).path)
        self._headers = tuple(dict.fromkeys((*self._headers, *exchange.headers)))
        self._hide(exchange.headers)
        self._prepared[request.stage] = named, exchange
        return msgspec.structs.replace(exchange, url=self.url + rest)

    async def call(self, request: Request) -> CallRecord:
        at = None if self._endpoint is None else self._served_at
        return await self._caller.call(self._named(request), self._place, self._ordinal(), at=at)

    def report(self, call: ReportedCall) -> None:
        self._reported.append(call)

    def span(self, name: str, start_ns: int, end_ns: int) -> None:
        self._span(Span(name=name, start_ns=start_ns, end_ns=end_ns, agent=self._name))

    async def settle(self) -> int:
        if self._door is not None:
            self._seal_tapped(self._door.take())
        return self._settled

    # ------------------------------------------------------------------------------------------

    def _named(self, request: Request) -> Request:
        return msgspec.structs.replace(request, agent=self._name)

    def _address(self) -> str:
        urls = self._caller.urls
        index = self._endpoint or 0
        if not 0 <= index < len(urls):
            raise SpecError(
                f"agent {self._name!r} is to use endpoint {index}, and there are {len(urls)}",
                where="$.backend.url",
                remedy="an address for each, as a list",
            )
        return urls[index]

    def _seal(self, tapped: list[Tapped]) -> None:
        calls = self._model_calls(tapped)
        for seen, told in match(calls, self._reported):
            if seen is not None:
                self._deliver_tapped(seen, told)
            elif told is not None:
                self._deliver_reported(told)

    def _seal_tapped(self, tapped: list[Tapped]) -> None:
        for seen in self._model_calls(tapped):
            self._deliver_tapped(seen, None)

    def _model_calls(self, tapped: list[Tapped]) -> list[Tapped]:
        """The others were passed on, and are counted."""
        for one in tapped:
            self._hide(exchange_of(one, self._upstream).headers)
        calls = [one for one in tapped if self._caller.reads(one.method, one.path, self._paths)]
        self._caller.passed_on(len(tapped) - len(calls))
        return calls

    def _deliver_tapped(self, seen: Tapped, told: ReportedCall | None) -> None:
        request = asked_by(seen, self._name, told.stage if told is not None else "")
        prepared = self._prepared.get(request.stage)
        if prepared is not None and prepared[0].cold:  # the bytes do not say so
            request = msgspec.structs.replace(request, cold=True)
        exchange = exchange_of(seen, self._upstream)
        decoded = self._caller.read(seen.path, self._paths, request, seen.record)
        ordinal = self._ordinal()
        record = seal_tapped(
            seen,
            decoded,
            request,
            exchange,
            self._place,
            ordinal,
            self._caller.keep,
            told,
            self._headers,
            self._caller.till.price_of(seen.body),
        )
        seen.record.drop_payloads()
        self._settled += 1
        self._caller.deliver(ordinal, request, record)

    def _deliver_reported(self, told: ReportedCall) -> None:
        ordinal = self._ordinal()
        request, exchange = self._prepared.get(told.stage, (Request(agent=self._name), None))
        record = seal_reported(
            told,
            self._place,
            ordinal,
            self._caller.keep,
            agent=self._name,
            endpoint=exchange.url if exchange is not None else self._served_at,
            max_tokens=request.max_tokens,
            headers=self._headers,
        )
        self._settled += 1
        # The prompt that was prepared is not the one that was sent: nothing to count tokens of.
        self._caller.deliver(ordinal, None, record)


def origin_of(url: str) -> str:
    """Scheme, host and port, as they are written there."""
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.partition("/")[0]
