"""What a call, an agent's run and a pair of the legacy forms come to as metrics: their figures as
`legacy_…` or, where it is clear what was measured, under plain names; and ours, derived from those.

Their `speedup` is (A + B) / wall, of two agents that ran at once: a ratio of balance between 1 and
2, whatever the server did. It is `legacy_speedup`, and once more, recomputed, `load_balance_ratio`.
Nobody ran the agents one after another, so there is no speed-up here; `agents_throughput_tok_s`,
the tokens of both over the wall time, is what a run where they did can be held against.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, Literal

from harness.schema import MetricValue
from harness_agents.legacy.records import LegacyAgent, LegacyCall, LegacyPair, Ttft
from harness_agents.legacy.sums import (
    CONTENTION_BELOW,
    RATE,
    TOKENS,
    TTFT,
    load_ms_of,
    minus,
    over,
    rate_of,
    ratio,
    sequential_s_of,
    times,
    tokens_of,
    total,
    ttft_of,
)

__all__ = [
    "agent_figures",
    "bounds_of",
    "call_figures",
    "pair_figures",
]

OWN_NAME: Final[dict[Ttft, str]] = {
    "measured": "ttft_ms",
    "load+prompt": "load_and_prompt_ms",
    "prompt": "prompt_eval_ms",
}
Better = Literal["lower", "higher", "neither"]


class _Figures:
    """Collects metrics; what is unknown is left out."""

    def __init__(self) -> None:
        self.found: list[MetricValue] = []

    def has(self, name: str, value: float | None, unit: str, better: Better = "neither") -> None:
        self._add(name, value, unit, better, "imported")

    def follows(
        self, name: str, value: float | None, unit: str, better: Better = "neither"
    ) -> None:
        self._add(name, value, unit, better, "derived")

    def _add(
        self,
        name: str,
        value: float | None,
        unit: str,
        better: Better,
        provenance: Literal["imported", "derived"],
    ) -> None:
        if value is not None and math.isfinite(value):
            self.found.append(
                MetricValue(
                    name=name, value=float(value), unit=unit, better=better, provenance=provenance
                )
            )


# ---- figures


def call_figures(call: LegacyCall, ttft: Ttft) -> tuple[MetricValue, ...]:
    made = _Figures()
    made.has("legacy_throughput_tok_s", call.throughput_tok_s, "tok/s", "higher")
    made.has("legacy_ttft_ms", call.ttft_ms, "ms", "lower")
    own = OWN_NAME.get(ttft)
    if own:
        made.has(own, call.ttft_ms, "ms", "lower")
    made.has("generated_tokens", call.tokens, "tok")
    made.has("prompt_chars", call.prompt_chars, "characters")
    if call.failed and not call.tokens:
        return tuple(made.found)  # the server's figures were to come in the line that never came
    made.has(
        "call_ms" if ttft in ("measured", "late") else "server_ms", call.total_ms, "ms", "lower"
    )
    made.has("load_ms", call.load_ms, "ms", "lower")
    if own != "prompt_eval_ms":
        made.has("prompt_eval_ms", call.prompt_ms, "ms", "lower")
    made.has("eval_ms", call.eval_ms, "ms", "lower")
    if ttft == "measured":
        accounted = total(call.load_ms, call.prompt_ms)
        made.follows("load_and_prompt_ms", accounted, "ms", "lower")
        made.follows("queue_residual_ms", minus(call.ttft_ms, accounted), "ms", "lower")
    return tuple(made.found)


def agent_figures(agent: LegacyAgent, ttft: Ttft) -> tuple[MetricValue, ...]:
    """Of one run of one agent that worked alone."""
    made = _Figures()
    told = agent.told.figures
    made.has("legacy_run_throughput_tok_s", told.get(RATE), "tok/s", "higher")
    made.has("legacy_run_ttft_ms", told.get(TTFT), "ms", "lower")
    if ttft in OWN_NAME:
        made.has(f"run_{OWN_NAME[ttft]}", told.get(TTFT), "ms", "lower")
    made.has("legacy_run_total_ms", told.get("total_duration_ms"), "ms", "lower")
    if TOKENS in told:
        made.has("run_tokens", told[TOKENS], "tok")
    else:
        made.follows("run_tokens", tokens_of(agent), "tok")
    made.has("execution_s", agent.execution_s, "s", "lower")
    for name, seconds in agent.spans_s.items():
        made.has(f"{name}_s", seconds, "s", "lower")
    made.has("files", agent.files, "files")
    made.follows("throughput_tok_s", over(tokens_of(agent), agent.execution_s), "tok/s", "higher")
    return tuple(made.found)


def pair_figures(pair: LegacyPair, ttft: Ttft) -> tuple[MetricValue, ...]:
    made = _Figures()
    speedup = pair.told.figures.get("concurrency_speedup")
    efficiency = pair.told.figures.get("efficiency_percent")
    made.has("legacy_speedup", speedup, "x", "higher")
    if efficiency is not None:
        made.has("legacy_efficiency_percent", efficiency, "%", "higher")
    else:
        made.follows("legacy_efficiency_percent", times(speedup, 50), "%", "higher")
    if pair.contention is not None:
        made.has("legacy_contention", float(pair.contention), "share", "lower")
    elif speedup is not None:
        made.follows("legacy_contention", float(speedup < CONTENTION_BELOW), "share", "lower")
    made.has("legacy_sequential_estimate_s", sequential_s_of(pair.told), "s", "lower")
    made.has("legacy_throughput_delta_tok_s", pair.told.figures.get("throughput_delta"), "tok/s")
    made.has("legacy_ttft_delta_ms", pair.told.figures.get("ttft_delta_ms"), "ms")
    made.has("wall_s", pair.wall_s, "s", "lower")
    if pair.agents is None:
        return tuple(made.found)
    for letter, agent in zip("ab", pair.agents, strict=True):
        made.has(f"legacy_{letter}_throughput_tok_s", rate_of(agent), "tok/s", "higher")
        made.has(f"legacy_{letter}_ttft_ms", ttft_of(agent), "ms", "lower")
        if ttft in OWN_NAME:
            made.has(f"{letter}_{OWN_NAME[ttft]}", ttft_of(agent), "ms", "lower")
        made.has(f"{letter}_tokens", tokens_of(agent), "tok")
        made.has(f"{letter}_execution_s", agent.execution_s, "s", "lower")
        made.has(f"{letter}_load_ms", load_ms_of(agent), "ms", "lower")
        made.has(f"{letter}_files", agent.files, "files")
    a, b = pair.agents
    made.follows("load_balance_ratio", over(total(a.execution_s, b.execution_s), pair.wall_s), "1")
    made.follows(
        "agents_throughput_tok_s",
        over(total(tokens_of(a), tokens_of(b)), pair.wall_s),
        "tok/s",
        "higher",
    )
    made.follows("throughput_delta_tok_s", minus(rate_of(b), rate_of(a)), "tok/s")
    if ttft != "late":
        made.follows("ttft_delta_ms", minus(ttft_of(b), ttft_of(a)), "ms")
    made.follows("token_imbalance", ratio(tokens_of(a), tokens_of(b)), "1")
    return tuple(made.found)


def bounds_of(metrics: Iterable[str]) -> dict[str, tuple[float | None, float | None]]:
    """What arithmetic allows: two agents of which neither outlasts the wall time make a ratio of at
    most 2; a duration is not below zero, a share of two agents' time at most 100 %."""
    found: dict[str, tuple[float | None, float | None]] = {}
    for name in metrics:
        if name in ("legacy_speedup", "load_balance_ratio"):
            found[name] = (0, 2.02)
        elif name == "legacy_efficiency_percent":
            found[name] = (0, 101)
        elif name.endswith(("_ms", "_s", "_tokens")) and not ("delta" in name or "queue" in name):
            found[name] = (0, None)
    return found
