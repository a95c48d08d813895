"""For tests of the harness and of plugins: no sockets, no sleeping, no luck.

FakeClock          time that passes when you say so
Piece, respond     literal wire bytes with their arrival times, as one HTTP response
record_from        wire bytes → the sealed record that a transport would have made of them
ScriptedTransport  answers each exchange with the next scripted response
ScriptedTap        a tap through which goes what was written down; passed: one such exchange
ScriptedBackend    a small NDJSON backend to run scenarios and engines against
BackendContract    the contract suite: subclass it in pytest and say how your backend speaks
ExecutorContract   the same for executors
InstrumentContract the same for instruments
run_scripted       a whole run in memory, answered from a script: for scenarios and instruments
run_in_memory      the same with a backend of your own
MemorySink         keeps what the engine records

Each is loaded when it is first used: the truth server's spec (harness.testing.sim) is for plugins
too, and they are imported by every command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.testing.clock import FakeClock
    from harness.testing.contract import BackendContract
    from harness.testing.executors import ExecutorContract
    from harness.testing.instrument_contract import InstrumentContract
    from harness.testing.running import Ran, run_in_memory, run_scripted
    from harness.testing.scripted import MemorySink, ScriptedBackend, ScriptedTransport
    from harness.testing.scripted_tap import ScriptedTap, passed
    from harness.testing.wire import Piece, record_from, respond

__all__ = [
    "BackendContract",
    "ExecutorContract",
    "FakeClock",
    "InstrumentContract",
    "MemorySink",
    "Piece",
    "Ran",
    "ScriptedBackend",
    "ScriptedTap",
    "ScriptedTransport",
    "passed",
    "record_from",
    "respond",
    "run_in_memory",
    "run_scripted",
]

_LAZY = {
    "BackendContract": "harness.testing.contract",
    "ExecutorContract": "harness.testing.executors",
    "FakeClock": "harness.testing.clock",
    "InstrumentContract": "harness.testing.instrument_contract",
    "MemorySink": "harness.testing.scripted",
    "Piece": "harness.testing.wire",
    "Ran": "harness.testing.running",
    "ScriptedBackend": "harness.testing.scripted",
    "ScriptedTap": "harness.testing.scripted_tap",
    "ScriptedTransport": "harness.testing.scripted",
    "passed": "harness.testing.scripted_tap",
    "record_from": "harness.testing.wire",
    "respond": "harness.testing.wire",
    "run_in_memory": "harness.testing.running",
    "run_scripted": "harness.testing.running",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
