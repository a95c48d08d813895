"""The one form that all of those files are given: agents' runs and their calls, pairs of agents,
and what a file states of several together. Figures as the file has them; None: unknown."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

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
]

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
