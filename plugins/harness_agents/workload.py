"""The work of one agent, the same in every language: stages of calls, made of a corpus. Public, for
plugins.

    work = workload(options, agent="a", seed=ctx.seed, salt=ctx.salt, corpus=corpus_of(options))
    job_for(work, calls, …)              for a program (jobs.py)
    await in_process(work, calls)        for an agent within the harness (within.py)
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec import Struct

from harness.schema import Message, Request
from harness_agents.options import WorkloadOptions
from harness_agents.protocol import Corpus

__all__ = ["Step", "Workload", "filled", "prompt_of", "with_prompt", "workload"]

_PLACES: Final = re.compile(r"\{\{(stream|data_summary|answer:([^{}]*))\}\}")
_ANALYSIS: Final = """\
You are given an inventory of benchmark files.

{{data_summary}}
Describe in Markdown, in four short sections, what there is: overview, what stands out, what the \
numbers of files, rows and bytes say, and what to look at next. Use only what the inventory says."""
_REPORT: Final = """\
An inventory of benchmark files:

{{data_summary}}
Notes that an analyst made on it:

{{answer:analysis}}

Write a short technical report in Markdown for somebody who has seen neither: summary, data, \
findings, recommendations. Where notes and inventory differ, the inventory is right."""


class Step(Struct, frozen=True, kw_only=True):
    """One stage, for whoever makes its calls."""

    name: str
    request: Request
    """With a prompt in which `filled` puts its places."""
    answer_chars_max: int


class Workload(Struct, frozen=True, kw_only=True):
    """One agent's work in one iteration."""

    agent: str
    seed: int
    corpus: Corpus | None
    steps: tuple[Step, ...]
    streams: int

    @property
    def calls(self) -> int:
        return self.streams * len(self.steps)


def workload(
    options: WorkloadOptions,
    *,
    agent: str,
    seed: int,
    salt: str,
    corpus: Corpus | None,
    persona: str | None = None,
    backend_options: dict[str, Any] | None = None,
) -> Workload:
    """`corpus` is from `corpus_of`: found once a trial, not in every iteration. `persona` wins over
    that of the options; `backend_options` are of this agent's calls alone."""
    persona = options.persona if persona is None else persona
    return Workload(
        agent=agent,
        seed=seed % 2**31,
        corpus=corpus,
        steps=tuple(
            Step(
                name=name,
                request=Request(
                    messages=_messages(prompt, persona, _tag(options, salt, agent, name)),
                    max_tokens=bound,
                    ignore_eos=options.ignore_eos,
                    seed=seed % 2**31,
                    options=dict(backend_options or {}),
                    cold=options.unique_prefix,
                    stage=name,
                    agent=agent,
                ),
                answer_chars_max=options.answer_chars_max,
            )
            for name, prompt, bound in _stages(options)
        ),
        streams=options.streams,
    )


def _stages(options: WorkloadOptions) -> list[tuple[str, str, int]]:
    if options.prompt is not None:
        return [("prompt", options.prompt, options.max_tokens or 256)]
    analysis = options.analysis_max_tokens or options.max_tokens or 256
    report = options.report_max_tokens or options.max_tokens or 512
    return [("analysis", _ANALYSIS, analysis), ("report", _REPORT, report)]


def _tag(options: WorkloadOptions, salt: str, agent: str, stage: str) -> str:
    if not options.unique_prefix:
        return ""
    return blake2b(f"{salt}/{agent}/{stage}".encode(), digest_size=5).hexdigest()


def _messages(prompt: str, persona: str | None, tag: str) -> tuple[Message, ...]:
    """The tag opens each of them: a cache goes by the first words, whoever speaks them."""
    if tag:
        prompt = f"({tag} {{{{stream}}}})\n{prompt}"
    user = Message(role="user", content=prompt)
    if not persona:
        return (user,)
    return Message(role="system", content=f"({tag})\n{persona}" if tag else persona), user


def filled(step: Step, number: int, summary: str, texts: dict[str, str]) -> Request:
    """The request of one stream, its places filled in one go: what a model wrote is not looked at
    again."""

    def value(found: re.Match[str]) -> str:
        name, answer = found[1], found[2]
        if name == "stream":
            return str(number)
        if name == "data_summary":
            return summary
        return texts[answer][: step.answer_chars_max] if answer in texts else found[0]

    return with_prompt(step.request, _PLACES.sub(value, prompt_of(step.request)))


def prompt_of(request: Request) -> str:
    return request.messages[-1].content


def with_prompt(request: Request, prompt: str) -> Request:
    last = msgspec.structs.replace(request.messages[-1], content=prompt)
    return msgspec.structs.replace(request, messages=(*request.messages[:-1], last))
