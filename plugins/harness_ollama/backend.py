"""One model on one Ollama server, or on several equal ones."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness.errors import BackendError
from harness.protocols import BackendConfig
from harness.schema import Decoded, Effective, Exchange, Footprint, ModelInfo, Request
from harness.text import as_argument, listed, nearest, one_line, storable, whole_number
from harness_ollama.control import Control, base_url, same_model
from harness_ollama.decode import decode
from harness_ollama.footprint import footprint, parameters_of, quantization_of, taken
from harness_ollama.options import OllamaOptions
from harness_ollama.prepare import load_body, request_body
from harness_ollama.readback import read_back

if TYPE_CHECKING:
    from harness._native.recorder import Record

__all__ = ["DEFAULT_URL", "OllamaBackend"]

DEFAULT_URL: Final = "http://127.0.0.1:11434"
_HEADERS: Final = (("Content-Type", "application/json"), ("Accept", "application/x-ndjson"))

# Unloading is asynchronous, and the scheduler waits up to 5 s for the memory to come back.
_POLL_S: Final = 0.25
_POLLS_MAX: Final = 120

_NOT_TOLD: Final = {
    "layers_on_gpu": "Ollama does not say; compare size_vram_bytes with size_bytes",
    "num_parallel": "a client cannot read OLLAMA_NUM_PARALLEL; at its default of 1 the server "
    "answers concurrent calls one after another",
}


class OllamaBackend:
    """Backend, ListsModels, Unloads, Reads and Footprints of harness.protocols, in Ollama's native
    dialect."""

    paths = ("/api/chat", "/api/generate")

    def __init__(
        self,
        config: BackendConfig,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.urls = tuple(base_url(url) for url in config.urls or (DEFAULT_URL,))
        self.model = config.model or ""
        self.options: OllamaOptions = config.options
        self._timeouts = config.timeouts
        self._passive = config.passive
        self._sleep = sleep
        self._turn = itertools.cycle(self.urls)

    async def open(self) -> None:
        digests: dict[str, str | None] = {}
        async with AsyncExitStack() as stack:
            for url in self.urls:
                control = await stack.enter_async_context(Control(url, self._timeouts))
                await control.version()
                if self._passive and not self.model:
                    continue
                entry = self._choose(url, await control.tags())
                digests[url] = entry.get("digest")
                await self._refuse_remote(control, entry)
                if not self._passive:
                    await self._load(control)
        if len(set(digests.values())) > 1:
            shown = ", ".join(f"{url} has {str(d)[:12]}" for url, d in digests.items())
            raise BackendError(
                f"the servers hold different models under the name {self._shown}: {shown}",
                where=self.urls[0],
                remedy=f"{self._command('pull')} on each",
            )

    async def effective(self) -> Effective:
        accounts = [await self._account(url) for url in self.urls]
        if len(accounts) == 1:
            return accounts[0]
        others = {
            url: {"server_version": a.server_version, "size_vram_bytes": a.size_vram_bytes}
            for url, a in zip(self.urls, accounts, strict=True)
        }
        first = accounts[0]
        # Of an option that one endpoint alone does not run with, say which endpoint.
        wrong = {
            name: f"{said} ({url})"
            for url, account in zip(self.urls, accounts, strict=True)
            for name, said in account.not_effective.items()
        }
        return msgspec.structs.replace(
            first, details=first.details | {"endpoints": others}, not_effective=wrong
        )

    def prepare(self, request: Request) -> Exchange:
        path, body = request_body(self.model, self.options, request)
        url = next(self._turn) + path
        return Exchange(url=url, headers=_HEADERS, body=body, framing="ndjson")

    def decode(self, request: Request, record: Record) -> Decoded:
        return decode(record)

    async def close(self) -> None:
        """Nothing to stop: the model stays loaded for `keep_alive`, as its owner set it."""

    async def models(self) -> list[ModelInfo]:
        async with Control(self.urls[0], self._timeouts) as control:
            return [_model_info(entry) for entry in await control.tags()]

    async def unload(self) -> None:
        for url in self.urls:
            async with Control(url, self._timeouts) as control:
                await control.unload(self.model)
                await self._wait_until_gone(control)

    async def footprint(self) -> Footprint:
        """Of the first server; all are taken to be equal."""
        async with Control(self.urls[0], self._timeouts) as control:
            version = await control.version()
            entry = self._choose(self.urls[0], await control.tags())
            shown, running = await control.show(self.model), await control.running()
        return footprint(self.urls[0], version, entry, shown, running, self.options)

    # ------------------------------------------------------------------------------------------

    def _choose(self, url: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
        """The entry of our model. Without a name, the only one there is."""
        names = [info.name for info in map(_model_info, entries)]
        if not self.model:
            if len(names) == 1:
                self.model = names[0]
                return entries[0]
            raise BackendError(
                "no model is named, and the server has "
                + (f"{len(names)}: {listed(names)}" if names else "none"),
                where=url,
                remedy=f"--model {_first(names)}" if names else "`ollama pull NAME`",
            )
        for name, entry in zip(names, entries, strict=True):
            if same_model(name, self.model):
                return entry
        close = as_argument(nearest(self.model, names) or "")
        raise BackendError(
            f"there is no model {self._shown}; the server has {listed(names)}",
            where=url,
            remedy=self._command("pull") + (f", or --model {close}" if close else ""),
        )

    @property
    def _shown(self) -> str:
        return repr(one_line(self.model))

    def _command(self, verb: str) -> str:
        """What to type; a name that nobody should type is left to the reader."""
        return f"`ollama {verb} {as_argument(self.model) or 'NAME'}`"

    async def _refuse_remote(self, control: Control, entry: dict[str, Any]) -> None:
        """A cloud model answers through this server, but none of it runs here."""
        shown = await control.show(self.model)
        host = next((x.get(k) for x in (entry, shown) for k in _REMOTE if x.get(k)), None)
        if host:
            raise BackendError(
                f"{self._shown} is a cloud model: the server only forwards to "
                f"{one_line(str(host))}",
                where=control.url,
                remedy="a model that `ollama list` shows with a size",
            )

    async def _load(self, control: Control) -> None:
        """Load with the very options that the calls will send, so that no call reloads."""
        answer = await control.load(*load_body(self.model, self.options))
        if await control.loaded(self.model) is None:
            said = one_line(repr(answer.get("done_reason")), 60)
            raise BackendError(
                f"the model was loaded ({said}) and is not in /api/ps",
                where=control.url,
                remedy="a longer keep_alive: -o keep_alive=10m",
            )

    async def _wait_until_gone(self, control: Control) -> None:
        for _ in range(_POLLS_MAX):
            if await control.loaded(self.model) is None:
                return
            await self._sleep(_POLL_S)
        raise BackendError(
            f"{self._shown} is still loaded {_POLL_S * _POLLS_MAX:g} s after it was told to go",
            where=control.url,
            remedy=f"{self._command('stop')}; another client may be using it",
        )

    async def _account(self, url: str) -> Effective:
        async with Control(url, self._timeouts) as control:
            version = await control.version()
            entry = next((e for e in await control.tags() if same_model(_name(e), self.model)), {})
            running = await control.loaded(self.model) if self.model else None
            shown = await control.show(self.model) if self.model else {}
        unknown = dict(_NOT_TOLD)
        if running is None:
            for name in ("context_length", "size_bytes", "size_vram_bytes"):
                unknown[name] = "the model is not in /api/ps: it is not loaded now"
        running = running or {}
        effective = Effective(
            server="ollama",
            server_version=version,
            model=_text(running.get("name")) or _text(entry.get("name")) or self.model or None,
            model_digest=_text(running.get("digest")) or _text(entry.get("digest")),
            context_length=whole_number(running.get("context_length")),
            size_bytes=whole_number(running.get("size")),
            # Go leaves a zero out: a loaded model without the field is not on a GPU at all.
            size_vram_bytes=whole_number(running.get("size_vram", 0)) if running else None,
            parameters=parameters_of(shown),
            quantization=quantization_of(shown),
            disk_bytes=whole_number(entry.get("size")),
            location="local",  # what is only forwarded to somebody else was refused
            simulated=(version or "").startswith("harness-sim"),
            options=_as_sent(self.options),
            details=storable(_details(shown)) | taken(running),
            unknown=unknown,
        )
        for name in ("model_digest", "context_length", "size_bytes", "size_vram_bytes"):
            if getattr(effective, name) is None:
                unknown.setdefault(name, "this version's /api/ps does not have it")
        unknown["load_ms"] = "Ollama tells it of calls alone: server_load_ms of cold starts"
        if effective.parameters is None:
            unknown["parameters"] = "/api/show does not have it"
        for name, value in msgspec.structs.asdict(self.options).items():
            if name in _PER_CALL:
                unknown[f"options.{name}"] = _set_per_call(value)
            elif value is None:
                unknown[f"options.{name}"] = "not sent: the server or the Modelfile decides"
        values, wrong = read_back(self.options, effective, _layers(shown))
        return msgspec.structs.replace(effective, read_back=values, not_effective=wrong)


_REMOTE: Final = ("remote_host", "remote_model")

_PER_CALL: Final = ("num_predict", "seed", "stop", "format")
"""Options that a request's own fields replace: what one call sent, another did not."""


def _as_sent(options: OllamaOptions) -> dict[str, Any]:
    sent = msgspec.structs.asdict(options)
    return {k: v for k, v in sent.items() if v is not None and k not in _PER_CALL}


def _set_per_call(own: Any) -> str:
    otherwise = "not sent" if own in (None, ()) else repr(own)
    return f"set per call; {otherwise} where a call has none"


def _first(names: list[str]) -> str:
    """The first of the names that can be typed."""
    return next(filter(None, map(as_argument, names)), "NAME")


def _details(shown: dict[str, Any]) -> dict[str, Any]:
    """What /api/show says of the model, without its texts (licence, template) and token lists."""
    kept = {k: shown[k] for k in ("details", "capabilities", "parameters") if shown.get(k)}
    info = shown.get("model_info")
    if isinstance(info, dict):
        plain = {k: v for k, v in info.items() if isinstance(v, str | int | float)}
        kept["model_info"] = {k: v for k, v in plain.items() if len(str(v)) <= 200}
    return kept


def _layers(shown: dict[str, Any]) -> int | None:
    """Blocks of the model, and the layer for output."""
    info = shown.get("model_info")
    found = info if isinstance(info, dict) else {}
    architecture = found.get("general.architecture")
    blocks = whole_number(found.get(f"{architecture}.block_count"))
    return None if blocks is None else blocks + 1


def _model_info(entry: dict[str, Any]) -> ModelInfo:
    details = entry.get("details")
    return ModelInfo(
        name=_name(entry),
        size_bytes=whole_number(entry.get("size")),
        digest=_text(entry.get("digest")),
        details=storable(details) if isinstance(details, dict) else {},
    )


def _name(entry: dict[str, Any]) -> str:
    return _text(entry.get("name")) or _text(entry.get("model")) or ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
