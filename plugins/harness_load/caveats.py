"""The prompt length that was stated, against the one that the server counted."""

from __future__ import annotations

from statistics import fmean

import msgspec

from harness.protocols import RunData
from harness.schema import CallRecord, Caveat, RunSpec
from harness_load.options import LoadOptions

__all__ = ["find_caveats"]

_TOLERANCE_SHARE = 0.10
_TOLERANCE_TOKENS = 32
"""A chat template adds tens of tokens to every prompt; that is no mistake in its length."""


def find_caveats(result: RunData) -> list[Caveat] | None:
    """One note per arm whose prompts were not of the stated length, by the server's own count."""
    spec = result.manifest.spec
    if spec.scenario.name != "load":
        return None
    counted: dict[str, list[int]] = {}
    for record in result.records():
        if isinstance(record, CallRecord) and record.phase == "measured":
            tokens = record.usage.prompt_tokens
            if record.status == "ok" and tokens is not None:
                counted.setdefault(record.arm, []).append(tokens)
    notes = [_note(arm, _options(spec, arm), tokens) for arm, tokens in counted.items()]
    return [note for note in notes if note is not None] or None


def _options(spec: RunSpec, arm: str) -> LoadOptions:
    chosen = dict(spec.scenario.options)
    if arm in spec.arms:
        chosen |= spec.arms[arm].scenario.get("options", {})
    return msgspec.convert(chosen, LoadOptions)


def _note(arm: str, options: LoadOptions, counted: list[int]) -> Caveat | None:
    stated = options.prompt_tokens_mean
    mean = fmean(counted)
    allowed = max(_TOLERANCE_TOKENS, _TOLERANCE_SHARE * stated)
    if options.prompts is not None or abs(mean - stated) <= allowed:
        return None
    return Caveat(
        code="prompt-length",
        severity="note",
        message=(
            f"prompts were to have {stated} tokens on average; the server counted {mean:.0f} "
            "(its chat template included): read its count as the length"
        ),
        evidence={"stated_tokens": stated, "counted_tokens_mean": mean, "calls": len(counted)},
        remedy="set prompt_tokens so that the server's count is the one you want",
        arm=arm,
    )
