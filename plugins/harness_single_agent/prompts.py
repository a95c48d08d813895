"""The two prompts, fitted into the context that the model really has.

The context must hold prompt and answer. Its length is the one that the backend read back; prompts
are counted at `chars_per_token` characters a token, and the report prompt at what the server
counted in the analysis prompt, where that is more. A prompt whose fixed part does not fit is
refused with the two numbers to change: a server that cuts it would not say so.
"""

from __future__ import annotations

import datetime
from hashlib import blake2b
from typing import Literal, TypeAlias

from msgspec import Struct

from harness.errors import ScenarioError
from harness.schema import Message, Request
from harness_single_agent.ingest import Corpus
from harness_single_agent.options import SingleAgentOptions
from harness_single_agent.summary import DataSummary, summarise
from harness_single_agent.text import clean, cut

__all__ = ["Fitted", "Stage", "analysis_prompt", "check_room", "report_prompt", "request"]

Stage: TypeAlias = Literal["analysis", "report"]

_TEMPLATE_TOKENS = 48
"""Left for the server's chat template and the unique tag."""
_TAG_CHARS = 16
_LEAST_SUMMARY_CHARS = 240

_ANALYSIS = """\
You examine benchmark results of language models. Below is what a folder of result files holds: \
counts and, for each column of figures, min, mean and max.

{data}

Write four sections in Markdown, with exactly these headings:
## Executive summary
## Key findings
## Metrics analysis
## Recommendations
Use bullet points in the second and the fourth. State only counts, dates and figures that stand \
above; leave out what the data does not say."""

_REPORT = """\
You write a short technical report on benchmark results of language models. Today is {today}. \
The data:

{data}

Notes of the analyst who saw the same data:

{notes}

Write the report in Markdown: executive summary, data ingested (files by type), performance \
analysis, key findings, recommendations. Every count, date, percentage and figure must be taken \
from the data; where notes and data differ, the data is right."""


class Fitted(Struct, frozen=True, kw_only=True):
    """A prompt and what had to be left out of it."""

    text: str
    summary: DataSummary
    notes_chars_left_out: int = 0


def request(
    stage: Stage, text: str, options: SingleAgentOptions, *, seed: int, salt: str
) -> Request:
    """The call of one stage. The tag opens the first message, whoever speaks it."""
    tag = ""
    if options.unique_prefix:
        tag = f"({blake2b(f'{salt}/{stage}'.encode(), digest_size=5).hexdigest()})\n"
    texts = [options.persona, text] if options.persona else [text]
    texts[0] = f"{tag}{texts[0]}"
    messages = [Message(role="user", content=texts[-1])]
    if options.persona:
        messages.insert(0, Message(role="system", content=str(texts[0])))
    return Request(
        messages=tuple(messages),
        max_tokens=options.bound(stage),
        ignore_eos=options.ignore_eos,
        seed=seed % 2**31,
        cold=options.unique_prefix,
        stage=stage,
    )


def check_room(options: SingleAgentOptions, context_length: int | None) -> None:
    """Refuse, before any call, a context that cannot hold the least of prompts and the answer."""
    for stage, fixed in (("analysis", _ANALYSIS), ("report", _REPORT)):
        room = _room_chars(stage, options, context_length, options.chars_per_token)
        if room < len(fixed) + _LEAST_SUMMARY_CHARS:
            raise _too_small(stage, options, context_length)


def analysis_prompt(
    corpus: Corpus, options: SingleAgentOptions, context_length: int | None
) -> Fitted:
    """Raises ScenarioError where the context cannot hold it."""
    room = _room_chars("analysis", options, context_length, options.chars_per_token)
    summary = summarise(corpus, min(options.summary_chars_max, room - len(_ANALYSIS)))
    if summary is None:
        raise _too_small("analysis", options, context_length)
    return Fitted(text=_ANALYSIS.format(data=summary.text), summary=summary)


def report_prompt(
    corpus: Corpus,
    notes: str,
    options: SingleAgentOptions,
    context_length: int | None,
    *,
    today: datetime.date,
    counted_chars_per_token: float | None,
) -> Fitted:
    """`notes`: what the model wrote in the analysis. They get half of the room at most; the data
    summary gets the rest. Raises ScenarioError where the context cannot hold it."""
    per_token = min(options.chars_per_token, counted_chars_per_token or options.chars_per_token)
    room = _room_chars("report", options, context_length, per_token) - len(_REPORT)
    notes_max = min(options.report_context_chars_max, max(0, room // 2))
    notes, left_out = cut(clean(notes).strip() or "(none)", notes_max)
    summary = summarise(corpus, min(options.summary_chars_max, room - len(notes)))
    if summary is None:
        raise _too_small("report", options, context_length)
    text = _REPORT.format(today=today.isoformat(), data=summary.text, notes=notes)
    return Fitted(text=text, summary=summary, notes_chars_left_out=left_out)


def _room_chars(
    stage: str, options: SingleAgentOptions, context_length: int | None, per_token: float
) -> int:
    """Characters that the context has for the prompt; unbounded where its length is unknown."""
    if context_length is None:
        return 10**9
    tokens = context_length - options.bound(stage) - _TEMPLATE_TOKENS
    return int(tokens * per_token) - _TAG_CHARS - len(options.persona or "")


def _too_small(
    stage: str, options: SingleAgentOptions, context_length: int | None
) -> ScenarioError:
    if context_length is None:  # then only the bound on the summary can be too small
        return ScenarioError(
            f"summary_chars_max {options.summary_chars_max} cannot hold the totals of the corpus",
            where="single_agent",
            remedy=f"-o summary_chars_max={max(400, 2 * options.summary_chars_max)}",
        )
    bound = options.bound(stage)
    fixed = _ANALYSIS if stage == "analysis" else _REPORT
    chars = len(fixed) + len(options.persona or "") + _LEAST_SUMMARY_CHARS
    needed = int(chars / options.chars_per_token) + bound + _TEMPLATE_TOKENS
    return ScenarioError(
        f"a context of {context_length} tokens cannot hold the {stage} prompt (at least "
        f"{needed - bound}) and {bound} tokens of answer",
        where="single_agent",
        remedy=f"num_ctx of {needed + needed // 4} or more, or a smaller {stage}_max_tokens",
    )
