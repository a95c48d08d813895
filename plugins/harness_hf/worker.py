"""The process that the model is in.

    python -m harness_hf.worker --model tiny

loads it, prints one line of JSON ({"url": …, "pid": …, "load_ms": …, …}) when it is ready to
answer, and serves until its standard input ends (or whoever holds the other end of that pipe goes
away, however that happens), or for ever with --forever. The `hf` backend starts it the same way.

A process of its own, so that the model shares no interpreter lock with the client that measures it,
its memory is returned when it ends, and a crash is that of a trial.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from harness import lifeline
from harness.errors import HarnessError
from harness.serverprocess import default_threads, take_stdout
from harness.text import one_line
from harness_hf import models
from harness_hf.engine import Engine, is_out_of_memory
from harness_hf.jobs import Job, Jobs, Order
from harness_hf.options import HfOptions
from harness_hf.serving import Server, Stream

__all__ = ["EXIT_DEVICE", "EXIT_LIBRARY", "EXIT_USAGE", "main"]

EXIT_USAGE: Final = 2
EXIT_LIBRARY: Final = 3
"""torch or transformers refused: their own words are on standard error."""
EXIT_DEVICE: Final = 4
"""The GPU is in a state that only a new process can leave."""


def main(arguments: Sequence[str] | None = None) -> int:
    settings = _parser().parse_args(arguments)
    announce = take_stdout()
    if settings.parent:
        lifeline.die_with_parent(settings.parent)
    try:
        engine, facts = _loaded(settings)
    except HarnessError as error:
        return _failed(EXIT_USAGE, str(error))
    except Exception as error:  # a library's, of any kind
        return _failed(EXIT_LIBRARY, _words(error))
    work = _Work(engine)
    server = Server(work.jobs.put, work.jobs.order, lambda: engine.facts, settings.port)
    server.start()
    parent = lifeline.watch(settings.parent) if settings.parent else None
    announce.write(json.dumps({"url": server.url, "pid": os.getpid(), **facts}) + "\n")
    announce.flush()
    watch = threading.Thread(target=_end_with, args=(parent, settings.forever), daemon=True)
    watch.start()
    with contextlib.suppress(KeyboardInterrupt):
        work.forever()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness_hf.worker",
        description="Serve a model with transformers on loopback until standard input ends.",
    )
    add = parser.add_argument
    add("--model", default=models.TINY, help="`tiny`, a folder, or a hub id")
    add("--options", default="{}", metavar="JSON", help="those that are fixed when it is loaded")
    add("--port", type=int, default=0, help="0: a free one (default)")
    add("--forever", action="store_true", help="do not look at standard input")
    add("--parent", type=int, default=0, help="also end with this process, our parent")
    return parser


def _loaded(settings: argparse.Namespace) -> tuple[Engine, dict[str, Any]]:
    """The engine, ready, and what it is. HarnessError, and whatever the libraries raise."""
    try:
        options = msgspec.json.decode(settings.options, type=HfOptions)
    except msgspec.DecodeError as error:
        raise HarnessError(str(error), where="--options") from None
    threads = options.num_thread or default_threads()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    began_ns = time.monotonic_ns()
    found = models.fetched(settings.model, options.revision)
    guess = options.assistant
    helper = models.fetched(guess, None) if guess is not None else None
    fetched_ns = time.monotonic_ns()
    torch, transformers = _libraries()
    torch.set_num_threads(threads)
    imported_ns = time.monotonic_ns()
    engine = Engine(str(found.folder), options, str(helper.folder) if helper else None)
    engine.load()
    engine.warm_up()
    return engine, {
        **engine.facts,
        "folder": str(found.folder),
        "commit": found.commit,
        "fetch_ms": (fetched_ns - began_ns) / 1e6,
        "import_ms": (imported_ns - fetched_ns) / 1e6 + engine.facts["import_ms"],
        "num_thread": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "transformers": transformers.__version__,
    }


def _libraries() -> tuple[Any, Any]:
    import torch
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return torch, transformers


class _Work:
    """What the model's thread does, one thing after another."""

    def __init__(self, engine: Engine) -> None:
        self.jobs = Jobs(engine.options.batch, engine.options.batch_wait_ms)
        self._engine = engine

    def forever(self) -> None:
        while True:
            found = self.jobs.take()
            if isinstance(found, Order):
                found.said.put(self._unload())
            else:
                self._answer(found)

    def _unload(self) -> str:
        """Why the model is not out of memory; empty if it is."""
        try:
            self._engine.unload()
        except HarnessError as error:
            return str(error)
        return ""

    def _answer(self, batch: list[Job]) -> None:
        try:
            self._engine.run(batch)
        except Exception as error:  # a library's: it ends these requests, and no more than these
            code = "out_of_memory" if is_out_of_memory(error) else "engine"
            words = _words(error)
            _say(words)
            if "CUDA error" in words:
                os._exit(EXIT_DEVICE)  # nothing works any more after one, and nothing says so
            _fail(batch, code, words)
            del error
            _let_go()


def _fail(batch: list[Job], code: str, words: str) -> None:
    for job in batch:
        if isinstance(job.answer, Stream):
            job.answer.fail(code, words)


def _let_go() -> None:
    """What the request that failed had taken of a GPU."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _words(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}", 500)


def _say(words: str) -> None:
    sys.stderr.write(f"error: {words}\n")
    sys.stderr.flush()


def _failed(status: int, words: str) -> int:
    _say(words)
    return status


def _end_with(parent: int | None, forever: bool) -> None:
    lifeline.wait(parent, forever=forever)
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
