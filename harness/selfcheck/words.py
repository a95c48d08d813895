"""What a check means, in sentences: the error, whether it matters, what limits it, what next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from harness.report.figures import number
from harness.schema import SelfCheckLoad
from harness.selfcheck.found import Check, Highest, LoadFound

__all__ = ["duration", "sentences"]

GAP_NS: Final = 10_000_000
"""100 tokens a second: what an error is small against."""
SMALL: Final = 0.01
"""Of the gap. An error up to there moves no figure that a reader would act on."""

BUSY: Final = 0.5
"""Load average per core from which a core of one's own is not to be had."""


def duration(value_ns: float | None) -> str:
    if value_ns is not None and abs(value_ns) >= 1e6:
        return f"{number(value_ns / 1e6, 3)} ms"
    return f"{number(None if value_ns is None else value_ns / 1e3, 2)} µs"


def sentences(check: Check) -> Iterator[str]:
    """In the order of their weight."""
    for sentence in _sentences(check):
        yield sentence.replace(" %", "%")  # or a line may be broken between the two


def _sentences(check: Check) -> Iterator[str]:
    paced = [one for one in check.loads if one.figures.rate_tok_s is not None]
    cited = [one for one in paced if one.figures.first_token_p99_ns is not None]
    held = [one for one in cited if one.figures.held] or cited
    if held:
        yield from _error(max(held, key=lambda one: one.figures.streams))
    yield from _lag([one for one in paced if one.figures.held] or paced)
    for one in paced:
        if not one.figures.held:
            yield f"{one.name}: not held, so read its row with care. {'; '.join(one.slipped)}."
    if len(paced) < len(check.loads):
        yield (
            "Flat out, chunks are read together by design: the row's errors are upper bounds, and "
            "its merged share says nothing of this machine."
        )
    yield from _highest("chunks", check.chunk_rate, " in paced streams")
    if check.request_rate.steps:
        yield from _highest("requests", check.request_rate)
    if check.selfcheck.mode == "quick":
        yield from _steps(check)
    yield from _conditions(check)


def _steps(check: Check) -> Iterator[str]:
    """What was tried: between two steps there is more that would have been held."""
    searched = {"chunks": check.chunk_rate, "requests": check.request_rate}
    tried = [
        f"{', '.join(f'{per_s:,.0f}' for per_s in sorted({s.per_s for s in one.steps}))} {what}"
        for what, one in searched.items()
        if len(one.steps) > 1
    ]
    if tried:
        yield (
            f"The steps that were tried: {'; '.join(tried)} per second. The full check goes on "
            "between them."
        )


def _error(most: LoadFound) -> Iterator[str]:
    """Of the most streams that a p99 is known for, which are the hardest."""
    figures = most.figures
    p99_ns = figures.first_token_p99_ns or 0.0
    yield (
        f"With {_streams(figures)} the first-token stamp was off by "
        f"{duration(figures.first_token_p50_ns)} in the median, and by no more than "
        f"{duration(p99_ns)} in 99 of 100 calls (n = {figures.calls}). {_weight(p99_ns)}"
    )
    if most.send.p50_ns is not None and figures.first_token_p50_ns is not None:
        yield (
            f"A send of the server's took {duration(most.send.p50_ns)} (median, p99 "
            f"{duration(most.send.p99_ns)}), and the error counts from its beginning: the send "
            "itself is a part of it."
        )
    below_ns = min(most.first_token.min_ns or 0.0, most.chunks.min_ns or 0.0)
    if below_ns < 0:
        yield (
            f"Some stamps lie before their send, by up to {duration(-below_ns)}: the kernel's "
            "clock was mapped wrongly by that much."
        )
    if figures.kernel_share < 1.0:
        yield (
            f"{1 - figures.kernel_share:.1%} of the first-token stamps are user-space ones: the "
            "client's own delay is in them."
        )


def _weight(error_ns: float) -> str:
    share = error_ns / GAP_NS
    if share <= SMALL:
        return f"That is {share:.2%} of the 10 ms between two tokens: it moves no figure."
    return f"That is {share:.0%} of the 10 ms between two tokens: mind it in small differences."


def _lag(paced: list[LoadFound]) -> Iterator[str]:
    known = [one.figures for one in paced if one.figures.client_lag_p99_ns is not None]
    if known:
        worst = max(known, key=lambda one: one.client_lag_p99_ns or 0.0)
        yield (
            f"This process read chunks up to {duration(worst.client_lag_p99_ns)} late (p99, "
            f"{_streams(worst)}). The kernel's stamps leave that out; stamps taken in user space, "
            "as with TLS, would have it in them."
        )


def _highest(what: str, found: Highest, how: str = "") -> Iterator[str]:
    if found.per_s is None:
        first = found.steps[0] if found.steps else None
        if first is not None:
            yield (
                f"No rate of {what}{how} was held, not even {first.per_s:,.0f}/s: "
                f"{'; '.join(first.slipped)}."
            )
        return
    above = [step for step in found.steps if not step.held and step.per_s > found.per_s]
    if above:
        next_ = min(above, key=lambda step: step.per_s)
        tail = f"; not {next_.per_s:,.0f}: {'; '.join(next_.slipped)}."
    else:
        tail = ", the most that was tried."
    yield f"Held without slip: {found.per_s:,.0f} {what} per second{how}{tail}"


def _conditions(check: Check) -> Iterator[str]:
    machine = check.machine
    if check.left_out:
        yield (
            f"Left out, as the limit on open files is too low (ulimit -Hn): "
            f"{', '.join(check.left_out)}."
        )
    if not machine.server_cores:
        yield (
            "There is one core alone: server and client took turns on it, so that lags and rates "
            "are those of both."
        )
    elif machine.realtime is None:
        yield "It is not known whether the server had real-time priority."
    elif not machine.realtime:
        yield (
            "The server had no real-time priority (it takes root or CAP_SYS_NICE): other programs "
            "may have delayed its sends, and a send that was interrupted looks like an error."
        )
    if machine.load_average is not None and machine.load_average > BUSY * machine.cores:
        yield (
            f"Other programs were busy (load average {machine.load_average:.1f} on "
            f"{machine.cores} cores): these are figures of a busy machine. When it is quiet, try "
            "again."
        )
    lost = [one for one in check.loads if one.unnamed or one.unequal]
    for one in lost:
        yield (
            f"{one.name}: {one.unnamed} calls are not in the server's log, {one.unequal} have "
            "another number of chunks than were sent; they are left out."
        )


def _streams(figures: SelfCheckLoad) -> str:
    plural = "" if figures.streams == 1 else "s"
    pace = "flat out" if figures.rate_tok_s is None else f"of {figures.rate_tok_s:g} tok/s"
    return f"{figures.streams:,} stream{plural} {pace}"
