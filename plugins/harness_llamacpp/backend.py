"""The embedded engine as a backend: the `openai` backend, plus a server that is started and ended.

Requests and responses are llama.cpp's OpenAI dialect and wholly the `openai` backend's business
(its `timings` end up in each record). Ours is the server's life, and to read back what it is.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from harness_openai.backend import OpenAIBackend

from harness.errors import BackendError, MissingExtra, SpecError
from harness.protocols import BackendConfig
from harness.schema import (
    Decoded,
    Effective,
    Exchange,
    Footprint,
    ModelInfo,
    Request,
)
from harness.serverprocess import ServerGoneError
from harness.text import one_line
from harness_llamacpp import counting, models
from harness_llamacpp.header import parts
from harness_llamacpp.options import (
    SERVER,
    LlamaCppOptions,
    call_options,
    for_requests,
    server_arguments,
)
from harness_llamacpp.process import EngineProcess
from harness_llamacpp.tiny import SHAPES

if TYPE_CHECKING:
    from harness_openai.options import OpenAIOptions

    from harness._native.recorder import Record

__all__ = ["LlamaCppBackend"]

_CONTEXT_STEP: Final = 256
"""llama.cpp rounds the context of a slot up to a multiple of it."""

log = logging.getLogger("harness.llamacpp")


class LlamaCppBackend(OpenAIBackend):
    """Backend, ListsModels and Footprints of harness.protocols. Without a model: `tiny`."""

    def __init__(self, config: BackendConfig) -> None:
        if config.urls:
            raise SpecError(
                "llamacpp starts a server of its own, and takes no address",
                where="backend.url",
                remedy=f"--backend openai --url {config.urls[0]}",
            )
        self.own: LlamaCppOptions = config.options
        self._seed = config.seed
        self._process: EngineProcess | None = None
        self._path: Path | None = None
        self._ready: dict[str, Any] = {}
        super().__init__(
            msgspec.structs.replace(
                config,
                model=config.model or models.TINY,
                options=for_requests(self.own, config.seed),
            )
        )

    async def footprint(self) -> Footprint:
        from harness_llamacpp.memory import footprint, footprint_of

        path = models.there(self.model)
        if path is None:
            return footprint_of(SHAPES[self.model], self.own)
        return await asyncio.to_thread(footprint, path, self.own)

    async def open(self) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            raise MissingExtra("llamacpp", missing="xllamacpp")
        self._path = await asyncio.to_thread(models.find, self.model)
        await self._start(self._path)
        self.serve_at(self._ready["url"])
        counting.serves(self.model, self._ready["url"])
        await super().open()

    async def effective(self) -> Effective:
        assert self._path is not None, "open comes first"
        read = await super().effective()
        on_gpu = any(device["type"] in ("GPU", "IGPU") for device in self._ready["devices"])
        server = {name: getattr(self.own, name) for name in SERVER}
        facts = {name: value for name, value in self._ready.items() if name not in ("url", "pid")}
        values, wrong = self._read_back(read, on_gpu)
        peak = {} if on_gpu else peak_memory(self._ready["pid"])
        return msgspec.structs.replace(
            read,
            server_version=f"xllamacpp {self._ready['xllamacpp']}",
            model_digest=await asyncio.to_thread(models.digest, self._path),
            layers_on_gpu=None if on_gpu else 0,
            size_bytes=read.size_bytes or self._path.stat().st_size,
            size_vram_bytes=None if on_gpu else 0,
            random_weights=models.random_weights(self._path),
            options=read.options | server | {"num_thread": self._ready["num_thread"]},
            details=read.details | facts | {"file_bytes": self._path.stat().st_size} | peak,
            disk_bytes=sum(one.stat().st_size for one in parts(self._path)),
            load_ms=self._ready["load_s"] * 1e3,
            location="local",
            unknown=_unknown(read.unknown, on_gpu),
            read_back=values,
            not_effective=wrong,
        )

    def prepare(self, request: Request) -> Exchange:
        if request.options:
            request = msgspec.structs.replace(request, options=self._changed(request))
        return super().prepare(request)

    def decode(self, request: Request, record: Record) -> Decoded:
        """A call that broke because the server died says what it died of."""
        decoded = super().decode(request, record)
        return self._process.died_over(record, decoded) if self._process is not None else decoded

    async def close(self) -> None:
        if self._process is None:
            return
        counting.forget(self.model, self._ready.get("url", ""))
        died = self._ready and not self._process.alive()
        await asyncio.to_thread(self._process.close)
        if died:
            log.error("the embedded server died while it was used: %s", self._process.last_words())

    async def models(self) -> list[ModelInfo]:
        return models.known_models()

    # ------------------------------------------------------------------------------------------

    def _read_back(self, read: Effective, on_gpu: bool) -> tuple[dict[str, Any], dict[str, str]]:
        """(option → value it runs with, option → `asked …, runs …` where that is another)."""
        values: dict[str, Any] = {"num_thread": self._ready["num_thread"]}
        if read.context_length is not None:
            values["num_ctx"] = read.context_length
        if isinstance(slots := read.details.get("total_slots"), int):
            values["parallel"] = slots
        if not on_gpu:
            values["num_gpu"] = 0
        wrong = {
            name: f"asked {asked}, runs {values[name]}"
            for name, asked in (
                ("num_ctx", self.own.num_ctx),
                ("parallel", self.own.parallel),
                ("num_thread", self.own.num_thread or values["num_thread"]),
                ("num_gpu", max(0, self.own.num_gpu)),
            )
            if name in values and not _as_asked(name, asked, values[name])
        }
        return values, wrong

    async def _start(self, path: Path) -> None:
        words = ["--model", os.fspath(path), "--alias", self.model, *server_arguments(self.own)]
        try:
            self._process = EngineProcess(words)
            ready = asyncio.wrap_future(self._process.ready)
            self._ready = await asyncio.wait_for(ready, self.own.load_timeout_s)
        except ServerGoneError as error:
            raise BackendError(
                f"the engine cannot serve this model: {error}",
                where=one_line(os.fspath(path)),
                remedy="another GGUF file, or smaller num_ctx and parallel",
            ) from None
        except TimeoutError:
            raise BackendError(
                f"the model was not loaded after {self.own.load_timeout_s:g} s",
                where=one_line(os.fspath(path)),
                remedy=f"-o load_timeout_s={self.own.load_timeout_s * 4:g}",
            ) from None
        except OSError as error:
            raise BackendError(
                f"no process can be started: {error.strerror}",
                where="harness_llamacpp.server",
                remedy="harness doctor",
            ) from error

    def _changed(self, request: Request) -> dict[str, Any]:
        """One call's own options, in the words of the `openai` backend."""
        changed: OpenAIOptions = for_requests(call_options(self.own, request.options), self._seed)
        return {
            name: value
            for name, value in msgspec.structs.asdict(changed).items()
            if name in request.options or value != getattr(self.options, name)
        }


def peak_memory(pid: int) -> dict[str, Any]:
    """The most that the process has had in memory so far, mapped files that it read included."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
        found = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return {"memory_process_peak_bytes": int(found) * 1024, "memory_process_of": "rss"}
    except (OSError, StopIteration, IndexError, ValueError):
        return {}  # no Linux, or it has just died


def _as_asked(name: str, asked: int, runs: int) -> bool:
    """Rounding the context up, as the engine does, makes no other configuration of it."""
    return asked <= runs < asked + _CONTEXT_STEP if name == "num_ctx" else runs == asked


def _unknown(found: dict[str, str], on_gpu: bool) -> dict[str, str]:
    """Why fields are None. An option that is not ours has its default read back, in details."""
    answered = ("model_digest", "server_version", "size_vram_bytes", "layers_on_gpu")
    left = {
        name: why
        for name, why in found.items()
        if name not in answered and (not name.startswith("options.") or why.startswith("set per"))
    }
    if on_gpu:
        why = "the engine's server does not tell it"
        left |= {"layers_on_gpu": why, "size_vram_bytes": why}
    return left
