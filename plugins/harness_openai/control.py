"""The traffic that is never timed: which models there are, what the server says of itself, one
small request to see what it supports.

Every failure becomes one BackendError here: what happened, at which address, what to try next.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from harness.addresses import server_address
from harness.control import ControlClient, json_object
from harness.errors import BackendError
from harness_openai.errors import error_of_body

if TYPE_CHECKING:
    from harness.schema import TimeoutsSpec
    from harness_openai.secret import Secret

__all__ = ["Control", "ProbeAnswer", "base_url"]

_VERSION_SEGMENT = re.compile(r"/v\d[^/]*(/|$)")
_SSE_LINE_END = re.compile(rb"\r\n|\n|\r")


class ProbeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the small request brought."""

    status: int
    message: str
    """Of the error, where there was one."""
    chunks: tuple[dict[str, Any], ...]


class Control(ControlClient):
    """One endpoint's control connection: `async with Control(url, timeouts, secret) as control`."""

    def __init__(self, url: str, timeouts: TimeoutsSpec, secret: Secret) -> None:
        super().__init__(url, timeouts, headers=dict(secret.headers), redact=secret.redact)
        self._secret = secret

    async def models(self) -> list[dict[str, Any]] | None:
        """Entries of GET /models; None where the server has no such list."""
        status, content = await self._send("GET", "/models")
        if status in (404, 405, 501):
            return None
        if status != 200:
            raise self.refused(status, error_of_body(content)[1])
        entries = (json_object(content) or {}).get("data")
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
            status, content = await self._send("GET", path, beside=_version_part(self.url))
        except BackendError:
            return None
        return json_object(content) if status == 200 else None

    async def probe(self, path: str, body: dict[str, Any]) -> ProbeAnswer:
        """One streamed request, read to its end; the wait is bounded by `first_byte_s`."""
        status, content = await self._send(
            "POST",
            path,
            body,
            answer_s=self.timeouts.first_byte_s,
            purpose="the first small request",
        )
        if status // 100 != 2:
            return ProbeAnswer(status=status, message=error_of_body(content)[1], chunks=())
        lines = _SSE_LINE_END.split(content)
        found = [json_object(line.removeprefix(b"data:")) for line in lines if line[:5] == b"data:"]
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
        beside: str = "",
        purpose: str = "",
    ) -> tuple[int, bytes]:
        """(status, body without our key in it)"""
        answer = await self.ask(
            method, path, body, answer_s=answer_s, beside=beside, purpose=purpose
        )
        return answer.status, self._secret.redact_bytes(answer.content)


def base_url(text: str) -> str:
    """`text` as the address that `/chat/completions` is appended to.

    `/v1` is added unless the path has a version in it (`/api/v1`, `/v1beta/openai`); a path that
    goes on to the method is cut back. Raises SpecError for what cannot be recorded or reached.
    """
    url = server_address(text)
    for ending in ("/chat/completions", "/completions", "/models"):
        url = url.removesuffix(ending)
    return url if _VERSION_SEGMENT.search(urlsplit(url).path) else f"{url}/v1"


def _version_part(url: str) -> str:
    """The end of the path from its version on: what lies beside the API has none of it."""
    found = _VERSION_SEGMENT.search(path := urlsplit(url).path)
    return path[found.start() :] if found else ""
