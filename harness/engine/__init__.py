"""From a spec to records. `run` is the way through; it knows no store, no report and no terminal.

Public names are loaded when they are first used: who reads a spec file needs no executor.

specfile.py     files and dictionaries to a RunSpec, and its digest
plan.py         arms and seeds; everything that can be refused before anything starts, with
                checks.py for numbers, cells.py for sweeps and ordering.py for what comes when
schedule.py     which trial is next; stopping.py (enough of them?) and search.py (at which load?)
                decide from gathering.py: whole trials, as they end
resume.py       what there is of a run that goes on, and what of it stands
execute.py      `run`, on one page
crew.py         several trials at a time, on places.py (which part of the machine is whose)
reception.py    what comes of a trial, on its way to the run
local.py        a fresh process per trial: child.py is what it runs, perform.py a trial that is
                executed away from its run, messages.py and pipes.py what goes between, lastwords.py
                what is left of a process
trial.py        one launch: open, warm up, measure, close
iterations.py   the executions of a scenario within it; cold.py: what is cold before them
seams.py        sink, observer, transport: where the engine meets the rest
load.py         request scenarios under a load shape
workflow.py     workflow scenarios and their context
calls.py        one call: prepared, carried, decoded
sealing.py      and what is left of it: its record
attending.py    an agent within an iteration, which makes its calls itself: tapping.py is the tap
                of a trial, matching.py finds what was reported of what was seen, witnessed.py makes
                records of it, asked.py and readers.py read other programs' requests and responses
environment.py  the machine and the software
instruments.py  instruments around iterations, and what they saw
summary.py      records to a summary
holding.py      what of the calls is held while it is made
validity.py     records to a verdict
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.engine.execute import Outcome, run
    from harness.engine.plan import make_plan
    from harness.engine.seams import Observer, RunSink, Silent
    from harness.engine.specfile import digest, merge, read_spec, set_path, spec_from, with_mode

__all__ = [
    "Observer",
    "Outcome",
    "RunSink",
    "Silent",
    "digest",
    "make_plan",
    "merge",
    "read_spec",
    "run",
    "set_path",
    "spec_from",
    "with_mode",
]

_LAZY = {
    "execute": ("Outcome", "run"),
    "plan": ("make_plan",),
    "seams": ("Observer", "RunSink", "Silent"),
    "specfile": ("digest", "merge", "read_spec", "set_path", "spec_from", "with_mode"),
}


def __getattr__(name: str) -> Any:
    module = next((module for module, names in _LAZY.items() if name in names), None)
    if module is None:
        raise AttributeError(f"module 'harness.engine' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"harness.engine.{module}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
