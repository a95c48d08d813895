"""What the legacy forms have in common: strict decoding, Rust calls, options, numbers."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from harness.errors import StoreError
from harness.text import one_line
from harness_agents.legacy.fields import Figures, RustCall, RustResult, RustWorkflow
from harness_agents.legacy.records import LegacyCall, Told

__all__ = [
    "NO_TOKEN",
    "failed",
    "options",
    "rust_calls",
    "scenario_name",
    "spans",
    "told",
    "typed",
    "typed_again",
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
