"""What a registration hook is given: a registry to add to. The harness looks names up in it.

A mistake in `add` raises in the plugin's own frame, so that the traceback points at the plugin.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from harness.errors import PluginError, SpecError
from harness.protocols import (
    Agent,
    BackendFactory,
    ExecutorFactory,
    Exporter,
    ImporterFactory,
    InstrumentFactory,
    RunData,
    ScenarioFactory,
    Scorer,
)
from harness.strict import decode, nearest

__all__ = [
    "AgentRegistry",
    "BackendRegistry",
    "Entry",
    "ExecutorRegistry",
    "ExporterRegistry",
    "ImporterRegistry",
    "InstrumentRegistry",
    "Registry",
    "ScenarioRegistry",
    "ScorerRegistry",
]

T = TypeVar("T")


class NoOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For things that take no options: any option is a mistake."""


class Entry(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One registered thing."""

    name: str
    factory: T
    options: type[msgspec.Struct]
    summary: str
    plugin: str
    suffix: str = ""
    automatic: str | None = None
    when: Callable[[RunData], bool] | None = None

    def decode_options(self, raw: dict[str, Any], where: str) -> Any:
        """`raw` as this entry's options Struct. Raises SpecError with the path of the mistake."""
        return decode(raw, self.options, where=where)


class Registry(Generic[T]):
    """What a registration hook is given: `add`. What the harness asks: `get`, iteration."""

    def __init__(
        self, kind: str, resolve: Callable[[str, str], Entry[T] | None] | None = None
    ) -> None:
        """`resolve(name, where)` finds what nobody registered, or gives None."""
        self.kind = kind
        self._resolve = resolve
        self._resolved: dict[str, Entry[T]] = {}
        self._entries: dict[str, Entry[T]] = {}
        self._plugin = "harness"

    def add(
        self,
        name: str,
        factory: T,
        *,
        options: type[msgspec.Struct] = NoOptions,
        summary: str = "",
        suffix: str = "",
        automatic: str | None = None,
        when: Callable[[RunData], bool] | None = None,
    ) -> None:
        """Offer `factory` under `name`.

        options     msgspec Struct with `forbid_unknown_fields`; the spec's options decode into it
        summary     one line for `harness list`; default: the first of the factory's docstring
        suffix      exporters: usual file name suffix, such as `.csv`
        automatic   exporters: write this file under reports/ after every run …
        when        … of which this is true; it must be quick

        Raises PluginError when the name is taken, or when something is not what it should be.
        """
        if name in self._entries:
            other = self._entries[name].plugin
            raise PluginError(
                f"the {self.kind} {name!r} is already registered by plugin {other!r}",
                where=self._plugin,
                remedy=f"HARNESS_DISABLE_PLUGINS={other}",
            )
        if not callable(factory):
            raise PluginError(f"the {self.kind} {name!r} is not callable", where=self._plugin)
        if not (isinstance(options, type) and issubclass(options, msgspec.Struct)):
            raise PluginError(
                f"options of the {self.kind} {name!r} must be a msgspec.Struct type",
                where=self._plugin,
            )
        self._entries[name] = Entry(
            name=name,
            factory=factory,
            options=options,
            summary=summary or _first_line(factory),
            plugin=self._plugin,
            suffix=suffix,
            automatic=automatic,
            when=when,
        )

    def add_callables(self: Registry[ScenarioFactory], module: ModuleType) -> None:
        """Offer every function that `module` defines and marks with `@harness.benchmark`.

        Raises PluginError when a name is taken, SpecError for parameters that cannot be options.
        """
        from harness.callables import FunctionFactory, benchmarks_in

        if self.kind != "scenario":
            raise PluginError(f"a function is no {self.kind}", where=self._plugin)
        for one in benchmarks_in(module):
            self.add(one.name, FunctionFactory(one), options=one.options, summary=one.summary)

    def get(self, name: str, where: str = "") -> Entry[T]:
        """Raises SpecError that names the nearest known name."""
        if name in self._entries:
            return self._entries[name]
        if name not in self._resolved and self._resolve is not None:
            found = self._resolve(name, where)
            if found is not None:
                self._resolved[name] = found
        if name in self._resolved:
            return self._resolved[name]
        guess = nearest(name, self._entries)
        known = ", ".join(sorted(self._entries)) or "none"
        raise SpecError(
            f"there is no {self.kind} {name!r}",
            where=where,
            remedy=guess or f"one of: {known}; `harness doctor` lists plugins that failed to load",
        )

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def begin(self, plugin: str) -> None:
        """What is added from here on is this plugin's. For the host."""
        self._plugin = plugin

    def drop(self, plugin: str) -> None:
        """Forget what a plugin added. For the host."""
        self._entries = {n: e for n, e in self._entries.items() if e.plugin != plugin}


def _first_line(factory: Any) -> str:
    """Of its own docstring; an instance would give that of its class."""
    own = inspect.isclass(factory) or inspect.isroutine(factory)
    return (inspect.getdoc(factory) or "").partition("\n")[0] if own else ""


BackendRegistry: TypeAlias = Registry[BackendFactory]
ScenarioRegistry: TypeAlias = Registry[ScenarioFactory]
AgentRegistry: TypeAlias = Registry[Callable[..., Agent]]
InstrumentRegistry: TypeAlias = Registry[InstrumentFactory]
ScorerRegistry: TypeAlias = Registry[Callable[..., Scorer]]
ExporterRegistry: TypeAlias = Registry[Exporter]
ImporterRegistry: TypeAlias = Registry[ImporterFactory]
ExecutorRegistry: TypeAlias = Registry[ExecutorFactory]
