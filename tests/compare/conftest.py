"""Real runs against truth servers, one of them 10 % slower; and the command, in a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from harness.store import RunWriter
from tests.sim.servers import sim

TTFT_MS = 100
"""So long that 10 % of it is far beyond what a busy machine adds."""


class Done:
    def __init__(self, finished):
        self.status, self.out, self.err = finished.returncode, finished.stdout, finished.stderr
        assert "Traceback" not in self.err, self.err


def call(*words, cwd, **environment):
    command = [sys.executable, "-m", "harness", *map(str, words)]
    more = {"COLUMNS": "120", **environment}
    return Done(
        subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=240,
            env={**os.environ, **more},
        )
    )


def spec_for(urls, **changes):
    """An arm for each server; calls of an iteration all at once."""
    arms = {arm: {"backend": {"url": url}} for arm, url in urls.items()}
    return {
        "backend": {"name": "openai", "model": "sim"},
        "scenario": {"name": "load", "options": {"max_tokens": 2, "prompt_tokens": 8}},
        "load": {"concurrency": 4, "requests": 4},
        "iterations": {"warmup": 0, "measured": 1},
        "isolation": "inline",
        "trials": 5,
        "arms": arms,
        **changes,
    }


@pytest.fixture(scope="session")
def compared_runs(tmp_path_factory):
    """`runs/three`: baseline, same (the same server) and slow; `runs/one`: one trial each;
    `runs/other`: baseline under another load; `runs/broken`: nothing listened."""
    folder = tmp_path_factory.mktemp("compare")
    with ExitStack() as stack:
        quick, slow = (
            stack.enter_context(sim(folder / f"log{ttft}", "--ttft", ttft, "--gap", 1)).url
            for ttft in (TTFT_MS, TTFT_MS * 1.1)
        )
        dead = "http://127.0.0.1:9"
        for name, spec in {
            "three": spec_for({"baseline": quick, "same": quick, "slow": slow}),
            "one": spec_for({"baseline": quick, "slow": slow}, trials=1),
            "other": spec_for(
                {"baseline": quick}, load={"concurrency": 2, "requests": 4}, trials=1
            ),
            "broken": spec_for({"baseline": dead}, trials=1),
        }.items():
            (folder / f"{name}.json").write_text(json.dumps(spec))
            done = call("run", f"{name}.json", "--out", f"runs/{name}", "--json", cwd=folder)
            assert done.status == (2 if name == "broken" else 0), done.err
    return folder


@pytest.fixture
def compare(compared_runs):
    def run(*words):
        return call("compare", *words, cwd=compared_runs)

    return run


def stored(run, folder):
    """A run that was made up, as a folder."""
    with RunWriter.create(run.manifest, folder) as writer:
        for record in run.records():
            writer.append(record)
        writer.finish("finished", run.summary, ended=run.manifest.started)
    return folder
