"""The traffic that is never timed: what is there, what is loaded, load it, drop it.

Every failure becomes one BackendError here: what happened, at which address, what to try next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.addresses import server_address
from harness.control import Answer, ControlClient, json_object
from harness.errors import BackendError
from harness.text import one_line

if TYPE_CHECKING:
    from harness.schema import TimeoutsSpec

__all__ = ["Control", "base_url", "same_model"]


class Control(ControlClient):
    """One endpoint's control connection: `async with Control(url, timeouts) as control`."""

    def __init__(self, url: str, timeouts: TimeoutsSpec) -> None:
        super().__init__(url, timeouts, server="Ollama server", start="`ollama serve`")

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
        entries = await self.running()
        return next((e for e in entries if same_model(_name(e), model)), None)

    async def running(self) -> list[dict[str, Any]]:
        """Every model that is in memory."""
        return _models(await self._ask("GET", "/api/ps"))

    async def show(self, model: str) -> dict[str, Any]:
        return await self._ask("POST", "/api/show", {"model": model})

    async def load(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Returns when the model is in memory; the wait is bounded by `first_byte_s`."""
        return await self._ask("POST", path, body, self.timeouts.first_byte_s)

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
        return self._read(path, await self.ask(method, path, body, answer_s=answer_s))

    def _read(self, path: str, answer: Answer) -> dict[str, Any]:
        found = json_object(answer.content)
        said = found.get("error") if found else None
        if isinstance(said, str) and said:
            raise BackendError(
                f"{path}: {one_line(said)}",
                where=self.url,
                remedy="the server's log says more (`journalctl -u ollama`, ~/.ollama/logs)",
            )
        if answer.status != 200 or found is None:
            raise self._stranger(f"{path} answers {answer.status}, and not with JSON of its API")
        return found

    def _stranger(self, what: str) -> BackendError:
        return BackendError(
            f"this is not an Ollama server, or not a sound one: {what}",
            where=self.url,
            remedy="--url http://127.0.0.1:11434 (or where it listens), or --backend openai",
        )


def base_url(text: str) -> str:
    """`text` as scheme://host:port without a final slash. Raises SpecError for what cannot be
    recorded or reached."""
    return server_address(text)


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
