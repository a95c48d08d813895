"""SingleAgent: ingest → analysis call → report call, each in its span; then the fact check and the
technical report, outside of all spans."""

from __future__ import annotations

import datetime
import time

from harness.errors import ScenarioError
from harness.protocols import Context, ScenarioConfig
from harness.schema import CallRecord
from harness_single_agent.answer import Analysis, parse_analysis
from harness_single_agent.facts import Facts
from harness_single_agent.grounding import Grounding, ground
from harness_single_agent.ingest import Corpus, candidates, corpus_folder, ingest
from harness_single_agent.options import SingleAgentOptions
from harness_single_agent.prompts import (
    Fitted,
    Stage,
    analysis_prompt,
    check_room,
    report_prompt,
    request,
)
from harness_single_agent.report import Workflow, technical_report
from harness_single_agent.text import clean

__all__ = ["SingleAgent"]


class SingleAgent:
    """The workflow scenario `single_agent`."""

    planned_calls_per_iteration = 2
    """If the analysis fails, the report call is not made; it then counts as `not_sent`."""

    def __init__(self, config: ScenarioConfig) -> None:
        self._options: SingleAgentOptions = config.options

    async def setup(self, ctx: Context) -> None:
        """Refuses an empty corpus and a context too small for the prompts. Reads no file: the
        first ingest of a trial must not find them read already."""
        candidates(corpus_folder(self._options), self._options)
        check_room(self._options, ctx.effective.context_length)

    async def execute(self, ctx: Context) -> None:
        """One pass. Raises ScenarioError where a call fails, with the call's own error."""
        options, context_length = self._options, ctx.effective.context_length
        now = datetime.datetime.now(datetime.UTC)
        clock = _Clock()
        with ctx.span("ingest"):
            corpus = ingest(options)
        clock.lap("ingest")
        _record_corpus(ctx, corpus)

        with ctx.span("analysis"):
            asked = analysis_prompt(corpus, options, context_length)
            first = await self._call(ctx, "analysis", asked)
            analysis = parse_analysis(first.text or "")
        clock.lap("analysis")

        with ctx.span("report"):
            told = report_prompt(
                corpus,
                first.text or "",
                options,
                context_length,
                today=now.date(),
                counted_chars_per_token=_chars_per_token(asked, first, options),
            )
            second = await self._call(ctx, "report", told)
        clock.lap("report")

        texts = {"analysis": first.text or "", "report": second.text or ""}
        grounding = ground(texts, Facts(corpus, now.date()))
        _record_times(ctx, clock)
        _record_cut(ctx, asked, told)
        _record_analysis(ctx, analysis)
        _record_grounding(ctx, grounding)
        workflow = Workflow(
            started=now,
            arm=ctx.arm,
            effective=ctx.effective,
            persona=options.persona,
            corpus=corpus,
            data_summary=asked.summary,
            laps_ms=clock.laps_ms,
            calls={"analysis": first, "report": second},
            analysis=analysis,
            grounding=grounding,
        )
        name = f"technical_report.{ctx.phase[0]}{ctx.iteration}.md"
        ctx.artifact(name, technical_report(workflow))

    async def teardown(self, ctx: Context) -> None:
        pass

    async def _call(self, ctx: Context, stage: Stage, prompt: Fitted) -> CallRecord:
        text = clean(prompt.text)
        wanted = request(stage, text, self._options, seed=ctx.seed, salt=ctx.salt)
        record = await ctx.call(wanted)
        if record.status != "ok":
            error = record.error
            why = f": {error.code}: {error.message}".rstrip(": ") if error else ""
            raise ScenarioError(
                f"the {stage} call ended as {record.status}{why}",
                where="single_agent",
                remedy="`harness doctor`, and the call's record in `harness show`",
            )
        if record.text is None:
            raise ScenarioError(
                "works with the text of its calls, and the spec does not keep it",
                where="single_agent",
                remedy="--set keep.text=true",
            )
        return record


class _Clock:
    """Wall time of each stage, end to end: the laps add up to the whole."""

    def __init__(self) -> None:
        self._last_ns = time.monotonic_ns()
        self.laps_ms: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now_ns = time.monotonic_ns()
        self.laps_ms[name] = (now_ns - self._last_ns) / 1e6
        self._last_ns = now_ns


def _chars_per_token(
    asked: Fitted, record: CallRecord, options: SingleAgentOptions
) -> float | None:
    """By the server's count of the analysis prompt, its template included: on the safe side."""
    tokens = record.usage.prompt_tokens
    return (len(asked.text) + len(options.persona or "")) / tokens if tokens else None


def _record_corpus(ctx: Context, corpus: Corpus) -> None:
    ctx.metric("files", len(corpus.sources), "files")
    ctx.metric("files_skipped", len(corpus.skipped), "files")
    ctx.metric("corpus_bytes", corpus.size_bytes, "B")
    ctx.note("files_by_type", dict(corpus.files_by_kind()))
    ctx.note(
        "skipped", [{"path": clean(s.path), "reason": clean(s.reason)} for s in corpus.skipped]
    )


def _record_times(ctx: Context, clock: _Clock) -> None:
    for stage, lap_ms in clock.laps_ms.items():
        ctx.metric(f"{stage}_ms", lap_ms, "ms")
    ctx.metric("workflow_s", sum(clock.laps_ms.values()) / 1e3, "s")


def _record_cut(ctx: Context, asked: Fitted, told: Fitted) -> None:
    ctx.metric("corpus_cut_lines", asked.summary.lines_left_out, "lines")
    cut = {}
    for stage, prompt in (("analysis", asked), ("report", told)):
        cut[stage] = {
            "summary_chars": len(prompt.summary.text),
            "lines_left_out": prompt.summary.lines_left_out,
            "files_left_out": prompt.summary.files_left_out,
            "notes_chars_left_out": prompt.notes_chars_left_out,
        }
    ctx.note("corpus_cut", cut)


def _record_analysis(ctx: Context, analysis: Analysis) -> None:
    ctx.metric("analysis_sections", analysis.sections, "sections")
    ctx.note("findings", list(analysis.findings))
    ctx.note("recommendations", list(analysis.recommendations))


def _record_grounding(ctx: Context, grounding: Grounding) -> None:
    ctx.metric("claims_checked", grounding.checked, "claims")
    ctx.metric("claims_wrong", grounding.count("wrong"), "claims")
    ctx.metric("claims_unverifiable", grounding.count("unverifiable"), "claims")
    if grounding.wrong_share is not None:
        ctx.metric("grounding_wrong_share", grounding.wrong_share, "1")
    ctx.note("grounding", grounding.as_data())
