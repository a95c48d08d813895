"""The server's token counts beside our own: a sample of calls, counted after their iteration.

Counting asks a plugin that knows the model's tokenizer, which may be the measured server itself.
So it waits until no call is under way and every instant of the iteration is taken, and is bounded
in number and in time. While calls run, all that happens is that a few of them are remembered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from harness._native.clock import monotonic_ns
from harness.engine.prompts import texts_of
from harness.schema import CallRecord, Request, TokenCheck
from harness.text import whole_number

__all__ = ["CALLS_MAX", "CallSample", "check_tokens"]

log = logging.getLogger("harness.engine")

CALLS_MAX: Final = 16
"""A server that cuts prompts, or counts wrongly, does so with a good part of them. Counting costs
about a millisecond per text."""
BUDGET_NS: Final = 2_000_000_000
"""Of an iteration, for all of its checks; long texts and slow tokenizers end it early."""


def _is_ok(record: CallRecord) -> bool:
    return record.status == "ok"


class CallSample:
    """At most `most` calls, `ok` ones unless others are `wanted`, spread evenly over the iteration;
    which ones does not depend on the order in which they end."""

    def __init__(
        self, most: int = CALLS_MAX, wanted: Callable[[CallRecord], bool] = _is_ok
    ) -> None:
        self._most = most
        self._wanted = wanted
        self._kept: dict[int, tuple[Request, CallRecord]] = {}
        self._stride = 1

    def offer(self, ordinal: int, request: Request, record: CallRecord) -> None:
        """`record` with its text, whatever the spec keeps of it."""
        if ordinal % self._stride or not self._wanted(record):
            return
        self._kept[ordinal] = (request, record)
        while len(self._kept) > self._most:
            self._stride *= 2
            self._kept = {o: kept for o, kept in self._kept.items() if o % self._stride == 0}

    def calls(self) -> list[tuple[Request, CallRecord]]:
        return [self._kept[ordinal] for ordinal in sorted(self._kept)]


def check_tokens(
    sample: CallSample, count_tokens: Callable[[str], int | None]
) -> tuple[TokenCheck, ...]:
    """One for each call that could be counted; none where nobody knows the model's tokenizer.
    Raises nothing: the iteration is measured, and no count of ours may take it back."""
    checks: list[TokenCheck] = []
    until_ns = monotonic_ns() + BUDGET_NS
    for request, record in sample.calls():
        if monotonic_ns() > until_ns:
            break
        try:
            check = _check(request, record, count_tokens)
        except Exception:  # a stranger's tokenizer
            log.debug("counting tokens raised", exc_info=True)
            break
        if check is None:
            break
        checks.append(check)
    return tuple(checks)


def _check(
    request: Request, record: CallRecord, count_tokens: Callable[[str], int | None]
) -> TokenCheck | None:
    prompt = _counted([text for _, text in texts_of(request)], count_tokens)
    if prompt is None:
        return None
    return TokenCheck(
        call_id=record.call_id,
        prompt_counted=prompt,
        prompt_reported=record.usage.prompt_tokens,
        output_counted=_counted(_output(record), count_tokens),
        output_reported=record.usage.output_tokens,
    )


def _output(record: CallRecord) -> list[str] | None:
    """What the model wrote; None where some of it is not text, or was counted and not shown."""
    hidden = record.usage.reasoning_tokens and not record.reasoning
    if record.tool_calls or record.text is None or hidden:
        return None
    return [text for text in (record.reasoning, record.text) if text]


def _counted(texts: list[str] | None, count_tokens: Callable[[str], int | None]) -> int | None:
    """Text by text: a template puts marks between messages, across which no token reaches."""
    if texts is None:
        return None
    counts = [whole_number(count_tokens(text)) for text in texts if text]
    known = [count for count in counts if count is not None]
    return whole_number(sum(known)) if len(known) == len(counts) else None
