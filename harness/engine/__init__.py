"""From a spec to records. `run` is the way through; it knows no store, no report and no terminal.

Public names are loaded when they are first used: who reads a spec file needs no executor.

Before the run
specfile.py     files and dictionaries (plainyaml.py) to a RunSpec, and its digest
plan.py         arms and seeds; everything that can be refused before anything starts, with
                checks.py for numbers, cells.py for sweeps and ordering.py for what comes when;
                limits.py provides the open files that it takes
placing.py      who places the trials; places.py: which part of the machine is whose
pricing.py      which price each call has; pricebook.py: all that there are
resume.py       what there is of a run that goes on, and what of it stands
environment.py  the machine and the software; uncertainty.py: the last self-check of this machine

The run
execute.py      `run`, on one page
schedule.py     which trial is next; stopping.py (enough of them?) and search.py (at which load?)
                decide from gathering.py: whole trials, as they end; budget.py: until the money ends
crew.py         several trials at a time, each at a place of its own
attempts.py     one trial, begun anew where its place was lost
reception.py    what comes of a trial, on its way to the run
local.py        a fresh process per trial: child.py is what it runs, perform.py a trial that is
                executed away from its run, messages.py and pipes.py what goes between, lastwords.py
                what is left of a process, whereabouts.py on which machine it was
seams.py        sink, observer, transport: where the engine meets the rest

A trial
trial.py        one launch: open, warm up, measure, close; guard.py: does the model fit?;
                readings.py: what the backend says of itself, before and after
iterations.py   the executions of a scenario within it; cold.py: what is cold before them
instruments.py  instruments around iterations, and what they saw
load.py         request scenarios under a load shape
workflow.py     workflow scenarios and their context
calls.py        one call: prepared, carried, decoded; till.py: can it be paid for?; retrying.py: is
                it sent once more?; holding.py: what of it is held while it is made
sealing.py      and what is left of it: its record, with prompts.py for its prompt and stamps.py for
                stamps of the process that runs the model
accounts.py     what a service says of calls afterwards; token_checks.py: their tokens, counted
                again
attending.py    an agent within an iteration, which makes its calls itself: tapping.py is the tap
                of a trial, matching.py finds what was reported of what was seen, witnessed.py makes
                records of it, asked.py and readers.py read other programs' requests and responses

After the run
summary.py      records to a summary; warmup.py: where the warm-up ended
validity.py     records to a verdict, by rules/
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
