"""A whole run in memory: a plugin's parts, through the real engine.

    ran = run_scripted({"scenario": {"name": "mine"}}, plugin=harness_mine)
    assert ran.figures("letters") == [5.0]

`run_scripted` needs no server: the backend is a ScriptedBackend, whose answers are given or else
three words, and no socket is opened. `run_in_memory` runs a spec as it is, for plugins that bring a
backend. Neither writes anything.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

import harness
from harness.protocols import Transport
from harness.schema import (
    CallRecord,
    IterationRecord,
    Manifest,
    Record,
    SessionRecord,
    Summary,
    TrialRecord,
)
from harness.testing.scripted import Answer, MemorySink, ScriptedBackend, ScriptedTransport

__all__ = ["Ran", "run_in_memory", "run_scripted"]


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What a run recorded."""

    manifest: Manifest
    error: BaseException | None
    """What ended the run before its time."""
    records: list[Record]
    artifacts: dict[str, str | bytes]

    @property
    def calls(self) -> list[CallRecord]:
        return [one for one in self.records if isinstance(one, CallRecord)]

    @property
    def iterations(self) -> list[IterationRecord]:
        return [one for one in self.records if isinstance(one, IterationRecord)]

    @property
    def trials(self) -> list[TrialRecord]:
        return [one for one in self.records if isinstance(one, TrialRecord)]

    def figures(self, name: str, phase: str = "measured") -> list[float]:
        """The values of one metric of the scenario's or an instrument's, iteration by iteration."""
        wanted = [one for one in self.iterations if one.phase == phase]
        return [m.value for one in wanted for m in one.metrics if m.name == name]

    def data(self) -> _Data:
        """As exporters and harness_find_caveats are given it (harness.protocols.RunData)."""
        from harness.engine.summary import derive_summary

        return _Data(self.manifest, derive_summary(self.manifest, self.records), self.records)


class _Data:
    def __init__(self, manifest: Manifest, summary: Summary, records: list[Record]) -> None:
        self.manifest = manifest
        self.summary = summary
        self.sessions: tuple[SessionRecord, ...] = ()
        self._records = records

    def records(self) -> Iterable[Record]:
        return self._records


class _Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the scripted backend: whatever a spec under test wants to vary."""

    num_ctx: int = 4096
    temperature: float = 0.0


def run_scripted(
    raw: dict[str, Any], plugin: Any = None, answers: Sequence[Answer] | None = None
) -> Ran:
    """Run the spec `raw`, which need not name a backend, with what `plugin` (a module, or any
    object with hooks) registers beside the installed plugins.

    Raises SpecError for a spec that is refused, AssertionError for a plugin that is broken.
    """
    script = answers or [ScriptedBackend.answer(["one ", "two ", "three"])]

    def open_transport(kind: str, urls: list[str]) -> Transport:
        return ScriptedTransport(script)

    scripted: Any = types.ModuleType("scripted")
    scripted.harness_register_backends = _register
    raw = {"backend": {"name": "scripted"}, **raw}
    return _run(raw, [scripted, plugin], open_transport=open_transport)


def run_in_memory(raw: dict[str, Any], plugin: Any = None) -> Ran:
    """Run the spec `raw` with the transport it asks for. Raises as `run_scripted` does."""
    return _run(raw, [plugin])


def _run(raw: dict[str, Any], plugins: list[Any], **how: Any) -> Ran:
    from harness.engine import run, spec_from
    from harness.host import Host

    host = Host.load()
    for plugin in plugins:
        name = getattr(plugin, "__name__", type(plugin).__name__)
        # Installed or not, it is the one under test.
        if plugin is not None and name not in {one.module for one in host.plugins}:
            assert host.add(name, plugin), host.plugins[-1].reason
    sink = MemorySink()
    spec = spec_from({"isolation": "inline", **raw})
    outcome = asyncio.run(run(spec, host, sink, **how))
    return Ran(
        manifest=outcome.manifest,
        error=outcome.error,
        records=sink.records,
        artifacts=sink.artifacts,
    )


@harness.hookimpl
def _register(registry: Any) -> None:
    registry.add("scripted", ScriptedBackend, options=_Options, summary="answers from a script")
