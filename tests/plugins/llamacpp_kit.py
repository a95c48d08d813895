"""A backend `llamacpp`, for tests."""

from __future__ import annotations

from typing import Any

import msgspec
from harness_llamacpp import LlamaCppOptions
from harness_llamacpp.backend import LlamaCppBackend

from harness.protocols import BackendConfig
from harness.schema import TimeoutsSpec


def make(model: str | None = None, urls: tuple[str, ...] = (), **options: Any) -> LlamaCppBackend:
    return LlamaCppBackend(
        BackendConfig(
            model=model,
            urls=urls,
            options=msgspec.convert(options, LlamaCppOptions),
            timeouts=TimeoutsSpec(),
            seed=11,
        )
    )
