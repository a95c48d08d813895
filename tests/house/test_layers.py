"""Imports run one way. The test walks every module and names the line that does not."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Within harness/: package or module → layer. A module may import from its own layer or below.
LAYERS = {
    "errors": 0,
    "schema": 0,
    "_native": 0,
    "strict": 1,
    "text": 1,
    "addresses": 1,
    "openend": 1,
    "options": 1,
    "control": 1,
    "lifeline": 1,
    "cache": 1,
    "serverprocess": 1,
    "cgroups": 1,
    "hostload": 1,
    "tables": 1,
    "redaction": 1,
    "margins": 1,
    "sizes": 1,
    "protocols": 1,
    "hookspecs": 1,
    "registry": 1,
    "callables": 1,
    "parameters": 1,
    "references": 1,
    "host": 1,
    "metrics": 1,
    "money": 1,
    "statistics": 1,
    "transport": 1,
    "devices": 1,
    "joules": 1,
    "sampling": 1,
    "processes": 1,
    "engine": 2,
    "executors": 2,
    "jobs": 3,
    "presets": 3,
    "importers": 3,
    "store": 3,
    "compare": 3,
    "report": 3,
    "cli": 4,
    "selfcheck": 4,
    "testing": 4,
    "__init__": 4,
    "__main__": 4,
}
# What a plugin may import from us: public names only.
PUBLIC = {
    "callables",
    "references",
    "errors",
    "executors",
    "schema",
    "protocols",
    "text",
    "addresses",
    "openend",
    "options",
    "control",
    "lifeline",
    "cache",
    "serverprocess",
    "cgroups",
    "hostload",
    "jobs",
    "redaction",
    "sizes",
    "tables",
    "testing",
    "devices",
    "joules",
    "sampling",
    "processes",
}


def harness_imports(path: Path) -> list[tuple[int, str, bool]]:
    """(line, module, whether only for type checking) of every import of harness in a file."""
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: list[tuple[int, str, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            base = node.module or ""
            names = (
                [f"{base}.{alias.name}" for alias in node.names] if base == "harness" else [base]
            )
        else:
            continue
        found += [
            (node.lineno, name, id(node) in typing_only)
            for name in names
            if name.split(".")[0] == "harness"
        ]
    return found


def top(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else "__init__"


def violations_in_core(root: Path) -> list[str]:
    wrong = []
    for path in sorted(root.rglob("*.py")):
        own = path.relative_to(root).with_suffix("").parts[0]
        for line, module, typing_only in harness_imports(path):
            if typing_only or module in ("harness", "harness.__version__"):
                continue
            if LAYERS[top(module)] > LAYERS[own]:
                wrong.append(f"{path}:{line}: {own} ({LAYERS[own]}) imports {module}")
    return wrong


def test_every_module_has_a_layer():
    names = {path.stem for path in (ROOT / "harness").iterdir() if path.suffix == ".py"}
    names |= {p.name for p in (ROOT / "harness").iterdir() if (p / "__init__.py").exists()}
    assert names <= set(LAYERS), f"no layer for {names - set(LAYERS)}"


def test_imports_run_one_way():
    assert violations_in_core(ROOT / "harness") == []


def test_a_wrong_import_would_be_found(tmp_path):
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "bad.py").write_text("import os\nfrom harness.engine import run\n")
    (found,) = violations_in_core(tmp_path)
    assert "bad.py:2: schema (0) imports harness.engine" in found


def test_the_schema_imports_nothing_of_ours():
    for path in (ROOT / "harness" / "schema").glob("*.py"):
        for line, module, _ in harness_imports(path):
            assert module.startswith("harness.schema"), f"{path}:{line} imports {module}"


@pytest.mark.parametrize("plugin", sorted(p.name for p in (ROOT / "plugins").iterdir()))
def test_plugins_are_strangers(plugin):
    wrong = [
        f"{path}:{line}: imports {module}"
        for path in sorted((ROOT / "plugins" / plugin).rglob("*.py"))
        for line, module, typing_only in harness_imports(path)
        if not typing_only and module != "harness" and top(module) not in PUBLIC | {"__init__"}
    ]
    assert wrong == []


def test_the_command_line_alone_prints_or_exits():
    """Ruff's T20 finds print(); this finds what it does not: sys.exit and click.echo."""
    wrong = []
    for path in sorted((ROOT / "harness").rglob("*.py")):
        own = path.relative_to(ROOT / "harness").parts[0]
        if own in ("cli", "__main__.py", "lifeline.py") or path.name == "child.py":
            continue  # the last two run in children
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("sys.exit", "exit", "click.echo", "os._exit"):
                    wrong.append(f"{path}:{node.lineno}: {called}")
    assert wrong == []


@pytest.mark.parametrize("package", ["devices", "engine", "metrics", "money", "report"])
def test_a_package_says_where_everything_is(package):
    """Its docstring is the map by which a reader finds the page that is wanted."""
    folder = ROOT / "harness" / package
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
    files = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    unsaid = [name for name in files if not re.search(rf"\b{re.escape(name)}", said)]
    assert sorted(unsaid) == []
