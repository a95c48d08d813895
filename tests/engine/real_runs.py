"""Whole runs through the real engine and transport, against the truth server or llama.cpp."""

from __future__ import annotations

import asyncio
import types

import msgspec

import harness
from harness.engine import run, spec_from
from harness.engine.summary import derive_summary
from harness.host import Host
from harness.schema import CallRecord, Caveat, IterationRecord, Message, Request, TrialRecord
from harness.testing import MemorySink

RULES = (
    "prompt-truncated",
    "prompt-cache",
    "token-mismatch",
    "config-not-effective",
    "cold-in-warm",
)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    texts: tuple[str, ...]
    cold: bool = False
    num_ctx: tuple[int, ...] = ()
    """Per call, where it has one of its own."""
    max_tokens: int = 2


class Says:
    """A workflow that sends the same texts in every iteration, one after another."""

    def __init__(self, config):
        self.options = config.options

    async def setup(self, ctx): ...

    async def execute(self, ctx):
        asked = self.options
        for index, text in enumerate(asked.texts):
            own = {"num_ctx": asked.num_ctx[index]} if asked.num_ctx else {}
            await ctx.call(
                Request(
                    messages=(Message(role="user", content=text),),
                    max_tokens=asked.max_tokens,
                    cold=asked.cold,
                    options=own,
                )
            )

    async def teardown(self, ctx): ...


def plugin(*, tokenizer=None):
    """The scenario `says`, and a tokenizer for every model."""

    @harness.hookimpl
    def harness_register_scenarios(registry):
        registry.add("says", Says, options=Options)

    module = types.ModuleType("real_runs")
    module.harness_register_scenarios = harness_register_scenarios
    if tokenizer is not None:

        @harness.hookimpl
        def harness_count_tokens(model, text):
            return tokenizer(text)

        module.harness_count_tokens = harness_count_tokens
    return module


class Measured:
    def __init__(self, outcome, records):
        self.outcome = outcome
        self.summary = derive_summary(outcome.manifest, records)
        self.all_calls = [r for r in records if isinstance(r, CallRecord)]
        self.calls = [call for call in self.all_calls if call.phase == "measured"]
        self.iterations = [r for r in records if isinstance(r, IterationRecord)]
        self.trials = [r for r in records if isinstance(r, TrialRecord)]

    @property
    def doubts(self) -> list[str]:
        """Codes of the rules that this file's readers test."""
        return [c.code for c in self.summary.verdict.caveats if c.code in RULES]

    def caveat(self, code: str) -> Caveat:
        found = [c for c in self.summary.verdict.caveats if c.code == code]
        assert len(found) == 1, (self.summary.verdict, self.calls[:1])
        return found[0]


def measure(raw, *, tokenizer=None) -> Measured:
    host = Host.load()
    assert host.add("real_runs", plugin(tokenizer=tokenizer))
    sink = MemorySink()
    outcome = asyncio.run(run(spec_from(raw), host, sink))
    assert outcome.manifest.state == "finished", outcome.error
    return Measured(outcome, sink.records)


def words(text: str) -> int:
    """How the truth server counts."""
    return len(text.split())
