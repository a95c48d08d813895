"""A model, loaded: batches of requests in, steps out.

Everything here runs in one thread, the worker's main one: graphs that torch captured belong to the
thread that did it, and two generations at once would only measure each other.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from harness.errors import BackendError
from harness.text import one_line
from harness_hf.jobs import Ask, Job
from harness_hf.loading import (
    chat_template,
    devices,
    import_for,
    load_model,
    load_tokenizer,
    read_back,
)
from harness_hf.loops import Prepared, by_generate, by_own_loop
from harness_hf.memory import Meter
from harness_hf.options import HfOptions
from harness_hf.pieces import Pieces
from harness_hf.steps import Row, Stamper

if TYPE_CHECKING:
    import torch

__all__ = ["Engine", "is_out_of_memory"]

_WARMUP_TOKENS: Final = 8
_WARMUP_PROMPT: Final = "The quick brown fox jumps over the lazy dog."


class _RefusedError(Exception):
    """A request that cannot be computed; the message is for its sender."""


class Engine:
    """One model in one folder. `load` comes first."""

    def __init__(self, folder: str, options: HfOptions, assistant: str | None = None) -> None:
        self.options = options
        self.facts: dict[str, Any] = {}
        self._folder = folder
        self._assistant_folder = assistant
        self._template = None if options.chat_template == "off" else chat_template(options)
        self._model: Any = None
        self._tokenizer: Any = None
        self._assistant: Any = None
        self._meter: Meter
        self._context: int | None = None
        self._ends: tuple[int, ...] = ()
        self._pad = 0

    def load(self) -> None:
        """The model and its tokenizer; `facts` says what they are."""
        began_ns = time.monotonic_ns()
        if self._tokenizer is None:
            import_for(self._folder, self.options)
            self.facts["import_ms"] = (time.monotonic_ns() - began_ns) / 1e6
            began_ns = time.monotonic_ns()
            self._tokenizer = load_tokenizer(self._folder, self.options)
        self._model = load_model(self._folder, self.options)
        if self._assistant_folder is not None:
            self._assistant = load_model(self._assistant_folder, self.options)
        placed = devices(self._model)
        _wait_for(placed)
        self._meter = Meter(placed)
        self.facts |= read_back(self._model)
        self._context = _context(self.options.num_ctx, self.facts["context_model"])
        self._ends, self._pad = self._marks()
        self.facts |= {
            "context_length": self._context,
            "chat_template": bool(self._template or self._tokenizer.chat_template),
            "load_ms": (time.monotonic_ns() - began_ns) / 1e6,
        }

    def warm_up(self) -> None:
        """So that nothing is done for the first time in a call that is measured."""
        took_ms = []
        for _ in range(self.options.warmup):
            began_ns = time.monotonic_ns()
            ask = Ask(prompt=_WARMUP_PROMPT, max_tokens=_WARMUP_TOKENS, ignore_eos=True)
            answer = _Nobody()
            self.run([Job(ask, answer)])
            if answer.error:
                raise BackendError(f"warming up failed: {answer.error}", where=self._folder)
            took_ms.append((time.monotonic_ns() - began_ns) / 1e6)
        self.facts["warmup_ms"] = took_ms

    def unload(self) -> None:
        """Let the model go. BackendError if something still holds it."""
        import weakref

        import torch

        left = weakref.ref(self._model) if self._model is not None else lambda: None
        self._model = self._assistant = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if left() is not None:
            raise BackendError("the model is still in memory after it was let go", where="unload")

    def run(self, jobs: Sequence[Job]) -> None:
        """Answer them. Raises what torch raises; the caller says so to those that still wait."""
        import torch

        taken_ns = time.monotonic_ns()
        more: dict[str, Any] = {}
        if self._model is None:
            self.load()
            more["load_ns"] = time.monotonic_ns() - taken_ns
        rows = [row for job in jobs if (row := self._row(job)) is not None]
        if not rows:
            return
        self._meter.begin()
        placed = self._model.device
        stamper = Stamper(rows, self._meter, taken_ns, more, _events(placed))
        ids, mask = self._padded([row.prompt for row in rows], placed)
        torch.manual_seed(jobs[0].ask.seed)
        batch = Prepared(
            model=self._model,
            ids=ids,
            mask=mask,
            ends=self._ends,
            pad=self._pad,
            ask=rows[0].job.ask,
            more=self._more(),
            assistant=self._assistant,
        )
        with torch.inference_mode():
            (by_own_loop if self.options.loop == "own" else by_generate)(batch, stamper)
        stamper.end()

    def tokens(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    # ------------------------------------------------------------------------------------------

    def _row(self, job: Job) -> Row | None:
        """None: it was refused, or nobody waits for it any more."""
        ask = job.ask
        if job.answer.gone:
            job.answer.end()
            return None
        try:
            prompt = self._encoded(ask)
            room = self._room(prompt)
        except _RefusedError as error:
            job.answer.refuse(400, str(error))
            job.answer.end()
            return None
        wanted = room if ask.max_tokens is None else min(ask.max_tokens, room)
        return Row(
            job,
            prompt,
            Pieces(self._text, ask.stop),
            max_tokens=wanted,
            full_at_end=ask.max_tokens is None or wanted < ask.max_tokens,
            ends=frozenset() if ask.ignore_eos else frozenset(self._ends),
        )

    def _encoded(self, ask: Ask) -> list[int]:
        if ask.messages is None:
            return self._whole(ask.prompt or "")
        if self.options.chat_template == "off":
            return self._whole("\n".join(str(one.get("content", "")) for one in ask.messages))
        if not self.facts["chat_template"]:
            raise _RefusedError(
                "the model has no chat template (try: -o chat_template=off, or a template)"
            )
        from jinja2 import TemplateError

        try:
            found = self._tokenizer.apply_chat_template(
                ask.messages,
                chat_template=self._template,
                add_generation_prompt=True,
                return_dict=True,
                **ask.template_options,
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise _RefusedError(f"the chat template refuses this: {one_line(str(error))}") from None
        return list(found["input_ids"])

    def _whole(self, text: str) -> list[int]:
        return list(self._tokenizer(text)["input_ids"])

    def _room(self, prompt: list[int]) -> int:
        """Tokens of the context that are left for the reply."""
        if not prompt:
            raise _RefusedError("the prompt is empty: there is nothing to go on from")
        if self._context is None:
            return 1 << 20
        if len(prompt) >= self._context:
            raise _RefusedError(
                f"the prompt has {len(prompt)} tokens, and the context holds {self._context} "
                "(nothing is cut; try: a larger num_ctx, or a shorter prompt)"
            )
        return self._context - len(prompt)

    def _text(self, ids: list[int]) -> str:
        return str(
            self._tokenizer.decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def _padded(self, prompts: list[list[int]], device: torch.device) -> tuple[Any, Any]:
        """On the left, so that every sequence's newest token is in the last column."""
        import torch

        longest = max(map(len, prompts))
        ids = [[self._pad] * (longest - len(one)) + one for one in prompts]
        mask = [[0] * (longest - len(one)) + [1] * len(one) for one in prompts]
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _marks(self) -> tuple[tuple[int, ...], int]:
        """(tokens that end a reply, the one to pad with)"""
        own = self._model.generation_config
        found = own.eos_token_id if own.eos_token_id is not None else self._tokenizer.eos_token_id
        ends = tuple(found) if isinstance(found, list | tuple) else (found,)
        ends = tuple(one for one in ends if one is not None)
        pads = (own.pad_token_id, self._tokenizer.pad_token_id, *ends, 0)
        return ends, next(one for one in pads if one is not None)

    def _more(self) -> dict[str, Any]:
        """What GenerationConfig is told beside lengths and sampling."""
        found: dict[str, Any] = {"disable_compile": not self.options.compile}
        if self.options.cache != "dynamic":
            found["cache_implementation"] = self.options.cache
        if self.options.prompt_lookup:
            found["prompt_lookup_num_tokens"] = self.options.prompt_lookup
        if self.options.compile:
            from transformers import CompileConfig

            found["compile_config"] = CompileConfig()
            # Else a CPU has a static cache and nothing compiled, whatever was asked.
            found["compile_config"]._compile_all_devices = True
        return found


class _Nobody:
    """Who asks for a warm-up."""

    gone = False
    error = ""

    def refuse(self, status: int, message: str) -> None:
        self.error = message

    def line(self, content: object) -> None:
        """Nobody reads it."""

    def end(self) -> None:
        """Nobody waits for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Of a device, or of the machine."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _context(asked: int | None, model: int | None) -> int | None:
    """The effective one; None: neither says."""
    known = [one for one in (asked, model) if one is not None]
    return min(known) if known else None


def _events(device: torch.device) -> Any:
    if device.type != "cuda":
        return None
    import torch

    return lambda: torch.cuda.Event(enable_timing=True)


def _wait_for(placed: list[torch.device]) -> None:
    """Until what was begun there is done: else a load would seem shorter than it is."""
    import torch

    for device in placed:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
