"""A Context that answers from a script and keeps what the scenario noted. Nothing is timed here."""

from __future__ import annotations

import asyncio
import contextlib
import random

from harness_single_agent import SingleAgentOptions
from harness_single_agent.scenario import SingleAgent

from harness.protocols import ScenarioConfig
from harness.schema import CallError, CallRecord, Effective, Instants, Usage

MS = 1_000_000
ANALYSIS = """\
## Executive summary
All 6 files were read.

**Key Findings**
- The JSON file (1 files) is small,
  and old.
- There are 5 CSV files.

3. Metrics analysis:
tok_s has a mean of 99.089.

## Recommendations
1. Measure again.
2. Write to <b>us</b>.
"""
REPORT = (
    "# Report\n**Date:** October 26, 2023\n```\nnot closed \x1b[31m\n## Metrics\n- TTFT: 1 ms\n"
)


def record(stage, text, *, status="ok", start_ns=0, **more):
    """A call of 400 ms: first token after 100 ms, last after 300 ms, 21 tokens."""
    at = {name: start_ns + ms * MS for name, ms in _AT.items()}
    facts = {
        "usage": Usage(prompt_tokens=1000, output_tokens=21),
        "stamp_source": "kernel",
        "finish_reason": "stop",
        **more,
    }
    return CallRecord(
        call_id=stage,
        arm="a",
        cell="",
        trial=0,
        iteration=0,
        phase="measured",
        status=status,
        stage=stage,
        text=text,
        instants=Instants(due_ns=start_ns, **at),
        **facts,
    )


_AT = {"sent_ns": 0, "first_token_ns": 100, "last_token_ns": 300, "end_ns": 400}


def failed(stage, status="error", code="http.500", message="out of memory"):
    error = CallError(code=code, message=message)
    return record(stage, "", status=status, error=error)


class ScriptedContext:
    """harness.protocols.Context: `answers` are texts or whole records, one a call."""

    def __init__(self, *answers, context_length=8192, arm="baseline", salt="run/0/measured/0"):
        self.answers = list(answers)
        self.seed = 7
        self.salt = salt
        self.arm, self.cell, self.trial, self.iteration = arm, "", 0, 3
        self.phase = "measured"
        self.rng = random.Random(7)
        self.effective = Effective(
            server="scripted",
            server_version="1.0",
            model="some-model",
            context_length=context_length,
            options={"temperature": 0.4},
        )
        self.requests, self.spans = [], []
        self.metrics, self.notes, self.artifacts = {}, {}, {}

    async def call(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0)
        if not isinstance(answer, str):
            return answer
        return record(request.stage, answer, start_ns=(len(self.requests) - 1) * 500 * MS)

    @contextlib.contextmanager
    def span(self, name):
        self.spans.append(name)
        yield

    def metric(self, name, value, unit):
        assert name not in self.metrics
        self.metrics[name] = (value, unit)

    def artifact(self, name, content):
        self.artifacts[name] = content

    def note(self, key, value):
        self.notes[key] = value


def scenario(**options):
    config = ScenarioConfig(options=SingleAgentOptions(**options), seed=0, arm="a", cell="")
    return SingleAgent(config)


def run(ctx, **options):
    agent = scenario(**options)

    async def trial():
        await agent.setup(ctx)
        await agent.execute(ctx)
        await agent.teardown(ctx)

    asyncio.run(trial())
    return ctx


def report_of(ctx):
    (name,) = ctx.artifacts
    assert name == "technical_report.m3.md"
    return ctx.artifacts[name]
