"""The plugin host: who is found, who is broken and why, and that nobody stops another."""

from __future__ import annotations

import types

import msgspec
import pytest

import harness
from harness import hookspecs
from harness.errors import SpecError
from harness.host import Host
from harness.schema import Caveat


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    num_ctx: int = 4096


def plugin(name="p", **hooks):
    module = types.ModuleType(name)
    for hook, function in hooks.items():
        function.__name__ = hook
        setattr(module, hook, harness.hookimpl(function))
    return module


def registers(name, factory=lambda config: None, **how):
    def harness_register_backends(registry):
        registry.add(name, factory, **how)

    return harness_register_backends


def test_a_plugin_is_registered_and_listed():
    host = Host()
    assert host.add("mine", plugin(harness_register_backends=registers("b", options=Options)))
    assert [entry.name for entry in host.backends] == ["b"]
    assert host.backends.get("b").plugin == "mine"
    assert [(p.name, p.status) for p in host.plugins] == [("mine", "loaded")]


def test_options_are_decoded_strictly():
    host = Host()
    host.add("mine", plugin(harness_register_backends=registers("b", options=Options)))
    entry = host.backends.get("b")
    assert entry.decode_options({"num_ctx": 1}, "$").num_ctx == 1
    with pytest.raises(SpecError, match=r"\$\.backend\.options\.num_ctxx.*try: num_ctx"):
        entry.decode_options({"num_ctxx": 1}, "$.backend.options")


def test_an_unknown_name_gets_the_nearest():
    host = Host()
    host.add("mine", plugin(harness_register_backends=registers("ollama")))
    with pytest.raises(SpecError, match=r"no backend 'olama' \(try: ollama\)"):
        host.backends.get("olama")


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        ("harness_register_backend", "try: harness_register_backends"),
        ("harness_no_such_thing_at_all", "there is no hook"),
    ],
)
def test_a_misspelt_hook_is_named(hook, says):
    host = Host()
    assert not host.add("bad", plugin(**{hook: lambda registry: None}))
    assert host.plugins[0].status == "broken"
    assert says in host.plugins[0].reason


def test_a_hook_without_its_marker_is_named():
    module = types.ModuleType("bad")
    module.harness_register_backends = lambda registry: None
    host = Host()
    assert not host.add("bad", module)
    assert "@harness.hookimpl" in host.plugins[0].reason


def test_a_wrong_argument_is_named():
    host = Host()
    assert not host.add("bad", plugin(harness_run_finished=lambda summary: None))
    assert "summary" in host.plugins[0].reason


def test_a_failing_registration_leaves_nothing_and_stops_nobody():
    def harness_register_backends(registry):
        registry.add("half", lambda config: None)
        raise RuntimeError("boom\nwith a second line")

    host = Host()
    assert not host.add("bad", plugin(harness_register_backends=harness_register_backends))
    assert host.add("good", plugin(harness_register_backends=registers("b")))
    assert [entry.name for entry in host.backends] == ["b"]
    assert host.plugins[0].reason == "RuntimeError: boom with a second line"


def test_a_taken_name_blames_the_second():
    host = Host()
    host.add("first", plugin(harness_register_backends=registers("b")))
    assert not host.add("second", plugin(harness_register_backends=registers("b")))
    assert "already registered by plugin 'first'" in host.plugins[1].reason
    assert host.backends.get("b").plugin == "first"


def test_things_that_are_not_what_they_should_be():
    host = Host()
    assert not host.add("a", plugin(harness_register_backends=registers("b", factory=3)))
    assert not host.add("b", plugin(harness_register_backends=registers("b", options=dict)))
    assert "not callable" in host.plugins[0].reason
    assert "msgspec.Struct" in host.plugins[1].reason


def test_a_hook_that_raises_marks_its_plugin_and_the_others_answer():
    caveat = Caveat(code="x", severity="note", message="m")

    def harness_find_caveats(result):
        raise ValueError("no")

    host = Host()
    host.add("bad", plugin(harness_find_caveats=harness_find_caveats))
    host.add("good", plugin(harness_find_caveats=lambda result: [caveat]))
    assert host.find_caveats(None) == [caveat]
    broken = {p.name: p.reason for p in host.plugins if p.status == "broken"}
    assert broken == {"bad": "harness_find_caveats raised ValueError: no"}


def test_count_tokens_takes_the_first_answer():
    host = Host()
    host.add("a", plugin(harness_count_tokens=lambda model, text: None))
    host.add("b", plugin(harness_count_tokens=lambda model, text: len(text)))
    assert host.count_tokens("m", "four") == 4


@pytest.mark.parametrize("answer", ["abc", "7", -5, 10**30, 2.5, True])
def test_an_answer_that_is_no_number_of_tokens_is_the_plugin_s_fault(answer):
    host = Host()
    host.add("odd", plugin(harness_count_tokens=lambda model, text: answer))
    host.add("good", plugin(harness_count_tokens=lambda model, text: len(text)))
    assert host.count_tokens("m", "four") == 4
    said = {p.name: (p.status, p.reason) for p in host.plugins}
    why = f"harness_count_tokens raised ValueError: {answer!r} is no number of tokens"
    assert said == {"odd": ("broken", why), "good": ("loaded", "")}


def test_every_hook_is_called_through_the_facade(monkeypatch):
    """One plugin that implements every hook, with every argument; the log names them in order."""
    import inspect

    import click

    log = []
    hooks = {n: f for n, f in vars(hookspecs).items() if n.startswith("harness_")}
    module = types.ModuleType("all")
    for name, spec in hooks.items():
        names = list(inspect.signature(spec).parameters)
        source = f"def {name}({', '.join(names)}):\n    log.append('{name}')\n"
        scope = {"log": log}
        exec(source, scope)
        setattr(module, name, harness.hookimpl(scope[name]))
    host = Host()
    assert host.add("all", module)
    registered = list(log)
    assert registered == [n for n in hooks if n.startswith("harness_register_")]
    log.clear()
    host.add_commands(click.Group())
    host.collect_environment(None)
    host.run_started(None, None)
    host.count_tokens("m", "t")
    host.trial_finished(None)
    host.find_caveats(None)
    host.run_finished(None)
    assert sorted(log + registered) == sorted(hooks)


def test_hook_calls_can_be_traced(monkeypatch, capsys):
    monkeypatch.setenv("HARNESS_TRACE_HOOKS", "1")
    host = Host()
    host.add("a", plugin(harness_count_tokens=lambda model, text: 7))
    host.count_tokens("m", "t")
    traced = capsys.readouterr().err
    assert "hook harness_count_tokens(model='m', text='t') → a" in traced
    assert "hook harness_count_tokens = 7" in traced


# Entry points: a throw-away distribution on sys.path, found as any stranger's is. ---------------


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    def install(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[harness]\n{name} = {name}\n")

    monkeypatch.syspath_prepend(tmp_path)
    return install


GOOD = """
import harness
@harness.hookimpl
def harness_register_scenarios(registry):
    registry.add("from_{0}", lambda config: None, summary="s")
"""


def test_strangers_are_found_listed_and_blockable(stranger, monkeypatch):
    stranger("stranger_one", GOOD.format("one"))
    stranger("stranger_two", GOOD.format("two"))
    monkeypatch.setenv("HARNESS_DISABLE_PLUGINS", "stranger_two,stranger_ones")
    host = Host.load()
    listed = {p.name: p for p in host.plugins}
    assert listed["stranger_one"].status == "loaded"
    assert (listed["stranger_one"].distribution, listed["stranger_one"].version) == (
        "stranger_one",
        "1.0",
    )
    assert listed["stranger_two"].status == "disabled"
    assert listed["stranger_ones"].status == "unknown"
    assert listed["stranger_ones"].reason.endswith("not installed; stranger_one?")
    assert "from_one" in host.scenarios
    assert "from_two" not in host.scenarios


def test_a_stranger_that_cannot_be_imported_stops_nobody(stranger):
    stranger("stranger_bad", "import no_such_package_anywhere\n")
    stranger("stranger_good", GOOD.format("good"))
    host = Host.load()
    listed = {p.name: p for p in host.plugins}
    assert listed["stranger_bad"].status == "broken"
    assert "no_such_package_anywhere" in listed["stranger_bad"].reason
    assert "from_good" in host.scenarios
    assert "load" in host.scenarios, "in-tree plugins take the same road"
