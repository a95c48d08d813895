"""A metrics.json of an older form, as figures of an iteration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["legacy_metrics"]

_ENDINGS = (
    ("_percent", "%"),
    ("tokens_per_second", "tok/s"),
    ("_tok_s", "tok/s"),
    ("_ms", "ms"),
    ("_ttft", "ms"),
    ("_seconds", "s"),
    ("_time", "s"),
    ("_estimated_s", "s"),
    ("_time_s", "s"),
    ("_duration", "s"),
    ("_tokens_generated", "tokens"),
)


def legacy_metrics(path: Path) -> Iterator[tuple[str, float, str]]:
    """(name, value, unit): what the file states, under the names that it uses, each with the role
    or the run that it is said of where there are several. Raises StoreError for a file that is none
    of the forms."""
    from harness_agents.legacy.reading import read_metrics

    found = read_metrics(path)
    several = len(found.told) + len(found.agents) + len(found.pairs) > 1
    for role, told in found.told.items():
        yield from _figures(told.figures, role if several else "")
    for agent in found.agents:
        yield from _figures(agent.told.figures, f"{agent.role}.{agent.run}" if several else "")
    for pair in found.pairs:
        yield from _figures(pair.told.figures, f"run.{pair.run}" if several else "")


def _figures(figures: dict[str, float], of: str) -> Iterator[tuple[str, float, str]]:
    for name, value in figures.items():
        shown = "".join(c if c.isalnum() or c in "._" else "_" for c in f"{of}.{name}".strip("."))
        yield f"legacy.{shown}", float(value), _unit(name)


def _unit(name: str) -> str:
    """By the habits of those forms; 1 where a name says nothing."""
    found = next((unit for end, unit in _ENDINGS if name.endswith(end)), None)
    return found or ("tok/s" if "throughput" in name else "1")
