"""Instruments around iterations: which ones a spec asks for, and what they saw.

Instruments are strangers that run beside a measurement. Whatever one of them does wrong costs its
own figures, with the reason in the record, and nothing else: not the iteration, not the others.

Those that perturb what they observe see iterations of their own (`extra`, one each), after the
measured ones; the rest see every measured iteration. The first that the spec names is the
innermost: started last, stopped first.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import msgspec

from harness.errors import HarnessError, PluginError, SpecError, StoreError
from harness.host import Host
from harness.protocols import Instrument, InstrumentConfig, InstrumentFactory, Observation
from harness.registry import Entry
from harness.schema import Artifact, InstrumentSpec, IterationRecord, MetricValue, RunSpec

__all__ = ["Instruments", "ResolvedInstrument", "resolve_instruments"]

log = logging.getLogger("harness.engine")


class ResolvedInstrument(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument that the spec asks for: found, its options checked."""

    entry: Entry[InstrumentFactory]
    options: Any
    perturbing: bool

    @property
    def name(self) -> str:
        return self.entry.name

    def make(self, arm: str, cell: str, trial: int, urls: tuple[str, ...]) -> Instrument:
        """Raises whatever the factory raises, and PluginError for what is no instrument."""
        return _made(self.entry, self.options, arm, cell, trial, urls)


def resolve_instruments(spec: RunSpec, host: Host) -> tuple[ResolvedInstrument, ...]:
    """Those of `spec.instruments`, in its order. Raises SpecError with the path of the mistake.

    Each is made once here, as scenarios are: to learn whether it perturbs, and so that what its
    factory refuses (a package that is not installed) is refused before anything starts.
    """
    found: list[ResolvedInstrument] = []
    for index, asked in enumerate(spec.instruments):
        where = f"$.instruments[{index}]"
        if isinstance(asked, str):
            asked, named = InstrumentSpec(name=asked), where
        else:
            named = f"{where}.name"
        entry = host.instruments.get(asked.name, named)
        if entry.name in (one.name for one in found):
            raise SpecError(f"{entry.name!r} is there twice", where=where, remedy="leave one out")
        options = entry.decode_options(asked.options, f"{where}.options")
        made = _made(entry, options, "", "", 0, ())
        found.append(
            ResolvedInstrument(entry=entry, options=options, perturbing=bool(made.perturbing))
        )
    return tuple(found)


def _made(
    entry: Entry[InstrumentFactory],
    options: Any,
    arm: str,
    cell: str,
    trial: int,
    urls: tuple[str, ...],
) -> Instrument:
    config = InstrumentConfig(options=options, arm=arm, cell=cell, trial=trial, urls=urls)
    try:
        made: Any = entry.factory(config)
    except HarnessError:
        raise
    except Exception as error:  # a stranger's factory
        raise PluginError(
            f"the instrument {entry.name!r} cannot be made: {_reason(error)}", where=entry.plugin
        ) from error
    if not isinstance(made, Instrument):
        raise PluginError(
            f"what the instrument {entry.name!r} makes is none: it lacks one of perturbing, open, "
            "start, stop, close",
            where=entry.plugin,
            remedy="see harness.protocols.Instrument",
        )
    return made


class _Observed(msgspec.Struct):
    """What all instruments saw of one iteration."""

    names: list[str]
    metrics: list[MetricValue] = []
    unknown: dict[str, str] = {}
    artifacts: list[tuple[str, str | bytes]] = []


class Instruments:
    """The instruments of one trial. `open`, then `start` and `finish` around each iteration."""

    def __init__(self, asked: tuple[ResolvedInstrument, ...]) -> None:
        self._asked = asked
        self._made: dict[str, Instrument] = {}
        self._broken: dict[str, str] = {}
        """Name → why it will see nothing."""
        self._running: list[str] = []
        """Innermost first."""
        self._seen: _Observed | None = None

    def extra(self) -> int:
        """How many extra iterations they need: one for each that perturbs, alone in it."""
        return sum(one.perturbing for one in self._asked)

    def open(self, arm: str, cell: str, trial: int, urls: tuple[str, ...]) -> None:
        """Make and open them, once; what cannot be is said in every record that it is missing
        from. Raises nothing."""
        if self._made or self._broken:
            return
        for one in self._asked:
            try:
                self._made[one.name] = made = one.make(arm, cell, trial, urls)
                made.open()
            except Exception as error:  # a stranger's instrument
                self._broken[one.name] = _told(one.name, "open", error)

    def start(self, phase: str, iteration: int) -> None:
        """Those that observe this iteration begin to. Raises nothing."""
        self._running, self._seen = [], None
        wanted = self._wanted(phase, iteration)
        if not wanted:
            return
        self._seen = _Observed([], [], {}, [])
        for name in reversed(wanted):
            if name in self._broken:
                self._seen.unknown[name] = self._broken[name]
                continue
            try:
                self._made[name].start()
                self._running.insert(0, name)
            except Exception as error:  # a stranger's instrument
                self._seen.unknown[name] = _told(name, "start", error)

    def stop(self) -> None:
        """They stop, innermost first. May be called again, and does nothing then."""
        running, self._running = self._running, []
        for name in running:
            assert self._seen is not None
            try:
                _add(self._seen, name, self._made[name].stop())
                self._seen.names.append(name)
            except Exception as error:  # a stranger's instrument
                self._seen.unknown[name] = _told(name, "stop", error)

    def finish(
        self, record: IterationRecord, keep: Callable[[int, str, str | bytes], str]
    ) -> IterationRecord:
        """`record` with what they saw. `keep` is the sink's: an artifact that it refuses is said in
        the record, which is worth more. Raises nothing."""
        self.stop()
        seen, self._seen = self._seen, None
        if seen is None:
            return record
        kept = list(record.artifacts)
        for name, content in seen.artifacts:
            whole = f"{record.phase[0]}{record.iteration}.{name}"
            try:
                kept.append(Artifact(name=whole, path=keep(record.trial, whole, content)))
            except StoreError as error:
                seen.unknown[whole] = str(error)[:500]
        return msgspec.structs.replace(
            record,
            metrics=record.metrics + tuple(seen.metrics),
            artifacts=tuple(kept),
            instruments=tuple(seen.names),
            unobserved=seen.unknown,
        )

    def close(self) -> None:
        """Each closes, whatever became of it and of the others."""
        self.stop()
        for name, made in self._made.items():
            try:
                made.close()
            except Exception as error:  # a stranger's instrument
                log.warning("instrument %s", _told(name, "close", error))
        self._made, self._broken = {}, {}

    def _wanted(self, phase: str, iteration: int) -> list[str]:
        if phase == "extra":
            return [one.name for one in self._asked if one.perturbing][iteration : iteration + 1]
        calm = [one.name for one in self._asked if not one.perturbing]
        return calm if phase == "measured" else []


def _add(seen: _Observed, name: str, observation: Any) -> None:
    """Raises TypeError for what is no observation."""
    if not isinstance(observation, Observation):
        raise TypeError(f"gave a {type(observation).__name__} and no Observation")
    artifacts = [(_under(name, file), content) for file, content in observation.artifacts]
    for metric in observation.metrics:
        whole = _under(name, metric.name)
        if math.isfinite(metric.value):
            seen.metrics.append(msgspec.structs.replace(metric, name=whole))
        else:
            seen.unknown[whole] = f"{metric.value} is no figure"
    for figure, reason in observation.unknown.items():
        seen.unknown[_under(name, figure)] = str(reason)[:500]
    seen.artifacts += artifacts


def _under(name: str, figure: str) -> str:
    """No instrument speaks in another's name."""
    return figure if figure.startswith(f"{name}.") else f"{name}.{figure}"


def _told(name: str, when: str, error: Exception) -> str:
    log.debug("instrument %s: %s raised", name, when, exc_info=True)
    return f"{when}: {_reason(error)}"


def _reason(error: Exception) -> str:
    if isinstance(error, HarnessError):
        return str(error)[:500]
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
