"""`@harness.benchmark`: a function of yours as a workflow scenario. Public, for plugins and files.

    @harness.benchmark(iterations=20)
    def parse(rows: int = 1000) -> float: ...

    @harness.benchmark(name="two-calls", better={"letters": "higher"})
    async def ask_twice(ctx, question: str = "Why?"): ...

One execution of the scenario is one call of the function. A parameter called `ctx` is given the
harness.protocols.Context; every other one is an option of the scenario, typed by its annotation. A
number that is returned, or a mapping of names to numbers, becomes metrics; an exception is a failed
iteration. The function itself is left as it is, and can be called and tested as before.

A plain function runs in the event loop's own thread, because a worker thread would add its
hand-over to what is measured. It therefore holds up everything else in our process while it runs:
an interrupt takes effect when it returns.
"""

from __future__ import annotations

import inspect
import math
import numbers
import re
import typing
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final, Literal, TypeAlias, TypeVar, overload

import msgspec

from harness.errors import PluginError, ScenarioError, SpecError
from harness.parameters import options_from

if typing.TYPE_CHECKING:
    from harness.protocols import Context, ScenarioConfig

__all__ = ["Benchmark", "FunctionFactory", "benchmark", "benchmarks_in", "describe", "unit_of"]

Better: TypeAlias = Literal["lower", "higher", "neither"]
F = TypeVar("F", bound=Callable[..., Any])

MARK: Final = "__harness_benchmark__"
NAME: Final = re.compile(r"[^\W\d][\w.-]*")

UNITS: Final[dict[str, tuple[str, Better]]] = {
    "_tok_s": ("tok/s", "higher"),
    "_per_s": ("1/s", "higher"),
    "_bytes": ("B", "neither"),
    "_percent": ("%", "neither"),
    "_share": ("1", "neither"),
    "_ns": ("ns", "lower"),
    "_us": ("us", "lower"),
    "_ms": ("ms", "lower"),
    "_s": ("s", "lower"),
}
"""End of a metric's name → its unit, and which way is better. Times, and rates, speak for
themselves; of anything else the decorator's `better` has to say it."""


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the decorator was told; the function's signature is read when it is needed."""

    name: str | None = None
    iterations: int | None = None
    warmup: int | None = None
    trials: int | None = None
    calls_model: bool | None = None
    better: dict[str, Better] = {}


class Benchmark(msgspec.Struct, frozen=True, kw_only=True):
    """A function as a scenario."""

    name: str
    function: Callable[..., Any]
    options: type[msgspec.Struct]
    """One field for each parameter but `ctx`."""
    takes_ctx: bool
    calls_model: bool
    """False: needs no backend."""
    better: dict[str, Better]
    defaults: dict[str, Any]
    """Spec fields that the decorator sets and a spec overrides."""
    summary: str
    """First line of the docstring."""


@overload
def benchmark(function: F, /) -> F: ...
@overload
def benchmark(
    *,
    name: str | None = None,
    iterations: int | None = None,
    warmup: int | None = None,
    trials: int | None = None,
    calls_model: bool | None = None,
    better: Mapping[str, Better] | None = None,
) -> Callable[[F], F]: ...


def benchmark(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    iterations: int | None = None,
    warmup: int | None = None,
    trials: int | None = None,
    calls_model: bool | None = None,
    better: Mapping[str, Better] | None = None,
) -> Any:
    """Mark a function as a benchmark. The function itself is returned.

    name         under which it is registered and listed; default: the function's own
    iterations   measured ones per trial, unless the spec says otherwise; so `warmup`, `trials`
    calls_model  default: whether it is an async function with a `ctx`. If not, no backend is needed
    better       metric → `lower` or `higher`, where its unit does not tell

    Raises PluginError for a name that cannot be typed, and a number out of bounds.
    """
    if name is not None and not NAME.fullmatch(name):
        raise PluginError(
            f"{name!r} cannot name a benchmark",
            where="harness.benchmark",
            remedy="letters, digits, `_`, `-` and `.`, beginning with a letter",
        )
    for what, count, least in (
        ("iterations", iterations, 1),
        ("warmup", warmup, 0),
        ("trials", trials, 1),
    ):
        if count is not None and count < least:
            raise PluginError(
                f"{what} must be at least {least}, is {count}", where="harness.benchmark"
            )
    asked = _Asked(
        name=name,
        iterations=iterations,
        warmup=warmup,
        trials=trials,
        calls_model=calls_model,
        better=dict(better or {}),
    )

    def mark(function: F) -> F:
        setattr(function, MARK, asked)
        return function

    return mark if function is None else mark(function)


def benchmarks_in(module: ModuleType) -> list[Benchmark]:
    """The decorated functions that `module` defines, in its order. Raises SpecError for one whose
    parameters cannot be options."""
    return [
        describe(value)
        for value in vars(module).values()
        if inspect.isfunction(value)
        and hasattr(value, MARK)
        and value.__module__ == module.__name__
    ]


def describe(function: Callable[..., Any], where: str = "") -> Benchmark:
    """Any function, decorated or not, as a Benchmark. Raises SpecError, at `where`."""
    asked: _Asked = getattr(function, MARK, _Asked())
    own_name = getattr(function, "__name__", type(function).__name__)
    where = where or own_name
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise SpecError(
            "a generator is no benchmark: it does nothing when it is called", where=where
        )
    parameters = list(inspect.signature(function).parameters.values())
    takes_ctx = bool(parameters) and parameters[0].name == "ctx"
    calls = asked.calls_model
    counts = {"measured": asked.iterations, "warmup": asked.warmup}
    known = {key: value for key, value in counts.items() if value is not None}
    return Benchmark(
        name=asked.name or own_name,
        function=function,
        options=options_from(function, parameters[1:] if takes_ctx else parameters, where),
        takes_ctx=takes_ctx,
        calls_model=takes_ctx and inspect.iscoroutinefunction(function) if calls is None else calls,
        better=asked.better,
        defaults=({"iterations": known} if known else {})
        | ({"trials": asked.trials} if asked.trials is not None else {}),
        summary=(inspect.getdoc(function) or "").partition("\n")[0],
    )


class FunctionFactory:
    """The scenario factory of a function. What it carries beside, the command line reads."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark
        self.calls_model = benchmark.calls_model
        self.defaults = benchmark.defaults
        self.__doc__ = inspect.getdoc(benchmark.function)

    def __call__(self, config: ScenarioConfig) -> FunctionScenario:
        return FunctionScenario(self.benchmark, config.options)


class FunctionScenario:
    """See harness.protocols.WorkflowScenario, which this implements."""

    def __init__(self, benchmark: Benchmark, options: Any) -> None:
        self._benchmark = benchmark
        self._arguments = {f: getattr(options, f) for f in options.__struct_fields__}

    async def setup(self, ctx: Context) -> None:
        pass

    async def execute(self, ctx: Context) -> None:
        function = self._benchmark.function
        first = (ctx,) if self._benchmark.takes_ctx else ()
        value = function(*first, **self._arguments)
        if inspect.isawaitable(value):
            value = await value
        for name, figure in _figures(function.__name__, value).items():
            unit, better = unit_of(name)
            ctx.metric(name, figure, unit, better=self._benchmark.better.get(name, better))

    async def teardown(self, ctx: Context) -> None:
        pass


def unit_of(name: str) -> tuple[str, Better]:
    """By the end of the name: `parse_ms` is in ms, and less of it is better."""
    for suffix, found in UNITS.items():
        if name.endswith(suffix):
            return found
    return "1", "neither"


def _figures(own_name: str, value: Any) -> dict[str, float]:
    """What was returned, as metrics. Raises ScenarioError for what is no figure."""
    if value is None:
        return {}
    found = value if isinstance(value, Mapping) else {own_name: value}
    for name, figure in found.items():
        if not isinstance(name, str) or not isinstance(figure, numbers.Real):
            kind = type(figure).__name__ if isinstance(name, str) else f"the name {name!r}"
            raise ScenarioError(
                f"returned {kind}" if found is not value else f"returned {name!r}: {kind}",
                where=own_name,
                remedy="a number, a mapping of names to numbers, or nothing",
            )
        if not math.isfinite(figure):
            raise ScenarioError(f"{name} is {figure}, which is no figure", where=own_name)
    return {name: float(figure) for name, figure in found.items()}
