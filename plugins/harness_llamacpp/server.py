"""A real llama.cpp server in a process of its own.

    python -m harness_llamacpp.server --model tiny --parallel 64 --num-ctx 1024

prints one line of JSON ({"url": …, "pid": …, "load_s": …, …}) when it is ready to answer, and
serves until its standard input ends (Ctrl-D; or when the program that holds the other end of the
pipe goes away, however that happens), or for ever with --forever. The `llamacpp` backend starts it
the same way, with --parent, and then holds nothing but the pipe.

A process of its own, because the engine must not share an interpreter lock, a heap or a crash with
the client that measures it. Loopback only, on a port that the kernel picks, so none can be taken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness import lifeline
from harness.errors import HarnessError, MissingExtra
from harness.serverprocess import default_threads, take_stdout
from harness_llamacpp import models
from harness_llamacpp.options import MAX_PARALLEL, LlamaCppOptions

if TYPE_CHECKING:
    import xllamacpp

__all__ = ["EXIT_ENGINE", "EXIT_USAGE", "main"]

EXIT_USAGE: Final = 2
EXIT_ENGINE: Final = 3
"""The engine refused: its own words are on standard error."""

_WARNINGS_AND_ERRORS = 2  # llama.cpp's verbosity; 3 logs seven lines a request
_MICRO_BATCH = 512
_SPARE_HTTP_THREADS = 256


def main(arguments: Sequence[str] | None = None) -> int:
    settings = _parser().parse_args(arguments)
    announce = take_stdout()
    if settings.parent:
        lifeline.die_with_parent(settings.parent)
    try:
        path = models.find(settings.model)
        started = time.monotonic()
        server, facts = _start(settings, path)
    except HarnessError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USAGE
    except RuntimeError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_ENGINE
    load_s = round(time.monotonic() - started, 6)
    ready = {"url": server.listening_address, "pid": os.getpid(), "load_s": load_s, **facts}
    parent = lifeline.watch(settings.parent) if settings.parent else None
    announce.write(json.dumps(ready) + "\n")
    announce.flush()
    with contextlib.suppress(KeyboardInterrupt):
        lifeline.wait(parent, forever=settings.forever)
    sys.stderr.flush()
    # Not by way of the server's destructor, which waits for streams whose reader may be gone.
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    default = LlamaCppOptions()
    parser = argparse.ArgumentParser(
        prog="python -m harness_llamacpp.server",
        description="Serve a GGUF model with llama.cpp on loopback until standard input ends.",
    )
    add = parser.add_argument
    add("--model", default=models.TINY, help="`tiny`, a .gguf file, or a name in the model cache")
    add("--alias", help="the name that the server gives the model (default: --model)")
    add("--port", type=int, default=0, help="0: a free one (default)")
    add("--num-ctx", type=int, default=default.num_ctx, help="tokens of context per slot")
    add("--parallel", type=int, default=default.parallel, help=f"slots, 1 to {MAX_PARALLEL}")
    add("--num-thread", type=int, default=0, help="0: physical cores less one (default)")
    add("--num-batch", type=int, default=default.num_batch, help="prompt tokens per step")
    add("--num-gpu", type=int, default=-1, help="layers on the GPU; -1: as many as fit (default)")
    add("--flash-attn", choices=("auto", "on", "off"), default="auto")
    add("--cache-prompt", action="store_true", help="slots keep prefixes between requests")
    add("--forever", action="store_true", help="do not look at standard input")
    add("--parent", type=int, default=0, help="also end with this process, our parent")
    return parser


def _start(settings: argparse.Namespace, path: Path) -> tuple[xllamacpp.Server, dict[str, Any]]:
    """Load the model and open the port. RuntimeError if the engine refuses."""
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingExtra("llamacpp", missing="xllamacpp") from error
    params = _params(settings, path)
    server = xllamacpp.Server(params)  # returns when the model is loaded and the port is open
    devices = xllamacpp.get_device_info()
    return server, {
        "model_path": os.fspath(path),
        "xllamacpp": xllamacpp.__version__,
        "build": dict(xllamacpp.BUILD_INFO),
        "system": xllamacpp.get_system_info().strip(" |"),
        "devices": [_inert(device) for device in devices],
        "num_thread": params.cpuparams.n_threads,
        "http_threads": params.n_threads_http,
    }


def _params(settings: argparse.Namespace, path: Path) -> xllamacpp.CommonParams:
    import xllamacpp

    flash = xllamacpp.llama_flash_attn_type
    params = xllamacpp.CommonParams()
    params.model.path = os.fspath(path)
    params.model_alias = {settings.alias or settings.model}
    params.hostnames = ["127.0.0.1"]
    params.port = settings.port
    # No page in a browser has any business here.
    params.cors_origins, params.cors_origins_explicit = "", True
    params.n_parallel = settings.parallel
    params.n_ctx = settings.num_ctx * settings.parallel
    params.n_batch = settings.num_batch
    params.n_ubatch = min(settings.num_batch, _MICRO_BATCH)
    params.n_gpu_layers = settings.num_gpu
    # The engine's own fitting may move layers, so it only has a say where none were asked for.
    params.fit_params = settings.num_gpu < 0
    params.flash_attn_type = {
        "auto": flash.LLAMA_FLASH_ATTN_TYPE_AUTO,
        "on": flash.LLAMA_FLASH_ATTN_TYPE_ENABLED,
        "off": flash.LLAMA_FLASH_ATTN_TYPE_DISABLED,
    }[settings.flash_attn]
    params.cpuparams.n_threads = settings.num_thread or default_threads()
    # A kept-alive connection holds one of these for as long as it lives; they sleep and cost
    # little, but one too few is a request that waits where no server timing shows it.
    params.n_threads_http = settings.parallel + _SPARE_HTTP_THREADS
    params.cache_prompt = settings.cache_prompt
    if not settings.cache_prompt:
        params.cache_ram_mib = 0
        params.cache_idle_slots = False
    params.verbosity = _WARNINGS_AND_ERRORS
    return params


def _inert(device: dict[str, Any]) -> dict[str, Any]:
    """What of a device description says what it is; free memory differs from minute to minute."""
    kind = getattr(device["type"], "name", str(device["type"])).rsplit("_", 1)[-1]
    named = {key: device[key] for key in ("name", "description", "memory_total")}
    return {**named, "type": kind}


if __name__ == "__main__":
    sys.exit(main())
