"""What is not there, what nobody knows, and what is broken off."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

import msgspec

from harness_agents.checking.findings import Findings, hear_out
from harness_agents.checking.jobs import job_of, lines_of, vectors
from harness_agents.program import Program
from harness_agents.protocol import Violation
from harness_agents.recording import Given, serving
from harness_agents.team import run_team

__all__ = ["check_interrupt", "check_nowhere", "check_version"]

_UNKNOWN_PROTOCOL: Final = 999


async def check_nowhere(command: Sequence[str], timeout_s: float, found: Findings) -> None:
    with socket.socket() as taken:  # bound and not listening: connecting is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        program = Program(command, job_of(url, "ollama", ("only",)), timeout_s=timeout_s)
        script = await hear_out(program, found, "nowhere")
    if script is None:
        return
    found.reached.add("failure")
    ends = [call.end for call in script.calls.values() if call.end is not None]
    if not ends or any(end.status != "error" for end in ends):
        told = ", ".join(end.status for end in ends) or "nothing"
        what = f"of a server that is not there, the call ends as {told}, not as error"
        found.add("nowhere", [Violation("failure", what)])
    elif script.result is not None and script.result.status != "error":
        found.add("nowhere", [Violation("failure", "the result is ok, though the call failed")])
    elif program.outcome and program.outcome.exit and program.outcome.exit.status == 0:
        found.add("nowhere", [Violation("failure", "exit status 0, though the call failed")])


async def check_version(command: Sequence[str], timeout_s: float, found: Findings) -> None:
    job = job_of("http://127.0.0.1:9", "ollama", ("only",))
    job = msgspec.structs.replace(job, protocol=_UNKNOWN_PROTOCOL)
    program = Program(command, job, timeout_s=timeout_s, ready_s=timeout_s)
    await program.prepare()
    outcome = await program.abandon()
    script, exit_ = program.script, outcome.exit
    found.reached.add("version")
    if script is None or script.failed is None:
        what = f"protocol {_UNKNOWN_PROTOCOL} is not refused with an error"
        found.add("version", [Violation("version", what)])
    elif exit_ is not None and (exit_.status == 0 or program.stopped):
        how = "it had to be ended" if program.stopped else exit_.words
        found.add("version", [Violation("version", f"{how}, after an error")])


async def check_interrupt(command: Sequence[str], timeout_s: float, found: Findings) -> None:
    begun = lines_of(vectors("ollama")[0])[:1]
    async with serving(lambda seen: Given(dialect="ollama", pieces=begun, hold=True)) as server:
        program = Program(command, job_of(server.url, "ollama", ("only",)), timeout_s=timeout_s)
        working = asyncio.ensure_future(run_team([program]))
        asked = asyncio.ensure_future(server.first.wait())
        await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not server.first.is_set():
            await working
            return
        took_s = await program.interrupt()
        program.kill()
        await working
        found.reached.add("interrupt")
        if took_s is None:
            found.add("interrupt", [Violation("interrupt", "it still runs 2 s after SIGTERM")])
