"""transformers as a backend: the life of a worker process, requests to it, what is read back."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness.control import ControlClient, json_object
from harness.errors import BackendError, MissingExtra, SpecError
from harness.protocols import BackendConfig
from harness.schema import Decoded, Effective, Exchange, Footprint, Message, ModelInfo, Request
from harness.serverprocess import ServerGoneError, ServerProcess
from harness.text import one_line, storable, whole_number
from harness_hf import counting, footprint, loading, models
from harness_hf.decode import decode
from harness_hf.options import FIXED, HfOptions, call_options, fixed_options

if TYPE_CHECKING:
    from harness._native.recorder import Record

__all__ = ["HfBackend"]

_HEADERS: Final = (("Content-Type", "application/json"), ("Accept", "application/x-ndjson"))
_PACKAGES: Final = ("torch", "transformers")
_UNLOAD_S: Final = 120.0
_RESTART: Final = "cold_by: restart"
_SAMPLING: Final = ("template_options", "temperature", "top_k", "top_p", "repeat_penalty")
_NOT_STARTED: Final = "http://127.0.0.1:1"
"""Before there is a worker; nothing is sent there."""

log = logging.getLogger("harness.hf")


class HfBackend:
    """Backend, ListsModels, Unloads and Footprints of harness.protocols. Its model: `tiny`, where
    none is named."""

    def __init__(self, config: BackendConfig) -> None:
        if config.urls:
            raise SpecError(
                "hf starts a process of its own, and takes no address",
                where="backend.url",
                remedy=f"--backend openai --url {config.urls[0]} for `transformers serve`",
            )
        self.model = config.model or models.TINY
        self.options: HfOptions = config.options
        self.timeouts = config.timeouts
        self.urls: tuple[str, ...] = (_NOT_STARTED,)
        self._seed = config.seed
        self._process: ServerProcess | None = None
        self._ready: dict[str, Any] = {}
        self._found: models.Found | None = None

    async def open(self) -> None:
        for package in _PACKAGES:
            if not _is_there(package):
                raise MissingExtra("hf", missing=package)
        loading.refuse_missing(self.options)
        self._found = await asyncio.to_thread(models.find, self.model, self.options.revision)
        if self._found is None:
            log.info("%s is not in the hub's cache: it is fetched now", one_line(self.model))
        await self._start()
        if self._found is None:
            self._found = await asyncio.to_thread(models.find, self.model, self.options.revision)
        self.urls = (self._ready["url"],)
        if self._found is not None:
            counting.serves(self.model, self._found.folder)

    async def effective(self) -> Effective:
        assert self._found is not None, "open comes first"
        ready, folder = storable(await self._facts()), self._found.folder
        on_gpu = any(not device.startswith("cpu") for device in ready["devices"])
        values, wrong = _read_back(self.options, ready)
        return Effective(
            server="transformers",
            server_version=f"transformers {ready['transformers']}, torch {ready['torch']}",
            model=self.model,
            model_digest=await asyncio.to_thread(models.digest, folder),
            context_length=whole_number(ready["context_length"]),
            layers_on_gpu=_layers_on_gpu(ready) if on_gpu else 0,
            size_bytes=ready["memory_bytes"],
            size_vram_bytes=ready["gpu_memory_bytes"],
            random_weights=models.random_weights(folder),
            options={name: getattr(self.options, name) for name in (*_SAMPLING, "api", *FIXED)},
            details={k: v for k, v in ready.items() if k not in ("url", "pid")},
            unknown=_unknown(self.options, ready, on_gpu),
            read_back=values,
            not_effective=wrong,
            parameters=ready["parameters"],
            quantization=ready["quantization"] or ready["dtype"],
            disk_bytes=models.disk_bytes(folder),
            load_ms=ready["load_ms"],
            location="local",
        )

    async def footprint(self) -> Footprint:
        found = await asyncio.to_thread(models.find, self.model, self.options.revision)
        return await asyncio.to_thread(footprint.predict, found, self.options)

    def prepare(self, request: Request) -> Exchange:
        for name in ("format", "tools"):
            if getattr(request, name):
                raise SpecError(
                    f"transformers alone has no `{name}`",
                    where=f"request.{name}",
                    remedy="a backend with a server that has: llamacpp, ollama, openai",
                )
        chosen = call_options(self.options, request.options)
        messages, prompt = _prompt(request, chosen)
        seed = request.seed if "seed" not in request.options else None
        own = self._seed if chosen.seed is None else chosen.seed
        body = {
            "messages": messages,
            "prompt": prompt,
            "max_tokens": request.max_tokens,
            "ignore_eos": request.ignore_eos,
            # torch takes 64 bits.
            "seed": (own if seed is None else seed) % 2**63,
            "stop": (request.stop if "stop" not in request.options else ()) or chosen.stop,
            **{name: getattr(chosen, name) for name in _SAMPLING},
        }
        return Exchange(
            url=f"{self.urls[0]}/generate",
            headers=_HEADERS,
            body=msgspec.json.encode(body),
            framing="ndjson",
        )

    def decode(self, request: Request, record: Record) -> Decoded:
        """A call that broke because the worker died says what it died of."""
        decoded = decode(record)
        return self._process.died_over(record, decoded) if self._process is not None else decoded

    async def close(self) -> None:
        if self._process is None:
            return
        if self._found is not None:
            counting.forget(self.model, self._found.folder)
        died = self._ready and not self._process.alive()
        await asyncio.to_thread(self._process.close)
        if died:
            log.error("the worker died while it was used: %s", self._process.last_words())

    async def models(self) -> list[ModelInfo]:
        return await asyncio.to_thread(models.known_models)

    async def unload(self) -> None:
        async with self._control() as control:
            answer = await control.ask("POST", "/unload", {}, answer_s=_UNLOAD_S)
        if answer.status != 200:
            raise BackendError(
                "the worker could not let the model go", where=self.urls[0], remedy=_RESTART
            )

    # ------------------------------------------------------------------------------------------

    def _control(self) -> ControlClient:
        return ControlClient(self.urls[0], self.timeouts, server="the hf worker")

    async def _facts(self) -> dict[str, Any]:
        """What the worker says now: a model that was unloaded was loaded anew since it began."""
        async with self._control() as control:
            answer = await control.ask("GET", "/facts")
        return self._ready | (json_object(answer.content) or {})

    async def _start(self) -> None:
        model = str(self._found.folder) if self._found is not None else self.model
        words = ["--model", model, "--options", fixed_options(self.options).decode()]
        limit_s = self.options.load_timeout_s
        try:
            self._process = ServerProcess(words, module="harness_hf.worker")
            ready = asyncio.wrap_future(self._process.ready)
            self._ready = await asyncio.wait_for(ready, limit_s)
        except ServerGoneError as error:
            what, remedy = _said(str(error))
            raise BackendError(
                f"the model cannot be served: {what}",
                where=one_line(self.model),
                remedy=remedy,
            ) from None
        except TimeoutError:
            raise BackendError(
                f"the model was not ready after {limit_s:g} s",
                where=one_line(self.model),
                remedy=f"-o load_timeout_s={limit_s * 4:g}",
            ) from None
        except OSError as error:
            raise BackendError(
                f"no process can be started: {error.strerror}",
                where="harness_hf.worker",
                remedy="harness doctor",
            ) from error


def _is_there(package: str) -> bool:
    """Without importing it: this process never does."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:
        return False


def _prompt(request: Request, options: HfOptions) -> tuple[list[dict[str, Any]] | None, str | None]:
    """(messages, None) for a chat, (None, prompt) for a bare prompt."""
    if request.prompt is not None:
        if options.api == "chat":
            return [{"role": "user", "content": request.prompt}], None
        return None, request.prompt
    if options.api == "completions":
        if [message.role for message in request.messages] != ["user"]:
            raise SpecError(
                "a completion takes one prompt, not a conversation",
                where="request.messages",
                remedy="-o api=auto",
            )
        return None, request.messages[0].content
    return [_message(message) for message in request.messages], None


def _message(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        said["tool_calls"] = list(message.tool_calls)
    if message.tool_call_id is not None:
        said["tool_call_id"] = message.tool_call_id
    return said


def _read_back(options: HfOptions, ready: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """(option → value it runs with, option → `asked …, runs …` where that is another)."""
    values: dict[str, Any] = {
        "dtype": ready["dtype"],
        "quantization": ready["quantization"] or "none",
        "attention": ready["attention"],
        "num_thread": ready["num_thread"],
        "device": ", ".join(ready["devices"]),
        "loop": options.loop,
        "batch": options.batch,
    }
    if ready["context_length"] is not None:
        values["num_ctx"] = ready["context_length"]
    asked = {
        # Of a quantised model the plain numbers left are the norms: their type is nobody's option.
        "dtype": options.dtype if options.quantization == "none" else "auto",
        "quantization": options.quantization if options.quantization != "none" else "auto",
        "attention": options.attention,
        "num_thread": options.num_thread or "auto",
        "num_ctx": "auto" if options.num_ctx is None else options.num_ctx,
    }
    wrong = {
        name: f"asked {wanted}, runs {values[name]}"
        for name, wanted in asked.items()
        if wanted != "auto" and name in values and values[name] != wanted
    }
    if options.device != "auto" and not _same_device(options.device, ready["devices"]):
        wrong["device"] = f"asked {options.device}, runs {values['device']}"
    return values, wrong


def _same_device(asked: str, runs: list[str]) -> bool:
    """`cuda` is the first of them."""
    return all(one == asked or (":" not in asked and one == f"{asked}:0") for one in runs)


def _layers_on_gpu(ready: dict[str, Any]) -> int | None:
    on_cpu = any(device.startswith("cpu") for device in ready["devices"])
    layers = ready["layers"]
    return layers if isinstance(layers, int) and not on_cpu else None


def _unknown(options: HfOptions, ready: dict[str, Any], on_gpu: bool) -> dict[str, str]:
    found = {f"options.{name}": _per_call(getattr(options, name)) for name in ("seed", "stop")}
    if ready["context_length"] is None:
        found["context_length"] = "the model's configuration does not say, and num_ctx was not set"
    if on_gpu and _layers_on_gpu(ready) is None:
        found["layers_on_gpu"] = "some are on the CPU: details.device_map says which"
    return found


def _per_call(own: Any) -> str:
    otherwise = "the run's" if own is None else "none" if own == () else repr(own)
    return f"set per call; {otherwise} where a call has none"


def _said(last_words: str) -> tuple[str, str]:
    """(what, remedy), from how the worker ended. A mistake that it found has a remedy with it."""
    _, mark, error = last_words.partition("; error: ")
    if not mark:
        return last_words, _remedy(last_words)
    what, _, remedy = error.rpartition(" (try: ")
    return (what, remedy.removesuffix(")")) if what else (error, _remedy(error))


def _remedy(words: str) -> str:
    """For the commonest reasons why a model is not loaded."""
    if "trust_remote_code" in words or "custom code" in words:
        return "-o trust_remote_code=true, if you trust whoever wrote it"
    if "OutOfMemory" in words or "MemoryError" in words or "allocate memory" in words:
        return "a smaller model, -o dtype=bfloat16, or -o quantization=bnb-nf4"
    return "harness doctor, or another model: harness models --backend hf"
