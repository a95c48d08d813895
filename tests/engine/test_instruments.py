"""Instruments in the engine: when they are called, and that their faults stay their own."""

from __future__ import annotations

import types

import msgspec
import pytest

import harness
from harness.errors import PluginError, SpecError
from harness.protocols import Observation
from harness.schema import MetricValue
from harness.testing import run_scripted


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    fail: str = ""
    perturbing: bool = False
    gives: str = "figure"


class Spy:
    """Writes down every call, and fails where it is told to."""

    def __init__(self, name, config, log):
        self.name, self.config, self.log = name, config, log
        self.perturbing = config.options.perturbing

    def _at(self, what):
        self.log.append(f"{self.name} {what}")
        if self.config.options.fail == what:
            raise OSError(f"no {what}\ntoday")

    def open(self):
        self._at("open")

    def start(self):
        self._at("start")

    def stop(self):
        self._at("stop")
        gives = self.config.options.gives
        if gives == "nothing":
            return None
        value = float("nan") if gives == "nan" else 7.0
        figure = MetricValue(name=f"{self.name}.seen", value=value, unit="things")
        other = MetricValue(name="stray", value=1.0, unit="things")
        return Observation(
            metrics=(figure, other), unknown={"lost": "out of sight"}, artifacts=(("a.txt", "x"),)
        )

    def close(self):
        self._at("close")


@pytest.fixture
def spying():
    """run(instruments, spec fields…) → (Ran, what was called)."""
    log: list[str] = []
    made = []

    def factory(name):
        def make(config):
            made.append(config)
            return Spy(name, config, log)

        return make

    @harness.hookimpl
    def harness_register_instruments(registry):
        for name in ("one", "two", "three"):
            registry.add(name, factory(name), options=Options)
        registry.add("broken_factory", lambda config: 1 / 0)
        registry.add("no_instrument", lambda config: object())

    class Working:
        async def setup(self, ctx):
            log.append("setup")

        async def execute(self, ctx):
            log.append(f"execute {ctx.phase}{ctx.iteration}")

        async def teardown(self, ctx):
            log.append("teardown")

    @harness.hookimpl
    def harness_register_scenarios(registry):
        registry.add("working", lambda config: Working())

    plugin = types.ModuleType("spying")
    plugin.harness_register_instruments = harness_register_instruments
    plugin.harness_register_scenarios = harness_register_scenarios

    def run(instruments, scenario="working", **fields):
        raw = {"scenario": {"name": scenario}, "instruments": instruments, **fields}
        return run_scripted(raw, plugin=plugin), log

    run.made = made
    return run


def test_they_bracket_each_measured_iteration_the_first_innermost(spying):
    ran, log = spying(["one", "two"], iterations={"warmup": 1, "measured": 2})
    around = ["two start", "one start", "{}", "one stop", "two stop"]
    expected = ["setup", "one open", "two open", "execute warmup0"]
    for index in range(2):
        expected += [step.format(f"execute measured{index}") for step in around]
    assert log == [*expected, "teardown", "one close", "two close"]
    assert [one.instruments for one in ran.iterations] == [(), ("one", "two"), ("one", "two")]
    assert ran.figures("one.seen") == [7.0, 7.0]


def test_their_figures_are_under_their_own_names(spying):
    ran, _ = spying(["one"], iterations={"warmup": 0, "measured": 1})
    (record,) = ran.iterations
    assert [m.name for m in record.metrics] == ["one.seen", "one.stray"]
    assert record.unobserved == {"one.lost": "out of sight"}
    assert [a.name for a in record.artifacts] == ["m0.one.a.txt"]
    assert list(ran.artifacts.values()) == ["x"]


def test_each_that_perturbs_has_an_extra_iteration_to_itself(spying):
    slow = {"options": {"perturbing": True}}
    ran, log = spying(
        [{"name": "one", **slow}, "two", {"name": "three", **slow}],
        iterations={"warmup": 0, "measured": 1},
    )
    phases = [(one.phase, one.iteration, one.instruments) for one in ran.iterations]
    expected = [("measured", 0, ("two",)), ("extra", 0, ("one",)), ("extra", 1, ("three",))]
    assert phases == expected
    assert log.count("one start") == log.count("three start") == 1
    by_name = {metric.name: metric for arm in ran.data().summary.arms for metric in arm.metrics}
    assert by_name["two.seen"].n == by_name["wall_ms"].n == 1
    assert "one.seen" not in by_name, "an extra iteration counts for nothing"


@pytest.mark.parametrize("what", ["open", "start", "stop", "close"])
def test_what_raises_loses_its_own_figures_alone(spying, what):
    failing = {"name": "one", "options": {"fail": what}}
    ran, log = spying([failing, "two"], iterations={"warmup": 0, "measured": 2})
    assert ran.error is None
    assert {one.status for one in ran.iterations} == {"ok"}
    assert ran.figures("two.seen") == [7.0, 7.0]
    assert log[-2:] == ["one close", "two close"]
    for record in ran.iterations:
        if what == "close":
            assert record.instruments == ("one", "two")
        else:
            assert record.instruments == ("two",)
            assert record.unobserved["one"] == f"{what}: OSError: no {what} today"


@pytest.mark.parametrize(
    ("gives", "unobserved"),
    [
        ("nothing", {"one": "stop: TypeError: gave a NoneType and no Observation"}),
        ("nan", {"one.lost": "out of sight", "one.seen": "nan is no figure"}),
    ],
)
def test_what_is_no_figure_is_none(spying, gives, unobserved):
    asked = [{"name": "one", "options": {"gives": gives}}]
    ran, _ = spying(asked, iterations={"warmup": 0, "measured": 1})
    assert ran.figures("one.seen") == []
    assert ran.iterations[0].unobserved == unobserved


def test_an_iteration_of_a_request_scenario_is_one_drive_of_the_load(spying):
    load = {"mode": "closed", "requests": 4, "concurrency": 2}
    iterations = {"warmup": 0, "measured": 2}
    ran, log = spying(["one"], "load", iterations=iterations, load=load)
    assert ran.error is None
    assert log == ["one open", *["one start", "one stop"] * 2, "one close"]
    assert len(ran.calls) == 8


def test_an_instrument_is_told_where_it_looks(spying):
    spying(["one"], iterations={"warmup": 0, "measured": 1}, trials=2)
    checked, first, second = spying.made
    assert checked.urls == ()
    assert (first.trial, second.trial) == (0, 1)
    assert first.arm == "default"
    assert first.urls == ("http://scripted.invalid/",)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["onee"], r"\$\.instruments\[0\]: there is no instrument 'onee' \(try: one\)"),
        ([{"name": "oen"}], r"\$\.instruments\[0\]\.name: .*\(try: one\)"),
        (
            ["two", {"name": "one", "options": {"fial": "x"}}],
            r"\$\.instruments\[1\]\.options\.fial: there is no such field \(try: fail\)",
        ),
        (["one", "two", "one"], r"\$\.instruments\[2\]: 'one' is there twice"),
    ],
)
def test_mistakes_are_found_when_a_run_is_planned(spying, asked, said):
    with pytest.raises(SpecError, match=said):
        spying(asked)


@pytest.mark.parametrize(
    ("asked", "said"),
    [("broken_factory", "cannot be made: ZeroDivisionError"), ("no_instrument", "lacks one of")],
)
def test_what_is_no_instrument_is_refused(spying, asked, said):
    with pytest.raises(PluginError, match=said):
        spying([asked])
