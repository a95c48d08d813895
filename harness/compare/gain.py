"""Do several agents at once pay off: one sentence for an arm, from its measured speed-up.

pays off          the 95 % interval of the mean speed-up over launches lies above 1
hardly pays off   the same, but a gain of NOTABLE or more is excluded as well
a loss            the interval lies below 1: one after another would have been quicker
no gain shown     it holds 1
not enough data   fewer launches than an interval needs, or no pair that is whole

The interval is that of the summary (bootstrap over launches), so that the sentence and the tables
cannot disagree. A load-balance ratio has no sentence: it says nothing of a gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from harness.schema import ArmSummary, Caveat, MetricSummary
from harness.statistics import GROUPS_MIN

__all__ = ["Gain", "GainWords", "gain_of"]

GainWords: TypeAlias = Literal[
    "pays off", "hardly pays off", "no gain shown", "a loss", "not enough data"
]

NOTABLE: Final = 1.05
"""Below this speed-up, all of the interval, several agents at once are not worth their trouble."""


class Gain(Struct, frozen=True, kw_only=True):
    """Of one arm and cell."""

    words: GainWords
    sentence: str
    agents: int | None
    speedup: float | None
    """Mean over pairs."""
    low: float | None
    high: float | None
    more_trials: int | None = None
    """So many are lacking for an interval."""


def gain_of(arm: ArmSummary, caveats: Sequence[Caveat] = ()) -> Gain | None:
    """None where no agents worked at once with a solo arm beside it. `caveats`: of the run."""
    found = _metric(arm, "speedup")
    if found is None or not (found.n or _has_alone(arm)):
        return None
    agents = _agents(arm, found)
    if agents == 1:  # a cell of a sweep over their number: it did the same thing twice
        return None
    who = f"{agents} agents at once" if agents else "all at once"
    if not found.n or found.mean is None:
        return Gain(
            words="not enough data",
            sentence=f"{who}: no speed-up is known, as none of {found.missing} iterations came to "
            "its end together and alone",
            agents=agents, speedup=None, low=None, high=None,
        )  # fmt: skip
    of_launches = found.ci_of == "trials" and found.ci_low is not None
    low, high = (found.ci_low, found.ci_high) if of_launches else (None, None)
    more = None if of_launches else max(_needed(found) - arm.trials, 1)
    words = _words(low, high)
    return Gain(
        words=words,
        sentence=f"{who}: {_times(found, arm, low, high)}: {words}{_further(words, more, found)}"
        f"{_doubt(arm, caveats)}",
        agents=agents,
        speedup=found.mean,
        low=low,
        high=high,
        more_trials=more,
    )


def _words(low: float | None, high: float | None) -> GainWords:
    if low is None or high is None:
        return "not enough data"
    if low > 1:
        return "pays off" if high >= NOTABLE else "hardly pays off"
    return "a loss" if high < 1 else "no gain shown"


def _times(found: MetricSummary, arm: ArmSummary, low: float | None, high: float | None) -> str:
    """`1.02 times as fast as one after another (95 %: 0.99 … 1.05; 5 trials, 15 pairs)`."""
    within = f"95 %: {_figure(low)} … {_figure(high)}; " if low is not None else ""
    counted = f"{_plural(arm.trials, 'trial')}, {_plural(found.n, 'pair')}"
    return f"{_figure(found.mean)} times as fast as one after another ({within}{counted})"


def _further(words: GainWords, more: int | None, found: MetricSummary) -> str:
    if more is not None:
        return f"; {_plural(more, 'more trial')}, and there is an interval over launches"
    if words == "hardly pays off" and found.ci_high is not None:
        return f": the gain is at most {100 * (found.ci_high - 1):.2g} %"
    return ""


def _doubt(arm: ArmSummary, caveats: Sequence[Caveat]) -> str:
    mine = [
        one.code
        for one in caveats
        if (one.severity == "doubtful" or one.code == "held-back")
        and one.arm in (None, arm.arm)
        and one.cell in (None, "base", arm.cell, *(c for c in one.more_cells if c == arm.cell))
    ]
    if "held-back" in mine:
        return "; but a semaphore of ours let them wait for one another, not the server"
    if "unequal-work" in mine:
        return "; but the agents did not do the same work together and alone"
    if "solo-missing" in mine:
        return "; but of some iterations one half is missing"
    return ""


def _agents(arm: ArmSummary, found: MetricSummary) -> int | None:
    """From the two means: efficiency is speed-up / agents. None where their number changes."""
    efficiency = _metric(arm, "efficiency")
    if found.mean and efficiency and efficiency.mean:
        number = found.mean / efficiency.mean
        return round(number) if abs(number - round(number)) < 1e-6 else None
    return len(arm.agents) or None


def _has_alone(arm: ArmSummary) -> bool:
    return any(one.n for agent in arm.agents for one in agent.alone) or bool(
        any(one.name.startswith("slowdown.") for one in arm.metrics)
    )


def _needed(found: MetricSummary) -> int:
    return found.needs.get("ci", GROUPS_MIN) if found.ci_of == "trials" else GROUPS_MIN


def _metric(arm: ArmSummary, name: str) -> MetricSummary | None:
    return next((one for one in arm.metrics if one.name == name), None)


def _figure(value: float | None) -> str:
    """Two digits behind the point; three where they are what tells it from 1."""
    if value is None:
        return "unknown"
    return f"{value:.2f}" if abs(value - 1) >= 0.02 else f"{value:.3f}"


def _plural(count: int, unit: str) -> str:
    return f"{count} {unit}{'' if count == 1 else 's'}"
