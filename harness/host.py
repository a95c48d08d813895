"""The plugin host: finds plugins, loads each by itself, holds what they registered.

A plugin that cannot be imported, or that breaks a contract, is listed with the reason and stops
nobody. In-tree plugins take the same road as strangers: the entry point group `harness`.

    HARNESS_DISABLE_PLUGINS=a,b   leave these out
    HARNESS_TRACE_HOOKS=1         print every hook call and its result to stderr
"""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pluggy

from harness import hookspecs
from harness.errors import PluginError
from harness.protocols import RunData, ScenarioFactory
from harness.registry import (
    AgentRegistry,
    BackendRegistry,
    Entry,
    ExecutorRegistry,
    ExporterRegistry,
    ImporterRegistry,
    InstrumentRegistry,
    Registry,
    ScenarioRegistry,
    ScorerRegistry,
)
from harness.schema import Caveat, Environment, PluginInfo, RunSpec, Summary, TrialRecord
from harness.strict import nearest
from harness.text import whole_number

if TYPE_CHECKING:
    import click

__all__ = ["Host"]

GROUP = "harness"


class Host:
    """Everything that plugins offer, and one typed method per hook."""

    def __init__(self) -> None:
        self.backends: BackendRegistry = Registry("backend")
        self.scenarios: ScenarioRegistry = Registry("scenario", _by_reference)
        self.agents: AgentRegistry = Registry("agent")
        self.instruments: InstrumentRegistry = Registry("instrument")
        self.scorers: ScorerRegistry = Registry("scorer")
        self.exporters: ExporterRegistry = Registry("exporter")
        self.importers: ImporterRegistry = Registry("importer")
        self.executors: ExecutorRegistry = Registry("executor")
        self.plugins: list[PluginInfo] = []
        self.is_installed = False
        """Everything in it was found by entry point, so that another process can load the same."""
        self._pm = pluggy.PluginManager("harness")
        self._pm.add_hookspecs(hookspecs)
        if os.environ.get("HARNESS_TRACE_HOOKS") == "1":
            self._pm.add_hookcall_monitoring(_trace_before, _trace_after)

    @classmethod
    def load(cls) -> Host:
        """A host with every installed plugin, except those in HARNESS_DISABLE_PLUGINS."""
        host = cls()
        disabled = {n for n in os.environ.get("HARNESS_DISABLE_PLUGINS", "").split(",") if n}
        found = importlib.metadata.entry_points(group=GROUP)
        for name in sorted(disabled - {point.name for point in found}):
            guess = nearest(name, [point.name for point in found])
            reason = "HARNESS_DISABLE_PLUGINS names a plugin that is not installed"
            host._list(name, "unknown", f"{reason}{f'; {guess}?' if guess else ''}", {})
        for point in sorted(found, key=lambda point: point.name):
            facts = {
                "distribution": point.dist.name if point.dist else None,
                "version": point.dist.version if point.dist else None,
                "module": point.value,
            }
            if point.name in disabled:
                reason = "named in HARNESS_DISABLE_PLUGINS"
                host._list(point.name, "disabled", reason, facts)
                continue
            try:
                module = point.load()
            except Exception as error:  # a stranger's import may raise anything
                host._list(point.name, "broken", f"import failed: {_one_line(error)}", facts)
                continue
            host.add(point.name, module, **facts)
        host.is_installed = True
        return host

    def add(self, name: str, plugin: Any, **facts: str | None) -> bool:
        """Register one plugin object (a module, usually). False, and listed, when it is broken."""
        self.is_installed = False
        try:
            self._pm.register(plugin, name=name)
            self._refuse_unknown_hooks(plugin)
            for registry in self._registries():
                registry.begin(name)
                self._call(f"harness_register_{registry.kind}s", name, registry=registry)
        except Exception as error:  # whatever it is, it is this plugin's
            if self._pm.has_plugin(name):
                self._pm.unregister(name=name)
            for registry in self._registries():
                registry.drop(name)
            self._list(name, "broken", _one_line(error), facts)
            return False
        self._list(name, "loaded", "", facts)
        return True

    # One typed method per hook. ---------------------------------------------------------------

    def add_commands(self, group: click.Group) -> None:
        self._each("harness_add_commands", group=group)

    def collect_environment(self, spec: RunSpec) -> dict[str, Any]:
        """Plugin name → what it collected."""
        found = self._each("harness_collect_environment", spec=spec)
        return {name: value for name, value in found if value}

    def run_started(self, spec: RunSpec, environment: Environment) -> None:
        self._each("harness_run_started", spec=spec, environment=environment)

    def count_tokens(self, model: str, text: str) -> int | None:
        """By the first plugin that knows the model, and answers with a number of tokens."""
        found = self._each("harness_count_tokens", _number_of_tokens, model=model, text=text)
        return next((count for _, count in found if count is not None), None)

    def find_caveats(self, result: RunData) -> list[Caveat]:
        found = self._each("harness_find_caveats", result=result)
        return [caveat for _, caveats in found for caveat in caveats or ()]

    def trial_finished(self, trial: TrialRecord) -> None:
        self._each("harness_trial_finished", trial=trial)

    def run_finished(self, result: Summary) -> None:
        self._each("harness_run_finished", result=result)

    # ------------------------------------------------------------------------------------------

    def _registries(self) -> tuple[Registry[Any], ...]:
        return (
            self.backends,
            self.scenarios,
            self.agents,
            self.instruments,
            self.scorers,
            self.exporters,
            self.importers,
            self.executors,
        )

    def _each(
        self, hook: str, read: Callable[[Any], Any] = lambda value: value, /, **arguments: Any
    ) -> list[tuple[str, Any]]:
        """Call a hook plugin by plugin: one that raises, or whose answer `read` refuses, is marked
        broken, and the others go on."""
        results: list[tuple[str, Any]] = []
        for implementation in getattr(self._pm.hook, hook).get_hookimpls():
            name = implementation.plugin_name
            try:
                results.append((name, read(self._call(hook, name, **arguments))))
            except Exception as error:  # a stranger's hook may raise anything
                self._blame(name, f"{hook} raised {_one_line(error)}")
        return results

    def _call(self, hook: str, plugin_name: str, **arguments: Any) -> Any:
        """One hook of one plugin, through pluggy (so that tracing and wrappers see it)."""
        others = [p for n, p in self._pm.list_name_plugin() if n != plugin_name and p is not None]
        result = self._pm.subset_hook_caller(hook, others)(**arguments)
        return (result[0] if result else None) if isinstance(result, list) else result

    def _refuse_unknown_hooks(self, plugin: Any) -> None:
        """A misspelt hook would be ignored in silence: say which, and the nearest right name."""
        known = [name for name in vars(hookspecs) if name.startswith("harness_")]
        for name, value in inspect.getmembers(plugin, inspect.isroutine):
            if not name.startswith("harness_"):
                continue
            if name not in known:
                guess = nearest(name, known)
                raise PluginError(f"there is no hook {name}", remedy=guess or "see docs/hooks.md")
            if not hasattr(value, "harness_impl"):
                raise PluginError(f"{name} lacks its marker", remedy="@harness.hookimpl")

    def _list(self, name: str, status: str, reason: str, facts: dict[str, str | None]) -> None:
        self.plugins.append(PluginInfo(name=name, status=status, reason=reason, **facts))

    def _blame(self, name: str, reason: str) -> None:
        self.plugins = [
            msgspec.structs.replace(p, status="broken", reason=reason) if p.name == name else p
            for p in self.plugins
        ]


def _by_reference(name: str, where: str) -> Entry[ScenarioFactory] | None:
    """`bench.py:parse` and `package.module:parse` need no registration."""
    if ":" not in name and not name.endswith(".py"):
        return None
    from harness.references import resolve

    return resolve(name, where)


def _number_of_tokens(value: Any) -> int | None:
    count = whole_number(value)
    if count is None and value is not None:
        raise ValueError(f"{_short(value)} is no number of tokens")
    return count


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}"


def _trace_before(hook: str, implementations: Sequence[Any], arguments: Mapping[str, Any]) -> None:
    names = ", ".join(i.plugin_name for i in implementations)
    if not names:
        return
    shown = ", ".join(f"{key}={_short(value)}" for key, value in arguments.items())
    print(f"hook {hook}({shown}) → {names}", file=sys.stderr)  # noqa: T201  (asked for by the user)


def _trace_after(
    outcome: Any, hook: str, impls: Sequence[Any], _arguments: Mapping[str, Any]
) -> None:
    if not impls:
        return
    error = outcome.exception
    result = f"raised {_one_line(error)}" if error else _short(outcome.get_result())
    print(f"hook {hook} = {result}", file=sys.stderr)  # noqa: T201


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
