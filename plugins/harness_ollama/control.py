"""The traffic that is never timed: what is there, what is loaded, load it, drop it.

Every failure becomes one BackendError here: what happened, at which address, what to try next.
"""

from __future__ import annotations

import os
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import msgspec

from harness.errors import BackendError, SpecError

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

    from harness.schema import TimeoutsSpec

__all__ = ["Control", "base_url", "same_model"]

UNIX = "http+unix://"


class Control:
    """One endpoint's control connection: `async with Control(url, timeouts) as control`."""

    def __init__(self, url: str, timeouts: TimeoutsSpec) -> None:
        self.url = url
        self._timeouts = timeouts

    async def __aenter__(self) -> Control:
        import httpx

        uds = unquote(self.url.removeprefix(UNIX)) if self.url.startswith(UNIX) else None
        self._client = httpx.AsyncClient(
            base_url="http://localhost" if uds else self.url,
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

    async def version(self) -> str:
        found = (await self._ask("GET", "/api/version")).get("version")
        if not isinstance(found, str):
            raise self._stranger("it reports no version")
        return found

    async def tags(self) -> list[dict[str, Any]]:
        """Every model on disk: name, size, digest, details."""
        return _models(await self._ask("GET", "/api/tags"))

    async def loaded(self, model: str) -> dict[str, Any] | None:
        """The entry of `model` in /api/ps; None while it is not in memory."""
        entries = _models(await self._ask("GET", "/api/ps"))
        return next((e for e in entries if same_model(_name(e), model)), None)

    async def show(self, model: str) -> dict[str, Any]:
        return await self._ask("POST", "/api/show", {"model": model})

    async def load(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Returns when the model is in memory; the wait is bounded by `first_byte_s`."""
        return await self._ask("POST", path, body, self._timeouts.first_byte_s)

    async def unload(self, model: str) -> dict[str, Any]:
        """Asks for it; the server answers before the model is gone."""
        body = {"model": model, "keep_alive": 0, "stream": False}
        return await self._ask("POST", "/api/generate", body)

    async def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        answer_s: float | None = None,
    ) -> dict[str, Any]:
        import httpx

        connect_s = self._timeouts.connect_s
        wait_s = answer_s or connect_s
        timeout = httpx.Timeout(wait_s, connect=connect_s)
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if content else {}
        try:
            answer = await self._client.request(
                method, path, content=content, headers=headers, timeout=timeout
            )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise BackendError(
                f"no Ollama server can be reached: {_reason(error)}",
                where=self.url,
                remedy="`ollama serve`, or --url with the address of a running one",
            ) from None
        except httpx.TimeoutException:
            raise BackendError(
                f"no answer to {path} within {wait_s:g} s",
                where=self.url,
                remedy="`ollama ps` shows whether the server is busy; longer timeouts in the spec",
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._stranger(str(error) or type(error).__name__) from None
        return self._read(path, answer)

    def _read(self, path: str, answer: httpx.Response) -> dict[str, Any]:
        try:
            found = msgspec.json.decode(answer.content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = None
        said = found.get("error") if isinstance(found, dict) else None
        if isinstance(said, str) and said:
            raise BackendError(
                f"{path}: {_one_line(said)}",
                where=self.url,
                remedy="the server's log says more (`journalctl -u ollama`, ~/.ollama/logs)",
            )
        if answer.status_code != 200 or not isinstance(found, dict):
            raise self._stranger(
                f"{path} answers {answer.status_code}, and not with JSON of its API"
            )
        return found

    def _stranger(self, what: str) -> BackendError:
        return BackendError(
            f"this is not an Ollama server, or not a sound one: {_one_line(what)}",
            where=self.url,
            remedy="--url http://127.0.0.1:11434 (or where it listens), or --backend openai",
        )


def base_url(text: str) -> str:
    """`text` as scheme://host:port without a final slash; `host:port` is http.

    Raises SpecError for credentials (they would end up in every record) and for a query.
    """
    url = (text if "://" in text else f"http://{text}").rstrip("/")
    scheme = url.partition("://")[0]
    if scheme not in ("http", "https", "http+unix"):
        raise SpecError(f"{scheme}:// is not spoken here", where="backend.url", remedy="http://")
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise SpecError(
            "a server's address is recorded: it takes no credentials, query or fragment",
            where="backend.url",
            remedy="http://host:port",
        )
    if not parts.netloc:
        raise SpecError("there is no host in it", where="backend.url", remedy="http://host:port")
    return url


def same_model(one: str, other: str) -> bool:
    """Ollama's names: `gemma3` is `gemma3:latest`, and capitals do not count."""
    return _full_name(one) == _full_name(other)


def _full_name(name: str) -> str:
    short = name.lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return short if ":" in short.rpartition("/")[2] else f"{short}:latest"


def _models(answer: dict[str, Any]) -> list[dict[str, Any]]:
    entries = answer.get("models")
    return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


def _name(entry: dict[str, Any]) -> str:
    name = entry.get("name") or entry.get("model")
    return name if isinstance(name, str) else ""


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
    return _one_line(str(error)) or "no connection in time"


def _one_line(text: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text[:1000])
    return " ".join(printable.split())[:300]
