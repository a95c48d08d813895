"""docs/hooks.md is complete, in step with the hookspecs, and its plugins work."""

from __future__ import annotations

import inspect
import re
import types
from pathlib import Path

import pytest

from harness import hookspecs
from harness.host import Host

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "hooks.md").read_text("utf-8")
SECTIONS = re.findall(r"^## (harness_\w+)\(([^)]*)\)$(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
SPECS = {n: f for n, f in vars(hookspecs).items() if n.startswith("harness_")}


def test_every_hook_has_a_section_in_the_order_of_the_specs():
    assert [name for name, _, _ in SECTIONS] == list(SPECS)


@pytest.mark.parametrize(("name", "arguments"), [(n, a) for n, a, _ in SECTIONS])
def test_headings_name_the_arguments(name, arguments):
    assert arguments.split(", ") == list(inspect.signature(SPECS[name]).parameters)


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, _, t in SECTIONS])
def test_every_section_holds_a_whole_plugin(name, text):
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    module = types.ModuleType(f"page_{name}")
    exec(compile(code, f"docs/hooks.md:{name}", "exec"), vars(module))
    assert hasattr(vars(module)[name], "harness_impl")
    host = Host()
    assert host.add("page", module), host.plugins[0].reason


def test_every_spec_says_when_it_is_called():
    for name, spec in SPECS.items():
        words = inspect.getdoc(spec)
        assert words, name
        assert "Called" in words or "once" in words, name
