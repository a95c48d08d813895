"""A wheel, an sdist and plain installs, as a stranger would use them: outside the tree."""

from __future__ import annotations

import json
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from .conftest import ROOT, Environment, call

pytestmark = pytest.mark.packaging


def test_the_wheel_holds_what_runs_and_no_native_source(distributions):
    names = zipfile.ZipFile(distributions[1]).namelist()
    for module in ("clock", "framing", "recorder", "kernels"):
        assert any(n.startswith(f"harness/_native/{module}.") and n.endswith(".so") for n in names)
        assert f"harness/_native/{module}.pyi" in names
    if sys.platform.startswith("linux"):
        assert any(n.startswith("harness/_native/reactor.") and n.endswith(".so") for n in names)
    assert "harness/py.typed" in names
    for plugin in (p.name for p in (ROOT / "plugins").iterdir()):
        assert f"{plugin}/__init__.py" in names
    assert any(n.startswith("harness_single_agent/corpus/") for n in names)
    assert "harness_single_agent/specs/demo.yaml" in names
    rust = {n.removeprefix("harness_agents/rust/") for n in names if "_agents/rust/" in n}
    assert {"Cargo.lock", "Cargo.toml", "agent-core/build.rs", "agent-core/src/lib.rs"} <= rust
    assert not [n for n in rust if n.startswith("target/")]
    assert "harness/cli/templates/common/pyproject.toml.tmpl" in names
    assert "harness/engine/bands/stateset.yaml" in names
    assert "harness/report/templates/report.html" in names
    unwanted = [n for n in names if n.endswith((".pyx", ".pxd", ".c", ".cpp"))]
    assert unwanted == []
    strangers = {n.split("/")[0] for n in names} - {"harness"}
    assert all(n.startswith(("harness_", "chimera_harness-")) for n in strangers), strangers


def test_the_sdist_holds_the_sources_and_nothing_generated(distributions):
    with tarfile.open(distributions[0]) as archive:
        names = archive.getnames()
    inside = {name.partition("/")[2] for name in names}
    assert {"_native/reactor.pyx", "_native/wire.pxd", "setup.py", "LICENSE", "Makefile"} <= inside
    assert "tests/native/oracles_framing.py" in inside
    generated = {n for n in inside if n.endswith((".so", ".c"))}
    assert generated <= {"tests/native/fuzz_coverage.c"}, "the one C file that is written by hand"


def test_the_core_depends_on_about_a_dozen():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) <= 13


def test_the_wheel_runs_without_any_extra(installed, tmp_path):
    """No xllamacpp, no gguf, no torch: everything else works and what is missing is said."""
    listed = json.loads(installed.harness("list", "--json"))
    assert {"ollama", "openai", "llamacpp"} <= {b["name"] for b in listed["backends"]}
    assert [p["status"] for p in listed["plugins"]] == ["loaded"] * len(listed["plugins"])
    installed.harness("doctor", expect=0)
    clean = installed.python(
        "import sys, harness.cli.run, harness.engine, harness.store, harness.report;"
        "print([m for m in ('torch', 'xllamacpp', 'gguf', 'pytest') if m in sys.modules])"
    )
    assert clean.strip() == "[]"
    done = call(
        installed.bin / "python",
        "-c",
        "import subprocess, sys;"
        f"r = subprocess.run([{str(installed.bin / 'harness')!r}, 'run', 'load', '--limit', '1'],"
        " capture_output=True, text=True);"
        "print(r.returncode, r.stderr.replace(chr(10), ' '))",
        cwd=tmp_path,
    )
    assert done.startswith("2 ")
    assert "chimera-harness[llamacpp]" in done
    assert "Traceback" not in done


def test_the_example_plugin_works_from_its_own_wheel(installed, tmp_path, tmp_path_factory):
    """Third-party parity: built, installed beside the wheel, found, used, and removable."""
    example = tmp_path_factory.mktemp("example")
    call("cp", "-r", ROOT / "examples" / "harness-echo", example)
    wheel_dir = tmp_path / "wheels"
    call(
        sys.executable,
        *("-m", "build", "--wheel", "--no-isolation", "--outdir", wheel_dir),
        example / "harness-echo",
    )
    (wheel,) = wheel_dir.glob("*.whl")
    installed.pip("install", "--no-deps", wheel)
    try:
        listed = json.loads(installed.harness("list", "--json"))
        assert "echo" in {b["name"] for b in listed["backends"]}
        out = tmp_path / "run"
        printed = installed.harness(
            *("run", "counting", "--backend", "echo", "-o", "upper=false"),
            *("--requests", "20", "--concurrency", "4", "--out", out, "--json"),
        )
        summary = json.loads(printed)
        assert summary["arms"][0]["calls"] == {"ok": 20}
        assert "simulated" in {c["code"] for c in summary["verdict"]["caveats"]}
        table = installed.harness("export", out, "--format", "tsv").splitlines()
        assert table[0] == "call_id\tstatus\toutput_tokens"
        assert len(table) > 20
        assert all(line.split("\t")[1:] == ["ok", "5"] for line in table[1:])
        refused = call(
            *(installed.bin / "harness", "run", "counting", "--backend", "echo", "-o", "uper=1"),
            cwd=tmp_path,
            expect=2,
        )
        assert refused == ""
    finally:
        installed.pip("uninstall", "--yes", "harness-echo")


def test_the_examples_own_tests_pass():
    folder = ROOT / "examples" / "harness-echo"
    call(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder),
        folder / "tests",
        cwd=folder,
        PYTHONPATH=str(folder),
    )


@pytest.mark.parametrize("how", [(), ("--editable",)], ids=["plain", "editable"])
def test_pip_install_from_the_tree(how, tmp_path, distributions):
    """`pip install .` and `pip install -e .`, from a tree that nothing was built in."""
    call("tar", "-xzf", distributions[0], "-C", tmp_path)  # tarfile's filter came with 3.11.4
    (tree,) = (p for p in tmp_path.iterdir() if p.is_dir())
    environment = Environment(tmp_path / "venv")
    environment.pip("install", "--no-deps", *how, tree, HARNESS_NATIVE_QUICK="1")
    # The few that `harness --help` needs: the whole list is installed with the wheel, above.
    environment.pip("install", "pluggy", "msgspec", "click")
    assert "Commands:" in environment.harness("--help")
    module = environment.python(
        "import importlib.util as u; print(u.find_spec('harness._native.framing').origin)"
    )
    inside = Path(module.strip()).is_relative_to(tree)
    assert inside == bool(how)
