"""For tests of the harness and of plugins: no sockets, no sleeping, no luck.

FakeClock          time that passes when you say so
Piece, respond     literal wire bytes with their arrival times, as one HTTP response
record_from        wire bytes → the sealed record that a transport would have made of them
ScriptedTransport  answers each exchange with the next scripted response
ScriptedBackend    a small NDJSON backend to run scenarios and engines against
BackendContract    the contract suite: subclass it in pytest and say how your backend speaks
ExecutorContract   the same for executors
InstrumentContract the same for instruments
run_scripted       a whole run in memory, answered from a script: for scenarios and instruments
run_in_memory      the same with a backend of your own
MemorySink         keeps what the engine records
"""

from harness.testing.clock import FakeClock
from harness.testing.contract import BackendContract
from harness.testing.executors import ExecutorContract
from harness.testing.instrument_contract import InstrumentContract
from harness.testing.running import Ran, run_in_memory, run_scripted
from harness.testing.scripted import MemorySink, ScriptedBackend, ScriptedTransport
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
    "ScriptedTransport",
    "record_from",
    "respond",
    "run_in_memory",
    "run_scripted",
]
