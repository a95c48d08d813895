"""docs/scenarios.md and docs/instruments.md are carried out as they stand; so is hooks.md's own
instrument."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

from harness.host import Host
from harness.store import load_run
from harness.testing import run_scripted

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```(python|yaml|sh)\n(.*?)^```$", re.M | re.S)


def carry_out(page, folder):
    """Every file written, every command run, in the order of the page; what each printed."""
    printed = {}
    for kind, text in BLOCK.findall((DOCS / page).read_text("utf-8")):
        if kind != "sh":
            name = re.fullmatch(r"# (\S+)", text.partition("\n")[0])
            assert name, f"{page}: the first line names the file"
            (folder / name[1]).write_text(text)
            continue
        for line in text.splitlines():
            program, *words = shlex.split(line)
            assert program == "harness", line
            done = subprocess.run(
                [sys.executable, "-m", "harness", *words],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=240,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            printed[line] = done.stdout
    return printed


def test_the_page_on_scenarios(tmp_path):
    printed = carry_out("scenarios.md", tmp_path)
    listed = printed["harness list bench.py"]
    assert re.search(r"compact +Write rows as JSON, without spaces\.", listed)
    assert re.search(r"rows +int, default 1000", printed["harness list bench.py:compact"])
    assert "How many calls." in printed["harness list classy.py:Chain"]
    compact = printed["harness run bench.py:compact -o rows=200 --iterations 4"]
    assert "on none" in compact
    assert re.search(r"ratio +0\.\d+.* 4\b", compact)
    assert "on llamacpp" in printed["harness run bench.py:ask-twice -o max_tokens=8"]
    both = printed["harness run spec.yaml"]
    assert re.search(r"median per iteration +compact +spaced +unit", both)
    assert "timing.wall_ms" in both


def test_its_plugin_registers_what_it_says(tmp_path, monkeypatch):
    blocks = [text for kind, text in BLOCK.findall((DOCS / "scenarios.md").read_text("utf-8"))]
    bench = types.ModuleType("bench")
    exec(blocks[0], vars(bench))
    monkeypatch.setitem(sys.modules, "bench", bench)
    (text,) = (text for text in blocks if "add_callables" in text)
    mine = types.ModuleType("harness_mine")
    exec(text, vars(mine))
    host = Host()
    assert host.add("mine", mine), host.plugins[0].reason
    assert [entry.name for entry in host.scenarios] == ["ask-twice", "compact"]


def test_the_page_on_instruments(tmp_path):
    printed = carry_out("instruments.md", tmp_path)
    assert "interval_ms" in printed["harness list psutil"]
    named = {}
    for path in sorted((tmp_path / "runs").iterdir()):
        run = load_run(path)
        names = {one.name for arm in run.summary.arms for one in arm.metrics}
        named[len(run.manifest.spec.instruments)] = names
    assert {"timing.cpu_share", "psutil.server_rss_max_bytes"} <= named[3]
    assert not any(name.startswith("cprofile.") for name in named[3]), "only of an extra iteration"
    kept = {path.name for path in (tmp_path / "runs").glob("*/artifacts/*/*")}
    assert {"m0.psutil.samples.csv", "m1.psutil.samples.csv", "e0.cprofile.profile.pstats"} <= kept
    assert "m0.sampler.stacks.collapsed.txt" in kept


def test_every_shipped_instrument_has_a_section():
    page = (DOCS / "instruments.md").read_text("utf-8")
    ours = {entry.name for entry in Host.load().instruments if entry.plugin == "instruments"}
    assert ours <= set(re.findall(r"^## (\w+)$", page, re.M))


def test_the_instrument_of_the_page_on_hooks_observes():
    page = (DOCS / "hooks.md").read_text("utf-8")
    section = page.partition("## harness_register_instruments(registry)")[2]
    module = types.ModuleType("page_instrument")
    exec(BLOCK.search(section)[2], vars(module))
    ran = run_scripted(
        {
            "scenario": {"name": "load"},
            "load": {"mode": "closed", "requests": 2},
            "instruments": [{"name": "collections", "options": {"generation": 0}}],
            "iterations": {"measured": 2},
        },
        module,
    )
    assert ran.error is None
    assert len(ran.figures("collections.count")) == 2
    assert [one.unobserved for one in ran.iterations] == [{}] * 3
