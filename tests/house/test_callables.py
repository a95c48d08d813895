"""Functions as scenarios: decorated, by reference, with parameters as options."""

from __future__ import annotations

import sys
import types
from typing import Annotated, Any, Literal

import msgspec
import pytest

import harness
from harness.callables import benchmark, benchmarks_in, describe, unit_of
from harness.cli.details import options_of
from harness.errors import PluginError, SpecError
from harness.host import Host
from harness.references import resolve
from harness.registry import Entry
from harness.testing import run_scripted

FILE = '''
"""Benchmarks for a test."""
from __future__ import annotations
import beside
import harness

@harness.benchmark(iterations=3, warmup=0)
def parse(rows: int = 10) -> dict[str, float]:
    """Parse some rows.

    And more about it."""
    return {"rows": beside.double(rows), "parse_ms": 1.5}

@harness.benchmark(name="ask-once")
async def ask(ctx, question: str = "Why?"):
    """Ask."""
    from harness.schema import Request
    record = await ctx.call(Request(prompt=question))
    return len(record.text)

def plain():
    return 4

class Workflow:
    """A scenario by class."""
    def __init__(self, config): pass
    async def setup(self, ctx): pass
    async def execute(self, ctx): ctx.metric("one", 1, "1")
    async def teardown(self, ctx): pass

number = 5
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a file of benchmarks in it; nothing of it stays imported."""
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "beside.py").write_text("def double(x): return 2 * x\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def run(name, options=None, answers=None, **fields):
    fields = {"iterations": {"warmup": 0, "measured": 2}, **fields}
    return run_scripted({"scenario": {"name": name, "options": options or {}}, **fields}, None)


# ---- by reference


@pytest.mark.parametrize("place", ["mine.py", "mine", "./mine.py"])
def test_a_function_is_found_where_it_is_said_to_be(folder, place):
    ran = run(f"{place}:parse", {"rows": 4})
    assert ran.error is None
    assert ran.figures("rows") == [8.0, 8.0]
    units = {(m.name, m.unit, m.better) for m in ran.iterations[0].metrics}
    assert units == {("rows", "1", "neither"), ("parse_ms", "ms", "lower")}


def test_by_either_name_undecorated_or_a_class(folder):
    assert run("mine.py:plain").figures("plain") == [4.0, 4.0]
    assert run("mine.py:Workflow").figures("one") == [1.0, 1.0]
    for name in ("mine.py:ask", "mine.py:ask-once"):
        ran = run(name)
        assert ran.figures("ask") == [13.0, 13.0]  # "one two three"
        assert [call.status for call in ran.calls] == ["ok", "ok"]


def test_a_sweep_goes_over_parameters(folder):
    sweep = {"axes": {"scenario.options.rows": [1, 2]}}
    ran = run("mine.py:parse", sweep=sweep, order="sequential")
    assert {
        one.cell: m.value for one in ran.iterations for m in one.metrics if m.name == "rows"
    } == {
        "rows=1": 2.0,
        "rows=2": 4.0,
    }


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("mine.py:pars", {}, "there is no 'pars' .try: parse"),
        ("mine.py:number", {}, "is a int"),
        ("mine.py", {}, "has 2 functions marked as benchmarks .try: one of: mine.py:parse, mine"),
        ("beside.py", {}, "has no functions marked"),
        ("absent.py:x", {}, "there is no file 'absent.py'"),
        ("absent.mod:x", {}, "cannot be imported: ModuleNotFoundError"),
        (
            "mine.py:parse",
            {"row": 1},
            r"\$\.scenario\.options\.row: there is no such field .try: r",
        ),
        ("mine.py:parse", {"rows": "1"}, r"\$\.scenario\.options\.rows: .*a whole number"),
    ],
)
def test_mistakes_are_one_line(folder, name, options, said):
    with pytest.raises(SpecError, match=said) as caught:
        run(name, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "code", ["1/0", "import sys; sys.exit(3)", "raise BaseException('x')", "("]
)
def test_a_module_that_cannot_be_imported_is_a_mistake_of_its_own(folder, code):
    (folder / "bad.py").write_text(code)
    for _ in range(2):  # nothing half imported is left behind
        with pytest.raises(SpecError, match=r"'bad.py' cannot be imported: \w+"):
            run("bad.py:x")


def test_the_source_is_in_the_environment(folder):
    import hashlib

    found = run("mine.py:parse").manifest.environment.collected["callables"]
    digest = f"sha256:{hashlib.sha256(FILE.encode()).hexdigest()}"
    assert found == {"mine.py:parse": digest}
    sweep = {"axes": {"scenario.name": ["mine.py:plain", "mine.py:ask"]}}
    found = run("mine.py:plain", sweep=sweep).manifest.environment.collected["callables"]
    assert found == {"mine.py:plain": digest, "mine.py:ask": digest}


def test_nothing_is_imported_unless_it_is_named(folder):
    host = Host.load()
    assert "mine.py:parse" not in host.scenarios
    assert not any("mine" in name for name in sys.modules if name.startswith("mine"))


# ---- the decorator


def test_the_function_stays_as_it_was():
    @benchmark
    def double(x: int) -> int:
        return 2 * x

    assert double(4) == 8
    assert harness.benchmark is benchmark


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"name": "two words"}, "cannot name a benchmark"),
        ({"name": "a:b"}, "cannot name a benchmark"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"warmup": -1}, "warmup must be at least 0"),
    ],
)
def test_a_wrong_decorator_raises_where_it_stands(how, said):
    with pytest.raises(PluginError, match=said):
        benchmark(**how)


def test_needs_no_backend_unless_it_can_call():
    async def calls(ctx): ...
    async def waits(x: int = 1): ...
    def notes(ctx): ...

    assert describe(calls).calls_model
    assert not describe(waits).calls_model
    assert not describe(notes).calls_model
    assert not describe(benchmark(calls_model=False)(calls)).calls_model


def described(function):
    one = describe(function)
    entry = Entry(name="x", factory=one.function, options=one.options, summary="", plugin="x")
    return [(o.name, o.type, o.default) for o in options_of(entry)]


def test_parameters_become_options():
    def many(
        ctx: NotThere,  # noqa: F821 - a type checker's business
        needed: Annotated[int, msgspec.Meta(ge=1, description="How many.")],
        kind: Literal["a", "b"] = "a",
        *,
        share=0.5,
        names: list[str] = ["x"],  # noqa: B006
        anything: Any = None,
    ): ...

    assert described(many) == [
        ("needed", "int ≥ 1", "required"),
        ("kind", "a or b", '"a"'),
        ("share", "float", "0.5"),
        ("names", "list of text", '["x"]'),
        ("anything", "anything", "null"),
    ]
    options = describe(many).options
    assert options(needed=1).names is not options(needed=1).names
    assert describe(many).takes_ctx


def generator():
    yield 1


def starred(*words): ...
def foreign(process: types.ModuleType): ...
def unread(x: "NotThere"): ...  # noqa: F821, UP037


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (generator, "a generator is no benchmark"),
        (starred, "the parameter `.words` cannot be an option"),
        (foreign, "the parameter `process` is a module"),
        (unread, "an annotation cannot be read: NameError"),
    ],
)
def test_what_cannot_be_a_benchmark_says_why(function, said):
    with pytest.raises(SpecError, match=said):
        describe(function)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("decode_tok_s", ("tok/s", "higher")),
        ("rows_per_s", ("1/s", "higher")),
        ("total_s", ("s", "lower")),
        ("peak_bytes", ("B", "neither")),
        ("score", ("1", "neither")),
    ],
)
def test_units_come_from_names(name, unit):
    assert unit_of(name) == unit


def plugin(**functions):
    """A module with these functions, decorated, and the hook that registers them."""
    module = types.ModuleType("tried")
    for name, function in functions.items():
        function.__module__, function.__name__ = "tried", name
        setattr(module, name, benchmark(better={"score": "higher"})(function))

    @harness.hookimpl
    def harness_register_scenarios(registry):
        registry.add_callables(module)

    module.harness_register_scenarios = harness_register_scenarios
    return module


def returning(value):
    tried = plugin(work=lambda: value)
    return run_scripted({"scenario": {"name": "work"}}, tried).iterations[-1]


def test_what_is_returned_becomes_metrics():
    import numpy

    assert returning(None).metrics == ()
    (one,) = returning(numpy.float32(0.5)).metrics
    assert (one.name, one.value) == ("work", 0.5)
    score, passed = returning({"score": 1, "passed": True}).metrics
    assert (score.better, passed.value) == ("higher", 1.0)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("text", "work: returned str"),
        ({"a": [1]}, "work: returned 'a': list"),
        ({1: 2}, "work: returned 1: the name 1"),
        (float("nan"), "work is nan, which is no figure"),
    ],
)
def test_what_is_no_figure_fails_the_iteration(value, said):
    record = returning(value)
    assert record.status == "error"
    assert said in record.error.message


def test_an_exception_is_a_failed_iteration_and_the_next_one_follows():
    counted = []

    def fails():
        counted.append(1)
        raise ValueError("no\nluck")

    spec = {"scenario": {"name": "fails"}, "iterations": {"warmup": 0, "measured": 3}}
    ran = run_scripted(spec, plugin(fails=fails))
    assert [one.status for one in ran.iterations] == ["error"] * 3
    assert "ValueError: no" in ran.iterations[0].error.message
    assert len(counted) == 3
    verdict = ran.data().summary.verdict
    assert verdict.state == "invalid"


def test_a_call_without_a_backend_says_what_to_do():
    async def calls(ctx):
        from harness.schema import Request

        await ctx.call(Request(prompt="x"))

    spec = {"scenario": {"name": "calls"}, "backend": {"name": "none"}}
    ran = run_scripted(spec, plugin(calls=calls))
    assert "this run has no model server" in ran.iterations[-1].error.message


def test_a_run_without_calls_is_valid():
    spec = {
        "scenario": {"name": "work"},
        "backend": {"name": "none"},
        "iterations": {"warmup": 1, "measured": 20},
        "trials": 3,
    }
    ran = run_scripted(spec, plugin(work=lambda: sum(range(20_000))))
    summary = ran.data().summary
    codes = {caveat.code for caveat in summary.verdict.caveats if caveat.severity == "invalid"}
    assert codes == set()
    (arm,) = summary.arms
    wall = next(metric for metric in arm.metrics if metric.name == "wall_ms")
    assert wall.n == 60
    assert ran.trials[0].effective.unknown["server"] == "this run has no model server"


def test_the_same_name_twice_is_the_plugins_mistake():
    host = Host()
    assert host.add("first", plugin(work=lambda: 1))
    assert not host.add("second", plugin(work=lambda: 2))
    assert "already registered by plugin 'first'" in host.plugins[-1].reason


def test_only_what_the_module_defines_is_listed(folder):
    entry = resolve("mine.py:ask-once")
    assert entry.summary == "Ask."
    module = sys.modules[entry.factory.benchmark.function.__module__]
    module.borrowed = benchmark(lambda: 1)
    assert [one.name for one in benchmarks_in(module)] == ["parse", "ask-once"]


def test_an_interrupt_ends_functions_that_never_wait():
    """They hold up the loop while they run, and no longer."""
    import asyncio

    from harness.engine import run, spec_from
    from harness.testing import MemorySink

    begun = []

    def work():
        begun.append(1)
        if len(begun) == 3:
            task.cancel()

    host = Host.load()
    assert host.add("tried", plugin(work=work))
    raw = {
        "backend": {"name": "none"},
        "scenario": {"name": "work"},
        "iterations": {"warmup": 0, "measured": 500},
        "isolation": "inline",
    }
    sink = MemorySink()

    async def main():
        nonlocal task
        task = asyncio.ensure_future(run(spec_from(raw), host, sink))
        return await task

    task = None
    outcome = asyncio.run(main())
    assert outcome.manifest.state == "interrupted"
    assert 3 <= len(begun) <= 10
