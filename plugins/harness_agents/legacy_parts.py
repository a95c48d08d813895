"""What the legacy forms have in common: strict decoding, Rust calls, options, numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from harness.errors import StoreError
from harness.text import one_line
from harness_agents.legacy import LegacyCall, Told, typed_again
from harness_agents.legacy_fields import Figures, RustCall, RustResult, RustWorkflow

__all__ = [
    "NO_TOKEN",
    "failed",
    "options",
    "rust_calls",
    "spans",
    "told",
    "typed",
    "without_tokens",
]

_AT = re.compile(r" - at `(?P<path>[^`]*)`$")
T = TypeVar("T")
NO_TOKEN: Final = "it ended without its final line: 0 tokens"


def typed(value: Any, kind: type[T], path: Path) -> T:
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        message = str(error)
        at = _AT.search(message)
        what = _AT.sub("", message)
        raise StoreError(
            what[:1].lower() + what[1:].replace("`", ""),
            where=f"{path}: {at['path'] if at else '$'}",
        ) from None


def rust_calls(result: RustResult, place: str, path: Path) -> tuple[LegacyCall, ...]:
    if result.llm_calls is not None:
        return tuple(
            _rust_call(
                one.metrics,
                run=one.run_number or 1,
                stage=one.stage,
                prompt_chars=None if one.prompt is None else len(one.prompt),
                text=one.response or "",
                place=f"{place}.llm_calls[{index}]",
            )
            for index, one in enumerate(result.llm_calls)
        )
    if result.individual_runs is None:
        raise StoreError("neither llm_calls nor individual_runs is there", where=f"{path}: {place}")
    return tuple(
        _rust_call(one, run=index + 1, stage="", place=f"{place}.individual_runs[{index}]")
        for index, one in enumerate(result.individual_runs)
    )


def _rust_call(one: RustCall, **more: Any) -> LegacyCall:
    return LegacyCall(
        failed=NO_TOKEN if one.tokens_generated == 0 else "",
        tokens=one.tokens_generated,
        throughput_tok_s=one.throughput_tokens_per_sec,
        ttft_ms=one.ttft_ms,
        total_ms=one.total_duration_ms,
        load_ms=one.load_duration_ms,
        prompt_ms=one.prompt_eval_duration_ms,
        eval_ms=one.eval_duration_ms,
        **more,
    )


def failed(calls: tuple[LegacyCall, ...]) -> str:
    return next((f"{one.place}: {one.failed}" for one in calls if one.failed), "")


def without_tokens(figures: Figures) -> str:
    return NO_TOKEN if figures.get("total_tokens_generated") == 0 else ""


def options(raw: Figures) -> dict[str, Any]:
    """What was set: numbers, and text made harmless. What is nested is no option of these forms."""
    return {
        one_line(key, 40): one_line(value, 60) if isinstance(value, str) else typed_again(value)
        for key, value in raw.items()
        if isinstance(value, str | int | float)
    }


def spans(workflow: RustWorkflow) -> dict[str, float]:
    found = msgspec.structs.asdict(workflow)
    return {
        name.removesuffix("_seconds"): float(value)
        for name, value in found.items()
        if value is not None and name != "total_seconds"
    }


def told(raw: Figures, place: str) -> Told:
    """The numbers of an object; what is null, text or an object is none."""
    numbers = {
        key: float(value)
        for key, value in raw.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return Told(figures=numbers, place=place)
