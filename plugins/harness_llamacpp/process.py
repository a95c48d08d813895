"""The process of the embedded engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from harness.serverprocess import ServerProcess

__all__ = ["EngineProcess"]

_LOG_PREFIX: Final = re.compile(r"^[\d.]+ (?P<level>[A-Z]) +")


class EngineProcess(ServerProcess):
    """harness_llamacpp.server, started with these arguments."""

    def __init__(self, arguments: Sequence[str]) -> None:
        super().__init__(arguments, module="harness_llamacpp.server", tidy=_tidied)


def _tidied(text: str) -> str:
    """Without llama.cpp's clock; errors keep a mark by which they are found again."""
    match = _LOG_PREFIX.match(text)
    if match is None:
        return text.strip()
    mark = "error: " if match["level"] == "E" else ""
    return mark + text[match.end() :].strip()
