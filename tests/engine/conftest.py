"""A host with a scripted backend and small scenarios; an engine over a scripted transport."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import msgspec
import pytest

import harness
from harness.engine import run, spec_from
from harness.errors import ScenarioError
from harness.host import Host
from harness.schema import Message, Request
from harness.testing import MemorySink, ScriptedBackend, ScriptedTransport


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    num_ctx: int = 4096
    max_tokens: int = 16


class Asking:
    """A request scenario that asks as often as it is let, and notes what it was given."""

    seen: ClassVar[list[tuple]] = []

    def __init__(self, config):
        self.config = config

    def requests(self, ctx):
        Asking.seen.append((self.config.arm, ctx.phase, ctx.seed, ctx.salt))
        number = 0
        while number < 1000:
            yield Request(messages=(Message(role="user", content=f"question {number}"),))
            number += 1


class TwoSteps:
    """A workflow scenario of two calls, the second only after a good first."""

    planned_calls_per_iteration = 2
    log: ClassVar[list[str]] = []

    def __init__(self, config):
        self.config = config

    async def setup(self, ctx):
        TwoSteps.log.append("setup")

    async def execute(self, ctx):
        TwoSteps.log.append(f"execute {ctx.phase}")
        with ctx.span("first"):
            first = await ctx.call(Request(prompt="one", stage="first"))
        if first.status != "ok":
            raise ScenarioError(f"the first call ended as {first.status}", where="two_steps")
        with ctx.span("second"):
            await ctx.call(Request(prompt="two", stage="second"))
        ctx.metric("letters", 3, "letters")
        ctx.note("first_text", first.text)
        ctx.artifact("report.md", "# report")

    async def teardown(self, ctx):
        TwoSteps.log.append("teardown")


@pytest.fixture
def host():
    import types

    made = []

    def factory(config):
        made.append(ScriptedBackend(config))
        return made[-1]

    @harness.hookimpl
    def harness_register_backends(registry):
        registry.add("scripted", factory, options=Options)

    @harness.hookimpl
    def harness_register_scenarios(registry):
        registry.add("asking", Asking, options=Options)
        registry.add("two_steps", TwoSteps)

    module = types.ModuleType("engine_test")
    module.harness_register_backends = harness_register_backends
    module.harness_register_scenarios = harness_register_scenarios
    host = Host()
    assert host.add("engine_test", module)
    host.made = made
    Asking.seen.clear()
    TwoSteps.log.clear()
    return host


@pytest.fixture
def execute(host):
    """execute(spec fields, answers) → (outcome, sink, transports)."""

    def do(raw, answers=None, **how):
        raw = {"backend": {"name": "scripted"}, "scenario": {"name": "asking"}, **raw}
        answers = answers or [ScriptedBackend.answer(["a ", "b ", "c"])]
        transports = []

        def open_transport(kind, urls):
            transports.append(ScriptedTransport(answers))
            return transports[-1]

        sink = MemorySink()
        outcome = asyncio.run(run(spec_from(raw), host, sink, open_transport=open_transport, **how))
        return outcome, sink, transports

    return do
