"""Reads the metrics.json files that older agent benchmarks left behind (the Chimeraforge project's,
in Rust and in Python), strictly, and gives them one form: agents' runs and their calls.

    single, Python        a list of runs, each a baseline and a chimera agent
    single, Rust          baseline and chimera, each with the calls of all runs
    multi, Rust v1        collector and insight, with `individual_runs`: one call each
    multi, Rust v2        the same, with `llm_calls` and a `workflow`
    multi, Python         collector and insight, aggregates; a later form has one call
    summary.json          what a folder of multi runs came to; read_summary

legacy_fields.py has their fields. What is null or NaN is unknown. A call without a final line was
written down as 0 tokens at 0 tok/s: it failed, and is so here. Options that went through 32-bit
floats (0.800000011920929) are what was typed again.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from harness.errors import StoreError
from harness.text import listed, one_line

__all__ = [
    "FORMS",
    "Form",
    "LegacyAgent",
    "LegacyCall",
    "LegacyMetrics",
    "LegacyPair",
    "LegacySummary",
    "Told",
    "Ttft",
    "read_metrics",
    "read_summary",
]

SIZE_MAX: Final = 64 * 2**20
"""Bytes; the largest known has 150 KB."""

Ttft: TypeAlias = Literal["measured", "late", "load+prompt", "prompt"]
"""What a form calls TTFT: measured by the client; measured by one that reads too late to see a
first token; the server's load and prompt durations; the prompt's alone. Only the first is one."""

Form: TypeAlias = Literal[
    "single-python",
    "single-python-head",
    "single-rust",
    "multi-rust-v1",
    "multi-rust-v2",
    "multi-python",
    "multi-python-head",
]
FORMS: Final[dict[Form, Ttft]] = {
    "single-python": "load+prompt",
    "single-python-head": "prompt",
    "single-rust": "measured",
    "multi-rust-v1": "measured",
    "multi-rust-v2": "measured",
    "multi-python": "load+prompt",
    "multi-python-head": "prompt",
}


class LegacyCall(msgspec.Struct, frozen=True, kw_only=True):
    """One model call. Figures as the file has them; None: unknown."""

    run: int
    """From 1, as the file counts."""
    stage: str
    """`analysis`, `report`; empty where the form does not tell."""
    failed: str
    """Why; empty: it went well."""
    tokens: int | None
    throughput_tok_s: float | None
    ttft_ms: float | None
    """What the form calls so (FORMS)."""
    total_ms: float | None
    """Of a Rust form the client's wall time; of a Python form the server's eval + prompt."""
    load_ms: float | None = None
    prompt_ms: float | None = None
    eval_ms: float | None = None
    prompt_chars: int | None = None
    text: str = ""
    place: str = ""
    """Of the field, such as `$.baseline.llm_calls[0]`."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Figures that a file states of several calls or runs together: name in the file → value."""

    figures: dict[str, float]
    place: str


class LegacyAgent(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one agent."""

    role: str
    """`baseline`, `chimera`, `collector`, `insight`."""
    run: int
    model: str | None
    options: dict[str, Any]
    """Empty: the server's defaults."""
    calls: tuple[LegacyCall, ...] = ()
    """Empty where the form has aggregates alone."""
    told: Told
    """Of this run; empty where the form tells of all runs together (LegacyMetrics.told)."""
    failed: str = ""
    execution_s: float | None = None
    spans_s: dict[str, float] = {}
    """`ingest`, `analysis`, `report` → seconds."""
    files: int | None = None
    """Files that it read in; 0 is what several of the published runs had."""
    url: str = ""
    started: str | None = None
    place: str = ""


class LegacyPair(msgspec.Struct, frozen=True, kw_only=True):
    """One run of two agents at once. Without agents where only a summary tells of it."""

    run: int
    scenario: str | None
    """`baseline_vs_chimera`, `chimera_hetero`, `chimera_homo`; None: the file does not say."""
    agents: tuple[LegacyAgent, LegacyAgent] | None
    wall_s: float | None
    told: Told
    contention: bool | None = None
    place: str = ""


class LegacyMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One metrics.json."""

    form: Form
    agents: tuple[LegacyAgent, ...] = ()
    """Of a single form: runs of the baseline and of the chimera agent."""
    pairs: tuple[LegacyPair, ...] = ()
    """Of a multi form: one."""
    told: dict[str, Told] = {}
    """Role → what is stated of all its runs together; `delta` → of the two roles."""
    started: str | None = None

    @property
    def ttft(self) -> Ttft:
        return FORMS[self.form]


class LegacySummary(msgspec.Struct, frozen=True, kw_only=True):
    """One summary.json: what it says of each run, and of all."""

    form: Form
    scenario: str | None
    pairs: tuple[LegacyPair, ...]
    told: Told
    started: str | None = None


def read_metrics(path: Path) -> LegacyMetrics:
    """A metrics.json of any of the forms. Raises StoreError with file and field."""
    from harness_agents.legacy_forms import forms_of

    return forms_of(_content(path), path)


def read_summary(path: Path) -> LegacySummary:
    """The summary.json of a folder of multi runs. Raises StoreError with file and field."""
    from harness_agents.legacy_pairs import summary_of

    return summary_of(_content(path), path)


# ---- JSON as it was written


def _content(path: Path) -> Any:
    """What the file holds: NaN and infinities as None, as they stand for nothing known."""
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_MAX + 1)
    except OSError as error:
        raise StoreError(error.strerror or str(error), where=str(path)) from None
    if len(content) > SIZE_MAX:
        raise StoreError(f"it has more than {SIZE_MAX // 2**20} MiB", where=str(path))
    try:
        return json.loads(
            content, parse_constant=lambda _: None, parse_float=_number, parse_int=_whole
        )
    except (ValueError, RecursionError) as error:
        raise StoreError(f"not JSON: {one_line(str(error), 200)}", where=str(path)) from None


def _number(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _whole(text: str) -> int | float | None:
    """What no 64-bit program can have counted is no count."""
    return int(text) if len(text) < 19 else _number(text)


def typed_again(value: Any) -> Any:
    """An option's value as somebody typed it: 0.8 where a 32-bit float made it
    0.800000011920929. What is no such float stays."""
    if not isinstance(value, float) or abs(value) > 3e38:
        return value
    short = float(f"{value:.7g}")
    (again,) = struct.unpack("<f", struct.pack("<f", short))
    return short if again == value else value


def scenario_name(text: str | None) -> str | None:
    """Written with `-` on one command line, with `_` on the other: one scenario."""
    return one_line(text, 60).replace("-", "_") if text else None


def unlike(path: Path, value: Any) -> StoreError:
    """It is none of the forms."""
    if isinstance(value, dict):
        what = f"an object with {listed([one_line(str(key), 40) for key in value]) or 'nothing'}"
    else:
        what = {list: "a list", str: "text", type(None): "null"}.get(type(value), "a number")
    return StoreError(
        f"{what} is none of the known forms of metrics.json",
        where=str(path),
        remedy="a list of runs, `baseline` and `chimera`, or `collector` and `insight`",
    )
