"""What /api/ps tells of the options that a model was loaded with, beside what was asked for.

Two of them show. `num_ctx`: the server cuts it to what the model was trained for, tells its log
alone, and runs on. `num_gpu`: only the model's bytes in memory and on the GPU are told, so that all
(`size_vram` = `size`) and none (0) are facts, and what lies between is not known: buffers for input
and computation stay on the side where they are needed, whatever the number of layers.
"""

from __future__ import annotations

import re
from typing import Any, Final

from harness.schema import Effective
from harness_ollama.options import OllamaOptions

__all__ = ["ALL", "read_back"]

ALL: Final = "all"
"""Of the layers on the GPU."""
_CONTEXT_STEP: Final = 256
"""llama.cpp, which serves since 0.30, rounds a context up to a multiple of it."""
_ONE_SLOT_SINCE: Final = (0, 12)
_HALF: Final = 0.5
"""Of the model: on the wrong side of it, a `num_gpu` of none or of all is not what runs. Buffers
alone are far less."""


def read_back(
    options: OllamaOptions, read: Effective, layers: int | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """(option → value it runs with, option → `asked …, runs …` where that is another).

    layers: of the model, the one for output included; None where /api/show does not tell.
    """
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    if read.context_length is not None:
        asked, runs = options.num_ctx, read.context_length
        if _shows_all_slots(read.server_version) and runs % asked == 0:
            runs = asked
        values["num_ctx"] = runs
        if not asked <= runs < asked + _CONTEXT_STEP:
            wrong["num_ctx"] = f"asked {asked}, runs {runs}"
    if read.size_bytes and read.size_vram_bytes is not None:
        share = read.size_vram_bytes / read.size_bytes
        if share == 0 or share >= 1:
            values["num_gpu"] = ALL if share else 0
        if said := _gpu_wrong(options.num_gpu, share, layers):
            wrong["num_gpu"] = said
    return values, wrong


def _shows_all_slots(version: str | None) -> bool:
    """Whether `context_length` is that of all slots together, num_ctx × OLLAMA_NUM_PARALLEL."""
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return found is not None and (int(found[1]), int(found[2])) < _ONE_SLOT_SINCE


def _gpu_wrong(asked: int, share: float, layers: int | None) -> str | None:
    """`share` of the model is on the GPU. −1 leaves the choice to the server: nothing is wrong."""
    if asked < 0:
        return None
    part = "nothing" if share == 0 else f"{share:.0%} of the model"
    runs = f"runs with {part} on the GPU"
    if asked == 0:
        return f"asked 0, {runs}" if share > _HALF else None
    if share == 0:
        return f"asked {asked} layers, {runs}"
    if layers is not None and asked >= layers and share < _HALF:
        return f"asked {asked} (all {layers} layers), {runs}"
    return None
