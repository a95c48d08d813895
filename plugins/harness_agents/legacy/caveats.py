"""Doubts about an imported run that its figures alone do not show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from harness.protocols import RunData
from harness.schema import Caveat, IterationRecord, TrialRecord

__all__ = ["caveats"]

CHARS_PER_TOKEN_MAX: Final = 6.0
"""Cautious: prose has four to five characters a token, tables of figures two to three."""


def caveats(run: RunData) -> Iterator[Caveat]:
    """Prompts that cannot have fitted into the context that was asked for. The server cuts them and
    says nothing: `prompt_eval_count` was never recorded."""
    asked: dict[int, Any] = {}
    longest: dict[int, tuple[float, Any]] = {}
    for record in run.records():
        if isinstance(record, TrialRecord):
            asked[record.trial] = record.effective.options.get("num_ctx")
        elif isinstance(record, IterationRecord) and record.imported:
            chars = [one.value for one in record.metrics if one.name == "prompt_chars"]
            if chars and chars[0] > longest.get(record.trial, (0.0, None))[0]:
                longest[record.trial] = chars[0], record.data.get("row")
    cut = [
        {"row": row, "prompt_chars": chars, "num_ctx": asked[trial]}
        for trial, (chars, row) in longest.items()
        if _cannot_fit(chars, asked.get(trial))
    ]
    if cut:
        worst = max(cut, key=lambda one: one["prompt_chars"] / one["num_ctx"])
        yield Caveat(
            code="prompt-beyond-context",
            severity="doubtful",
            message=f"in {len(cut)} of {len(longest)} launches a prompt cannot have fitted: "
            f"{worst['prompt_chars']:.0f} characters into a context of {worst['num_ctx']} tokens. "
            "The server cut it, and the model answered something else than was asked",
            evidence={"prompts": cut[:10]},
            remedy="such configurations are no slower or faster versions of one piece of work",
        )


def _cannot_fit(chars: float, context: Any) -> bool:
    return isinstance(context, int) and context > 0 and chars > CHARS_PER_TOKEN_MAX * context
