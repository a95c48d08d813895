"""An agent's work done by the harness itself, in this process. Public, for plugins."""

from __future__ import annotations

import asyncio
import time

from msgspec import Struct

from harness.errors import ScenarioError
from harness.protocols import AgentCalls
from harness.schema import CallRecord
from harness_agents.ingest import ingest, sha256
from harness_agents.workload import Workload, filled

__all__ = ["InProcess", "in_process"]


class InProcess(Struct, frozen=True, kw_only=True):
    """What an agent within the harness did."""

    begin_ns: int
    end_ns: int
    phases: tuple[tuple[str, int, int], ...]
    calls: tuple[CallRecord, ...]
    summary_sha256: str | None
    failed: CallRecord | None
    """The first call that was not `ok`, if any."""


async def in_process(work: Workload, calls: AgentCalls) -> InProcess:
    """The same work, its calls made by the harness itself. Raises ScenarioError where the spec does
    not keep texts, which a later stage would need."""
    begin_ns = time.monotonic_ns()
    phases: list[tuple[str, int, int]] = []
    summary = ""
    if work.corpus is not None:
        listed = [(file.path, file.kind) for file in work.corpus.files]
        found = await asyncio.to_thread(ingest, work.corpus.path, listed)
        summary = found.summary
        phases.append(("ingest", begin_ns, time.monotonic_ns()))
    streams = range(work.streams)
    done = await asyncio.gather(*(_stream(work, n, summary, calls, phases) for n in streams))
    records = tuple(record for stream in done for record in stream)
    return InProcess(
        begin_ns=begin_ns,
        end_ns=time.monotonic_ns(),
        phases=tuple(phases),
        calls=records,
        summary_sha256=sha256(summary) if work.corpus else None,
        failed=next((record for record in records if record.status != "ok"), None),
    )


async def _stream(
    work: Workload,
    number: int,
    summary: str,
    calls: AgentCalls,
    phases: list[tuple[str, int, int]],
) -> list[CallRecord]:
    texts: dict[str, str] = {}
    records: list[CallRecord] = []
    for step in work.steps:
        start_ns = time.monotonic_ns()
        record = await calls.call(filled(step, number, summary, texts))
        records.append(record)
        if work.streams == 1:
            phases.append((step.name, start_ns, time.monotonic_ns()))
        if record.status != "ok":
            break
        if record.text is None:
            raise ScenarioError(
                "works with the text of its calls, and the spec does not keep it",
                where="agent",
                remedy="--set keep.text=true",
            )
        texts[step.name] = record.text
    return records
