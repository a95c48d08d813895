"""Truth servers as a backend: started for a trial, spoken to by the backend of their dialect.

Requests and responses are wholly that backend's business. Ours is the servers' life, and to say
what they are: simulated, and told to do what.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness.errors import BackendError, SpecError
from harness.protocols import BackendConfig
from harness.schema import Decoded, Effective, Exchange, ModelInfo, Request
from harness.serverprocess import ServerGoneError, ServerProcess
from harness_sim.options import SimOptions, asked_of, parse_cpus, spec_of

if TYPE_CHECKING:
    from harness_ollama.backend import OllamaBackend
    from harness_openai.backend import OpenAIBackend

    from harness._native.recorder import Record

__all__ = ["SimBackend", "SimOllamaBackend", "make_backend"]

_START_S: Final = 60.0
_STOP_S: Final = 60.0
"""A log of many millions of sends is read once more at the end."""

_numbers = count(1)
LIVE_LOG: Final = "live_log"
"""Of `details["sim"]`: where the server's log is while the server runs, kept or not."""

log = logging.getLogger("harness.sim")


def make_backend(config: BackendConfig) -> SimBackend:
    """By the dialect: an Ollama server can unload its model."""
    native = config.options.dialect == "ollama"
    return SimOllamaBackend(config) if native else SimBackend(config)


class SimBackend:
    """Backend, ListsModels and Reads of harness.protocols."""

    def __init__(self, config: BackendConfig) -> None:
        if config.urls:
            raise SpecError(
                "sim starts servers of its own, and takes no address",
                where="backend.url",
                remedy=f"--backend openai --url {config.urls[0]}",
            )
        self.options: SimOptions = config.options
        self.spec = spec_of(self.options, config.seed)
        if config.model:
            self.spec = msgspec.structs.replace(self.spec, model=config.model)
        self._config = msgspec.structs.replace(config, model=self.spec.model)
        self._processes: list[ServerProcess] = []
        self._ready: list[dict[str, Any]] = []
        self._scratch: Path | None = None
        self._client: OpenAIBackend | OllamaBackend
        self._speak(())

    async def open(self) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="harness-sim-"))
        for index in range(self.options.servers):
            self._ready.append(await self._start(index, self._scratch))
        self._speak(tuple(ready["url"] for ready in self._ready))
        await self._client.open()

    async def effective(self) -> Effective:
        read = await self._client.effective()
        told = msgspec.to_builtins(self.spec)
        kept = bool(self.options.log)
        servers = [
            {"url": ready["url"], "pid": ready["pid"], LIVE_LOG: ready["log"]}
            | ({"log": ready["log"]} if kept else {})
            for ready in self._ready
        ]
        details = {"sim": {**servers[0], "spec": told, "servers": servers}}
        unknown = {} if kept else {"details.sim.log": "not kept: -o log=FOLDER keeps it"}
        return msgspec.structs.replace(
            read,
            simulated=True,
            options=read.options | {"sim": told},
            details=read.details | details,
            unknown=read.unknown | unknown,
        )

    def prepare(self, request: Request) -> Exchange:
        if request.options:
            asked = asked_of(self.options, request.options)
            options = {
                name: value
                for name, value in msgspec.structs.asdict(asked).items()
                if value != getattr(self._client.options, name)
            }
            request = msgspec.structs.replace(request, options=options)
        return self._client.prepare(request)

    def decode(self, request: Request, record: Record) -> Decoded:
        return self._client.decode(request, record)

    async def close(self) -> None:
        died = [p for p in self._processes[: len(self._ready)] if not p.alive()]
        try:
            for process in self._processes:
                await asyncio.to_thread(process.close)
        finally:
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)
        for process in died:
            log.error("a truth server ended while it was used: %s", process.last_words())

    async def models(self) -> list[ModelInfo]:
        """The one that there is. Nothing has to run for that."""
        return [ModelInfo(name=self.spec.model, size_bytes=self.spec.size_bytes)]

    # ------------------------------------------------------------------------------------------

    def _speak(self, urls: tuple[str, ...]) -> None:
        """To these, in their dialect."""
        config = msgspec.structs.replace(
            self._config, urls=self._addresses(urls), options=asked_of(self.options, {})
        )
        self._client = self._client_of(config)
        self.urls = self._client.urls
        self.paths = self._client.paths

    def _addresses(self, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{url}/v1" for url in urls)

    def _client_of(self, config: BackendConfig) -> OpenAIBackend | OllamaBackend:
        from harness_openai.backend import OpenAIBackend

        return OpenAIBackend(config)

    async def _start(self, index: int, scratch: Path) -> dict[str, Any]:
        spec = msgspec.structs.replace(self.spec, seed=self.spec.seed + index)
        told = scratch / f"spec-{index}.json"
        told.write_bytes(msgspec.json.encode(msgspec.to_builtins(spec)))
        words = [os.fspath(told), "--log", os.fspath(self._log_folder(index, scratch))]
        if self.options.realtime:
            words.append("--realtime")
        if cpus := parse_cpus(self.options.cpus):
            words += ["--cpus", ",".join(map(str, cpus))]
        try:
            process = ServerProcess(words, module="harness_sim.child", polite_s=_STOP_S)
            self._processes.append(process)
            return await asyncio.wait_for(asyncio.wrap_future(process.ready), _START_S)
        except ServerGoneError as error:
            raise BackendError(
                f"the truth server does not start: {error}",
                where="backend sim",
                remedy="`harness sim` with the same fields says why",
            ) from None
        except TimeoutError:
            raise BackendError(
                f"the truth server was not ready after {_START_S:g} s", where="backend sim"
            ) from None
        except OSError as error:
            raise BackendError(
                f"no process can be started: {error.strerror}",
                where="backend sim",
                remedy="harness doctor",
            ) from error

    def _log_folder(self, index: int, scratch: Path) -> Path:
        if not self.options.log:
            return scratch / f"log-{index}"
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return Path(self.options.log).absolute() / f"{stamp}-{os.getpid()}-{next(_numbers)}"


class SimOllamaBackend(SimBackend):
    """Unloads too."""

    _client: OllamaBackend

    async def unload(self) -> None:
        await self._client.unload()

    def _addresses(self, urls: tuple[str, ...]) -> tuple[str, ...]:
        return urls

    def _client_of(self, config: BackendConfig) -> OllamaBackend:
        from harness_ollama.backend import OllamaBackend

        return OllamaBackend(config)
