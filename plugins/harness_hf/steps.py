"""What comes of a step: its stamp first, then tokens, text, and a line for each request.

`Stamper` is what `generate` calls a streamer: it is given the prompt right before the prefill, then
the new tokens of every step once they are on the CPU, so after the GPU has made them. All that is
done here with them (text, a line of JSON, one write to a socket) stands between two steps, as it
does with transformers' own streamers; docs/hf.md says how long it takes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness_hf.jobs import Job
from harness_hf.pieces import Pieces

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from harness_hf.memory import Meter

__all__ = ["Row", "Stamper"]


class Row:
    """One sequence of a batch: the reply to one request."""

    def __init__(
        self,
        job: Job,
        prompt: list[int],
        pieces: Pieces,
        *,
        max_tokens: int,
        full_at_end: bool,
        ends: frozenset[int],
    ) -> None:
        """`full_at_end`: at `max_tokens` the context is full, which is not what was asked for.
        `ends`: the tokens that end a reply."""
        self.job = job
        self.prompt = prompt
        self.max_tokens = max_tokens
        self.full_at_end = full_at_end
        self.tokens = 0
        """Of the reply, without the one that ended it."""
        self.reason: str | None = None
        """Why it has ended: `stop`, `length`, `cancelled`. None: it has not."""
        self.first_ns = self.last_ns = 0
        self.generated = self.steps = 0
        self._pieces = pieces
        self._ends = ends

    @property
    def over(self) -> bool:
        return self.reason is not None

    def step(self, at_ns: int, ids: Sequence[int]) -> None:
        """Tokens that one step made. Nothing once it is `over`."""
        self.first_ns = self.first_ns or at_ns
        self.last_ns = at_ns
        self.steps += 1
        kept = self._kept(ids)
        self.tokens += len(kept)
        text = self._pieces.add(kept)
        if self._pieces.stopped:
            self.reason = "stop"
        if kept:
            self.job.answer.line({"t": at_ns, "n": len(kept), "text": text})
        if self.job.answer.gone and self.reason is None:
            self.reason = "cancelled"

    def end(self, server: dict[str, Any]) -> None:
        """The last line."""
        usage = {"prompt_tokens": len(self.prompt), "output_tokens": self.tokens}
        self.job.answer.line(
            {
                "t": self.last_ns,
                "text": self._pieces.rest(),
                "done": True,
                "finish_reason": self.reason,
                "usage": usage,
                "server": server,
            }
        )
        self.job.answer.end()

    def _kept(self, ids: Sequence[int]) -> list[int]:
        kept: list[int] = []
        for one in ids:
            self.generated += 1
            if one in self._ends:
                self.reason = "stop"
                break
            kept.append(one)
            if self.tokens + len(kept) >= self.max_tokens:
                self.reason = "length"
                break
        return kept


class Stamper:
    """Of one batch. `put` and `end` are what transformers calls."""

    def __init__(
        self,
        rows: Sequence[Row],
        meter: Meter,
        taken_ns: int,
        more: dict[str, Any],
        event: Callable[[], torch.cuda.Event] | None,
    ) -> None:
        """`taken_ns`: when the batch was taken from the queue. `more`: goes into every last line.
        `event`: makes one on the GPU's own clock, where there is a GPU."""
        self.rows = rows
        self._meter = meter
        self._taken_ns = taken_ns
        self._more = more
        self._event = event
        self._begun_ns = 0
        self._marks: list[torch.cuda.Event] = []
        """Prompt, first tokens, newest tokens."""

    def put(self, value: torch.Tensor) -> None:
        at_ns = time.monotonic_ns()
        self._mark()
        if not self._begun_ns:
            self._begun_ns = at_ns
            return
        found: list[Any] = value.tolist()
        # One token a sequence; or, of the only sequence, several.
        per_row = [[one] for one in found] if value.dim() == 1 else found
        for row, ids in zip(self.rows, per_row, strict=True):
            if not row.over:
                row.step(at_ns, ids)
                if row.over:
                    row.end(self._account(row))

    def end(self) -> None:
        """Whatever has not ended by now was cut off by `generate` itself."""
        for row in self.rows:
            if not row.over:
                row.reason = "length"
                row.end(self._account(row))

    def _mark(self) -> None:
        if self._event is None:
            return
        mark = self._event()
        mark.record()
        del self._marks[2:]
        self._marks.append(mark)

    def _account(self, row: Row) -> dict[str, Any]:
        told = {
            "queue_ns": self._taken_ns - row.job.received_ns,
            "prepare_ns": self._begun_ns - self._taken_ns - self._more.get("load_ns", 0),
            "prefill_ns": row.first_ns - self._begun_ns,
            "decode_ns": row.last_ns - row.first_ns,
            "prompt_tokens": len(row.prompt),
            "generated_tokens": row.generated,
            "steps": row.steps,
            "batch_size": len(self.rows),
            **self._more,
        }
        if row.full_at_end and row.reason == "length":
            told["context_full"] = True
        if len(self._marks) > 1:
            self._marks[-1].synchronize()
            told["prefill_cuda_ms"] = self._marks[0].elapsed_time(self._marks[1])
            told["decode_cuda_ms"] = self._marks[1].elapsed_time(self._marks[-1])
        return told | self._meter.peaks()
