"""A request scenario: a seeded generator of requests, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from harness.protocols import RequestContext, ScenarioConfig
from harness.schema import Message, Request


class CountingOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    words: int = 5
    """How far each prompt counts."""
    max_tokens: int = 16
    """Upper bound of the output length."""


class CountingScenario:
    def __init__(self, config: ScenarioConfig) -> None:
        self.options: CountingOptions = config.options

    def requests(self, ctx: RequestContext) -> Iterator[Request]:
        number = 0
        while True:
            words = [str(number + i) for i in range(self.options.words)]
            number += len(words)
            yield Request(
                messages=(Message(role="user", content=" ".join(words)),),
                max_tokens=self.options.max_tokens,
            )
