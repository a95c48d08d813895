"""The truth server: speaks like real model servers, and knows when it sent what.

spec.py       what it is to do: laws of time, slots, cache, usage, faults
laws.py       samples of TTFT and of the gaps between chunks, seeded
replay.py     the same from a recorded run
asked.py      an HTTP request, read: path, prompt, bounds
context.py    a prompt that does not fit: cut or refused, as the servers do
timeline.py   when each part of an answer is due
sharing.py    the same where streams share a bandwidth
draft.py      an answer before it is sent: frames with their instants, and their way onto the wire
ollama.py     answers in Ollama's dialect
openai.py     answers in those of OpenAI-compatible servers
openrouter.py routing, prices and books of the dialect that has them
control.py    models, versions, load and unload: what is not streamed
faults.py     what can go wrong, done to a draft
server.py     brings them together around the native sender
log.py        the log: requests.jsonl and sends.bin
punctual.py   how late the sends were, and why
beside.py     the log beside a run: how true the run's stamps are

Python decides what to send and when, before it is due; the native sender (harness._native.truth)
sends and notes the instants. Linux only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.testing.sim.beside import Joined, Spread, find_log, join
    from harness.testing.sim.server import SimServer
    from harness.testing.sim.spec import FAULTS, Fault, SimSpec, sim_spec

__all__ = [
    "FAULTS",
    "Fault",
    "Joined",
    "SimServer",
    "SimSpec",
    "Spread",
    "find_log",
    "join",
    "sim_spec",
]

_LAZY = {
    "FAULTS": "harness.testing.sim.spec",
    "Fault": "harness.testing.sim.spec",
    "Joined": "harness.testing.sim.beside",
    "SimServer": "harness.testing.sim.server",
    "SimSpec": "harness.testing.sim.spec",
    "Spread": "harness.testing.sim.beside",
    "find_log": "harness.testing.sim.beside",
    "join": "harness.testing.sim.beside",
    "sim_spec": "harness.testing.sim.spec",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
