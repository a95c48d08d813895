"""Which of the legacy forms a metrics.json is, by its fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness_agents.legacy import LegacyMetrics, unlike
from harness_agents.legacy_fields import HeadPair, PythonPair, PythonRun, RustPair, RustSingle
from harness_agents.legacy_pairs import head_multi, python_multi, rust_multi
from harness_agents.legacy_parts import typed
from harness_agents.legacy_single import python_single, rust_single

__all__ = ["forms_of"]


def forms_of(value: Any, path: Path) -> LegacyMetrics:
    if isinstance(value, list):
        return python_single(typed(value, list[PythonRun], path))
    keys = set(value) if isinstance(value, dict) else set()
    if {"baseline", "chimera"} <= keys:
        return rust_single(typed(value, RustSingle, path), path)
    if {"collector", "insight"} <= keys:
        first = value["collector"] if isinstance(value["collector"], dict) else {}
        if "result" in first:
            return rust_multi(typed(value, RustPair, path), path)
        if "aggregate_metrics" in first:
            return python_multi(typed(value, PythonPair, path))
        return head_multi(typed(value, HeadPair, path))
    raise unlike(path, value)
