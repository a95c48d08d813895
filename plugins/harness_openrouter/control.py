"""What is asked of the service beside text. Nothing of it is timed, or costs anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from harness_openai.control import Control
from harness_openai.errors import error_of_body

from harness.control import json_object
from harness.errors import BackendError
from harness_openrouter.catalog import exact_object
from harness_openrouter.refusals import remedy_for

if TYPE_CHECKING:
    from harness_openai.secret import Secret

    from harness.schema import TimeoutsSpec

__all__ = ["OpenRouterControl"]


class OpenRouterControl(Control):
    """`async with OpenRouterControl(url, timeouts, secret) as control`"""

    def __init__(self, url: str, timeouts: TimeoutsSpec, secret: Secret) -> None:
        super().__init__(url, timeouts, secret)
        self._server, self._start = "OpenRouter", "look at the network"

    async def endpoints(self, model: str) -> dict[str, Any] | None:
        """Who serves `model`; None where the service does not tell."""
        status, content = await self._send("GET", f"/models/{quote(model, safe='/:')}/endpoints")
        if status in (404, 405, 501):
            return None
        if status != 200:
            raise self.refused(status, error_of_body(content)[1])
        return _data(content)

    async def key(self) -> dict[str, Any] | None:
        """Limits of the key, and what was used of them; None where the service does not tell.
        Raises BackendError for a key that it does not take."""
        status, content = await self._send("GET", "/key")
        if status in (401, 403):
            raise self.refused(status, error_of_body(content)[1])
        return _data(content) if status == 200 else None

    async def generation(self, ident: str) -> tuple[dict[str, Any] | None, str]:
        """(the account of one call, or None, and why there is none; "" where it is not there yet).
        Numbers with a fraction are text, digit for digit."""
        try:
            status, content = await self._send("GET", f"/generation?id={quote(ident, safe='')}")
        except BackendError as error:
            return None, error.what
        if status == 404:
            return None, ""
        if status != 200:
            return None, f"the service refuses ({status}): {error_of_body(content)[1]}"
        found = exact_object(content)
        data = found.get("data") if found else None
        if not isinstance(data, dict):
            return None, "the service answers without an account"
        return data, ""

    def refused(self, status: int, message: str) -> BackendError:
        what = f"OpenRouter refuses ({status}): {message or 'without a reason'}"
        remedy = remedy_for(status, key=self._secret.variable or "OPENROUTER_API_KEY")
        return BackendError(what, where=self.url, remedy=remedy)


def _data(content: bytes) -> dict[str, Any] | None:
    data = (json_object(content) or {}).get("data")
    return data if isinstance(data, dict) else None
