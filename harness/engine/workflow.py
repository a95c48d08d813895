"""Runs a workflow scenario: the context that it works through, and what that context noted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Literal

from harness._native.clock import monotonic_ns
from harness.engine.attending import Attending
from harness.engine.calls import Caller
from harness.engine.sealing import CallPlace
from harness.protocols import AgentCalls
from harness.redaction import Redactor, environment_secrets, header_secrets
from harness.schema import CallRecord, Effective, MetricValue, Request, Span

__all__ = ["WorkflowContext"]


class WorkflowContext:
    """See harness.protocols.Context, which this implements."""

    def __init__(
        self,
        caller: Caller,
        place: CallPlace,
        *,
        seed: int,
        salt: str,
        effective: Effective,
    ) -> None:
        self.seed = seed
        self.salt = salt
        self.arm = place.arm
        self.cell = place.cell
        self.trial = place.trial
        self.iteration = place.iteration
        self.phase: str = place.phase
        self.rng = random.Random(seed)
        self.effective = effective
        self._caller = caller
        self._place = place
        self.calls = 0
        self.spans: list[Span] = []
        self.metrics: list[MetricValue] = []
        self.artifacts: list[tuple[str, str | bytes]] = []
        self.data: dict[str, Any] = {}
        self._hidden: dict[tuple[str, str], None] = {}

    async def call(self, request: Request) -> CallRecord:
        return await self._caller.call(request, self._place, self._ordinal())

    def agent(
        self, name: str, *, endpoint: int | None = None, outside: bool = True, port: int = 0
    ) -> AbstractAsyncContextManager[AgentCalls]:
        return Attending(
            self._caller,
            self._place,
            name,
            endpoint=endpoint,
            outside=outside,
            port=port,
            ordinal=self._ordinal,
            span=self.spans.append,
            hide=lambda headers: self._hidden.update(dict.fromkeys(headers)),
        )

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        start_ns = monotonic_ns()
        try:
            yield
        finally:
            self.spans.append(Span(name=name, start_ns=start_ns, end_ns=monotonic_ns()))

    def metric(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        better: Literal["lower", "higher", "neither"] = "neither",
    ) -> None:
        one = MetricValue(name=name, value=float(value), unit=unit, better=better)
        self.metrics.append(one)

    def artifact(self, name: str, content: str | bytes) -> None:
        self.artifacts.append((name, content))

    def note(self, key: str, value: Any) -> None:
        self.data[key] = value

    def redactor(self) -> Redactor:
        """For what agents say of themselves: they know the keys that their requests carried, and
        those of our environment."""
        return Redactor(environment_secrets() | header_secrets(self._hidden))

    def _ordinal(self) -> int:
        self.calls += 1
        return self.calls - 1
