"""What is tried: numbers of streams, and rates to be held. One place for every choice of size.

GAP_MS      100 tokens a second and stream, what the peers are usually measured with
TTFT        spread over one gap, so that the streams' chunks are not all due at the same instant
settle_ms   on top, for the server to make all answers before the first is due (a request's prompt
            is as long as that takes; docs/sim.md, prefill_tok_s)

Calls: a p99 needs n = 100. So 16 streams and more make at least 112 calls even in the quick check;
one stream cannot in its second, and says so. None has fewer than TOKENS_MIN tokens: in shorter ones
what happens at either end of a call would weigh more than what happens within.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

__all__ = ["FLAT_OUT", "GAP_MS", "PACED", "Load", "Plan", "plan_for"]

GAP_MS: Final = 10.0
TOK_S: Final = 1e3 / GAP_MS

TOKENS_MIN: Final = 32

_SETTLE: Final = "--set=prefill_tok_s=1000"
_ROOM: Final = "--set=context_length=1000000"
PACED: Final = (f"--ttft=uniform:2,{2 + GAP_MS:g}", f"--gap={GAP_MS:g}", _SETTLE, _ROOM)
"""Options of `harness sim` for loads with a rate …"""
FLAT_OUT: Final = ("--ttft=0", "--gap=0", _SETTLE, _ROOM)
"""… and for those without. Both: `--dialect vllm`, the OpenAI stream that most servers speak."""


class Load(Struct, frozen=True, kw_only=True):
    """One closed loop of equal calls."""

    streams: int
    requests: int
    tokens: int
    rate_tok_s: float | None = TOK_S
    """Per stream; None: as fast as the server can."""
    repeats: int = 1
    """How often it is done, all together being one sample."""

    @property
    def settle_ms(self) -> int:
        """Room for the answers of all streams to be made, at some 2 µs a chunk and 150 µs each,
        on a core that others may use as well."""
        return min(2_000, max(1, round(self.streams * (0.3 + 0.004 * self.tokens))))

    @property
    def name(self) -> str:
        pace = "flat out" if self.rate_tok_s is None else f"x {self.rate_tok_s:g} tok/s"
        return f"{self.streams} stream{'' if self.streams == 1 else 's'} {pace}"


class Plan(Struct, frozen=True, kw_only=True):
    """A whole check."""

    mode: Literal["quick", "full"]
    loads: tuple[Load, ...]
    request_rates: tuple[float, ...] = ()
    """Requests per second, tried in turn until one is not held."""
    request_s: float = 0.4
    """How long each is tried."""
    bisect: bool = False
    """Whether the highest rates are searched between what was held and what was not."""


def plan_for(mode: Literal["quick", "full"], streams: tuple[int, ...] = ()) -> Plan:
    """`streams`: only these numbers, and no search for the highest rates."""
    make = _quick if mode == "quick" else _full
    if streams:
        return Plan(mode=mode, loads=tuple(make(number) for number in sorted(set(streams))))
    if mode == "quick":
        return Plan(
            mode=mode,
            loads=(*map(make, (1, 16, 64, 256, 1000)), _flat_out(32, tokens=4_000)),
            request_rates=(500, 1_000, 2_000, 4_000),
        )
    return Plan(
        mode=mode,
        loads=(*map(make, (1, 4, 16, 64, 256, 1000)), _flat_out(64, tokens=8_000)),
        request_rates=(500, 1_000, 2_000, 4_000, 8_000, 16_000),
        request_s=1.5,
        bisect=True,
    )


def _quick(streams: int) -> Load:
    """Within one to three seconds."""
    if streams < 16:
        return Load(streams=streams, requests=4 * streams, tokens=TOKENS_MIN)
    rounds = -(-112 // streams)
    return Load(streams=streams, requests=rounds * streams, tokens=max(TOKENS_MIN, 48 // rounds))


def _full(streams: int) -> Load:
    """n ≥ 300 first tokens; with fewer than 3 streams 100, or it would take minutes."""
    if streams < 16:
        requests = min(304, max(104, 76 * streams))
        return Load(streams=streams, requests=requests, tokens=TOKENS_MIN)
    rounds = max(1, -(-112 // streams))
    return Load(streams=streams, requests=rounds * streams, tokens=48, repeats=3)


def _flat_out(streams: int, *, tokens: int) -> Load:
    return Load(streams=streams, requests=streams, tokens=tokens, rate_tok_s=None)
