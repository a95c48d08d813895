"""The traffic that is never timed, for backends: ask a server something over HTTP. Public.

Which version, which models, load this one: `open` and `effective` of a backend are made of such
questions. Every failure becomes one BackendError here: what happened, at which address, what to try
next. Calls that are measured do not pass through here; the transport carries those.

    async with ControlClient(url, config.timeouts, server="Example server") as client:
        answer = await client.ask("GET", "/version")
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from harness.addresses import reason
from harness.errors import BackendError
from harness.text import one_line

if TYPE_CHECKING:
    from types import TracebackType

    from harness.schema import TimeoutsSpec

__all__ = ["NOT_JSON", "Answer", "ControlClient", "json_object"]

NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a stranger's JSON may raise."""


@contextmanager
def _no_command_line() -> Iterator[None]:
    """httpx imports its own command line where it can, rich and pygments with it: a third of its
    time to import, for nothing. A None in sys.modules is a module that cannot be imported, and
    httpx does without."""
    name = "httpx._main"
    blocked = "httpx" not in sys.modules and name not in sys.modules
    if blocked:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if blocked and sys.modules.get(name) is None:
            sys.modules.pop(name, None)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Any answer at all, whatever its status."""

    status: int
    content: bytes


class ControlClient:
    """One endpoint's control connection, straight to loopback and Unix sockets, else by the proxy
    that the environment names. Made to be subclassed by what a backend asks: one method each."""

    def __init__(
        self,
        url: str,
        timeouts: TimeoutsSpec,
        *,
        server: str = "server",
        start: str = "start it",
        headers: Mapping[str, str] | None = None,
        redact: Callable[[str], str] = str,
    ) -> None:
        """`url` as from `harness.addresses.server_address`; `server` and `start` (how to start one)
        are words for messages, which go through `redact`."""
        self.url = url
        self.timeouts = timeouts
        self._server = server
        self._start = start
        self._headers = dict(headers or {})
        self._redact = redact

    async def __aenter__(self) -> Self:
        with _no_command_line():
            import httpx

        from harness.transport.proxies import proxy_for
        from harness.transport.wire import parse_url

        target = parse_url(self.url)
        self._base = self.url
        if target.socket_path:
            self._base = f"http://localhost{target.path}".rstrip("/")
        transport = httpx.AsyncHTTPTransport(
            # Without TLS no certificates are read, which would take tens of ms.
            verify=httpx.create_ssl_context(verify=target.scheme == "https"),
            proxy=proxy_for(target),
            uds=target.socket_path or None,
        )
        self._client = httpx.AsyncClient(headers=self._headers, transport=transport)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        answer_s: float | None = None,
        beside: str = "",
        purpose: str = "",
    ) -> Answer:
        """One request, `body` as JSON; an answer of any status. Raises BackendError without one.

        The wait for the connection is bounded by `connect_s` of the timeouts, the wait for the
        answer by `answer_s` (default: the same). `path` follows the address; where the address ends
        in `beside` (`/v1`), it takes its place. `purpose` names the request in messages.
        """
        import httpx

        connect_s = self.timeouts.connect_s
        wait_s = answer_s or connect_s
        name = f"{purpose} ({method} {path})" if purpose else path
        try:
            answer = await self._client.request(
                method,
                self._base.removesuffix(beside) + path,
                content=None if body is None else msgspec.json.encode(body),
                headers={} if body is None else {"Content-Type": "application/json"},
                timeout=httpx.Timeout(wait_s, connect=connect_s),
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            said = self._clean(reason(error))
            raise self._error(
                f"no {self._server} can be reached: {said}",
                f"{self._start}, or --url with the address of a running one",
            ) from None
        except httpx.TimeoutException:
            raise self._error(
                f"no answer to {name} within {wait_s:g} s",
                "look at the server's load, or give it longer timeouts in the spec",
            ) from None
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            raise self._broken(name, error) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._no_http(error) from None
        return Answer(status=answer.status_code, content=answer.content)

    def _broken(self, name: str, error: Exception) -> BackendError:
        """A connection that was made and then lost, or whose other end does not speak HTTP."""
        import httpx

        said = self._clean(reason(error))
        if isinstance(error, httpx.RemoteProtocolError):
            if not _is_early_end(error):
                return self._no_http(error)
            said = "closed before the answer was complete"
        return self._error(
            f"the connection broke during {name}: {said}",
            "the server's log: it may have crashed, or run out of memory",
        )

    def _no_http(self, error: Exception) -> BackendError:
        # h11 quotes the line that it could not read, escapes and all.
        what = self._clean(str(error).partition(": bytearray(")[0]) or type(error).__name__
        return self._error(
            f"this does not answer as an HTTP server should: {what}",
            "--url with the address of the server's API",
        )

    def _clean(self, text: str) -> str:
        return self._redact(one_line(text))

    def _error(self, what: str, remedy: str) -> BackendError:
        return BackendError(what, where=self.url, remedy=remedy)


def _is_early_end(error: Exception) -> bool:
    said = str(error)
    return "disconnected without" in said or "closed connection without" in said


def json_object(content: bytes) -> dict[str, Any] | None:
    """The JSON object that `content` is; None for anything else."""
    try:
        found = msgspec.json.decode(content)
    except NOT_JSON:
        return None
    return found if isinstance(found, dict) else None
