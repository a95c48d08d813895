"""`harness new`: what it writes is checked, installed, tested and used, as its author would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.scaffold import NAME_MAX

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("scenario", "backend", "plugin")
LONG = "-as-long-as-it-can-be"


def call(*words, cwd, **env):
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=cwd,
        env={**clean, **env},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One of each kind, and one more whose name is as long as may be."""
    folder = tmp_path_factory.mktemp("new")
    for kind in KINDS:
        printed = call("harness", "new", kind, f"tried-{kind}", "--dir", folder, cwd=folder)
        assert f"harness-tried-{kind}/README.md" in printed
    for kind in KINDS:
        call("harness", "new", kind, f"{kind}{LONG}"[:NAME_MAX], "--dir", folder, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(made):
    """A folder with the three installed, entry points and all, beside the harness under test."""
    site = made / "site"
    packages = [made / f"harness-tried-{kind}" for kind in KINDS]
    call(
        *("pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"),
        *("--disable-pip-version-check", "--target", site, *packages),
        cwd=made,
    )
    return site


def test_nothing_is_left_to_fill_in(made):
    written = [path for path in made.rglob("*") if path.is_file()]
    assert len(written) > 30
    for path in written:
        assert "${" not in path.read_text("utf-8"), path
        assert not path.name.endswith(".tmpl")


def test_it_is_clean_by_its_own_rules(made):
    folders = [path for path in made.iterdir() if path.name.startswith("harness-")]
    assert len(folders) == 2 * len(KINDS)
    call("ruff", "check", "--no-cache", *folders, cwd=made)
    call("ruff", "format", "--no-cache", "--check", *folders, cwd=made)
    packages = [made / f"harness-tried-{kind}" / f"harness_tried_{kind}" for kind in KINDS]
    call(
        *("mypy", "--strict", "--follow-imports=silent", "--ignore-missing-imports"),
        *("--cache-dir", ROOT / ".mypy_cache", *packages),
        cwd=made,
        MYPYPATH=str(ROOT),
    )


def test_its_own_tests_pass(made, installed):
    for kind in KINDS:
        call(
            *("pytest", "-q", "-p", "no:cacheprovider", "-W", "error"),
            cwd=made / f"harness-tried-{kind}",
            PYTHONPATH=str(installed),
        )


def test_it_is_found_and_used(installed, tmp_path):
    def harness(*words):
        return call("harness", *words, cwd=tmp_path, PYTHONPATH=str(installed))

    listed = json.loads(harness("list", "--json"))
    names = {kind: {one["name"] for one in ones} for kind, ones in listed.items()}
    assert {"tried_scenario", "tried-plugin-sort"} <= names["scenarios"]
    assert "tried_backend" in names["backends"]
    assert "tried_plugin" in names["instruments"] & names["exporters"]
    asked = json.loads(harness("list", "tried_scenario", "--json"))
    assert [one["name"] for one in asked[0]["options"]] == ["question", "max_tokens"]
    assert asked[0]["options"][1]["doc"] == "Upper bound of the answer."
    one = tmp_path / "one"
    # The scenario against the backend, both of them a minute old.
    harness("run", "tried_scenario", "--backend", "tried_backend", "--out", one, "--limit", "2")
    two = tmp_path / "two"
    words = ("-o", "items=50", "--instrument", "tried_plugin", "--iterations", "2")
    summary = json.loads(harness("run", "tried-plugin-sort", *words, "--out", two, "--json"))
    assert summary["verdict"]["state"] == "valid"
    table = harness("export", two, "--format", "tried_plugin").splitlines()
    assert "default\titems_per_call\t50\t1\t2" in table
    assert any(line.startswith("default\ttried_plugin.objects\t") for line in table)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scenario", "Bad Name"), "cannot name a package"),
        (("scenario", "class"), "cannot name a package"),
        (("scenario", "a" * (NAME_MAX + 1)), "cannot name a package"),
        (("backend", "ollama"), "installed already"),
        (("backend", "harness-none"), "the backend 'none' is there already, of plugin 'callables'"),
        (("plugin", "timing"), "the instrument 'timing' is there already"),
        (("scenario", "mine", "--dir", "nowhere"), "there is no such folder"),
    ],
)
def test_what_cannot_be_is_refused(harness_command, tmp_path, words, said):
    done = harness_command("new", *words)
    assert done.status == 2
    assert said in done.err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(harness_command, tmp_path):
    (tmp_path / "harness-mine").mkdir()
    done = harness_command("new", "plugin", "mine")
    assert done.status == 2
    assert "there is something of that name already" in done.err
    assert list((tmp_path / "harness-mine").iterdir()) == []
