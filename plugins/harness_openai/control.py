"""The traffic that is never timed: which models there are, what the server says of itself, one
small request to see what it supports.

Every failure becomes one BackendError here: what happened, at which address, what to try next.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import msgspec

from harness.errors import BackendError, SpecError
from harness_openai.errors import NOT_JSON, error_of_body, one_line

if TYPE_CHECKING:
    from types import TracebackType

    from harness.schema import TimeoutsSpec
    from harness_openai.secret import Secret

__all__ = ["Control", "ProbeAnswer", "base_url"]

UNIX = "http+unix://"
_VERSION_SEGMENT = re.compile(r"/v\d[^/]*(/|$)")
_SSE_LINE_END = re.compile(rb"\r\n|\n|\r")


class ProbeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the small request brought."""

    status: int
    message: str
    """Of the error, where there was one."""
    chunks: tuple[dict[str, Any], ...]


class Control:
    """One endpoint's control connection: `async with Control(url, timeouts, secret) as control`."""

    def __init__(self, url: str, timeouts: TimeoutsSpec, secret: Secret) -> None:
        self.url = url
        self._timeouts = timeouts
        self._secret = secret

    async def __aenter__(self) -> Control:
        import httpx

        self._root, uds = self.url, None
        if self.url.startswith(UNIX):
            socket, _, path = self.url.removeprefix(UNIX).partition("/")
            uds, self._root = unquote(socket), f"http://localhost/{path}"
        self._client = httpx.AsyncClient(
            headers=dict(self._secret.headers),
            transport=httpx.AsyncHTTPTransport(uds=uds) if uds else None,
            trust_env=not uds and not _is_loopback(self.url),
            timeout=self._timeouts.connect_s,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def models(self) -> list[dict[str, Any]] | None:
        """Entries of GET /models; None where the server has no such list."""
        status, content = await self._send("GET", "/models")
        if status in (404, 405, 501):
            return None
        if status != 200:
            raise self.refused(status, error_of_body(content)[1])
        entries = (_object(content) or {}).get("data")
        if not isinstance(entries, list):
            raise BackendError(
                "this is not an OpenAI-compatible server: /models does not hold a list",
                where=self.url,
                remedy="--url http://host:port/v1, or --backend ollama",
            )
        found = [entry for entry in entries if isinstance(entry, dict)]
        return [entry for entry in found if isinstance(entry.get("id"), str)]

    async def peek(self, path: str) -> dict[str, Any] | None:
        """A JSON object beside the API (`/props`, `/version`), if the server has it there."""
        try:
            status, content = await self._send("GET", path, beside=True)
        except BackendError:
            return None
        return _object(content) if status == 200 else None

    async def probe(self, path: str, body: dict[str, Any]) -> ProbeAnswer:
        """One streamed request, read to its end; the wait is bounded by `first_byte_s`."""
        status, content = await self._send("POST", path, body, answer_s=self._timeouts.first_byte_s)
        if status // 100 != 2:
            return ProbeAnswer(status=status, message=error_of_body(content)[1], chunks=())
        lines = _SSE_LINE_END.split(content)
        found = [_object(line.removeprefix(b"data:")) for line in lines if line[:5] == b"data:"]
        chunks = tuple(chunk for chunk in found if chunk is not None)
        return ProbeAnswer(status=status, message="", chunks=chunks)

    def refused(self, status: int, message: str) -> BackendError:
        """The error for an answer that is not 2xx."""
        remedy = "the server's log says more"
        if status in (401, 403):
            name = self._secret.variable or "OPENAI_API_KEY"
            remedy = f"check the key in ${name}" if self._secret.present else f"export {name}=…"
        elif status == 503:
            remedy = "wait until the server has loaded its model"
        elif "max_completion_tokens" in message:
            remedy = "-o max_tokens_field=max_completion_tokens"
        elif status == 404:
            remedy = "--url with the address up to and including /v1"
        what = f"the server refuses ({status}): {message or 'without a reason'}"
        return BackendError(what, where=self.url, remedy=remedy)

    async def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        answer_s: float | None = None,
        beside: bool = False,
    ) -> tuple[int, bytes]:
        """(status, body without our key in it)"""
        import httpx

        connect_s = self._timeouts.connect_s
        wait_s = answer_s or connect_s
        base = _without_version(self._root) if beside else self._root
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if content else {}
        try:
            answer = await self._client.request(
                method,
                base + path,
                content=content,
                headers=headers,
                timeout=httpx.Timeout(wait_s, connect=connect_s),
            )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise BackendError(
                f"no server can be reached: {_reason(error)}",
                where=self.url,
                remedy="start it, or --url with the address of a running one",
            ) from None
        except httpx.TimeoutException:
            raise BackendError(
                f"no answer to {path} within {wait_s:g} s",
                where=self.url,
                remedy="look at the server's load, or give it longer timeouts in the spec",
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            what = self._secret.redact(one_line(str(error))) or type(error).__name__
            raise BackendError(
                f"this does not answer as an HTTP server should: {what}",
                where=self.url,
                remedy="--url http://host:port/v1",
            ) from None
        return answer.status_code, self._secret.redact_bytes(answer.content)


def base_url(text: str) -> str:
    """`text` as the address that `/chat/completions` is appended to.

    `/v1` is added unless the path has a version in it (`/api/v1`, `/v1beta/openai`); a path that
    goes on to the method is cut back. Raises SpecError for credentials and queries: the address is
    recorded with every call.
    """
    url = (text if "://" in text else f"http://{text}").rstrip("/")
    for ending in ("/chat/completions", "/completions", "/models"):
        url = url.removesuffix(ending)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "http+unix"):
        raise SpecError(
            f"{parts.scheme}:// is not spoken here", where="backend.url", remedy="http://"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise SpecError(
            "a server's address is recorded: it takes no credentials, query or fragment",
            where="backend.url",
            remedy="api_key_env names the variable that holds the key",
        )
    if not parts.netloc:
        raise SpecError("there is no host in it", where="backend.url", remedy="http://host:port/v1")
    return url if _VERSION_SEGMENT.search(parts.path) else f"{url}/v1"


def _without_version(url: str) -> str:
    """Where a server keeps what is not part of the API."""
    parts = urlsplit(url)
    return parts._replace(path=_VERSION_SEGMENT.sub("", parts.path, count=1).rstrip("/")).geturl()


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(content)
    except NOT_JSON:
        return None
    return found if isinstance(found, dict) else None


def _is_loopback(url: str) -> bool:
    """No proxy of the environment may stand between us and our own machine."""
    host = urlsplit(url).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _reason(error: BaseException) -> str:
    """The operating system's own words, which httpx wraps two or three deep."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            words = os.strerror(seen.errno) if seen.errno > 0 else seen.strerror  # < 0: resolver
            return (words or str(seen)).lower()
        seen = seen.__cause__ or seen.__context__
    return one_line(str(error)) or "no connection in time"
