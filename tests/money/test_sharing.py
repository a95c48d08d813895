"""Prices and budgets of trials in processes of their own, and of runs that are taken up again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from decimal import Decimal

import pytest

from harness.schema import CallRecord, TrialRecord
from harness.store import load_run
from harness.store.folder import MANIFEST, RECORDS, SUMMARY
from harness.store.reader import LogReader
from tests.money.runs import PRICE
from tests.sim.servers import sim

BUDGET = "0.0048"
"""Two launches of seven calls fit: a call costs 0.000256 here, and about 0.001 at most."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a price file of a user's own, and a server."""
    folder = tmp_path_factory.mktemp("money")
    record = {**PRICE, "backend": "openai", "model": "sim"}
    (folder / "own.json").write_text(json.dumps({"prices": [record]}))
    with sim(folder / "sim.jsonl", "--ttft", "1", "--gap", "0") as server:
        yield folder, server.url


def run(place, *words):
    folder, url = place
    launch = [sys.executable, "-m", "harness", "run"]
    if "--resume" not in words:
        launch += ["load", "--backend", "openai", "--url", url, "--model", "sim"]
    return subprocess.run(
        [*launch, *map(str, words)],
        cwd=folder,
        env={**os.environ, "HARNESS_PRICES": str(folder / "own.json")},
        capture_output=True,
        text=True,
        check=False,
    )


def costs(path):
    entries = load_run(path).entries()
    calls = [one for one in entries if isinstance(one, CallRecord)]
    return [Decimal(one.cost.usd) for one in calls if one.cost is not None]


def test_children_price_alike_and_share_the_budget(place):
    out = place[0] / "shared"
    words = ("--requests", 30, "--concurrency", 2, "--budget-usd", "0.02", "--out", out)
    done = run(place, *words, "--runs", 4, "--set", "placement.parallel=2")
    assert done.returncode == 5, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("the budget of $0.02 ended the run: $0.")
    found = load_run(out)
    assert found.manifest.prices[0].source == "the test"
    trials = [one for one in found.records() if isinstance(one, TrialRecord)]
    assert {one.isolation for one in trials if one.status != "skipped"} == {"process"}
    assert len(trials) == 4
    codes = [one.error.code for one in trials if one.error is not None]
    assert set(codes) == {"budget"}
    assert Decimal("0.01") < sum(costs(out)) <= Decimal("0.02")
    assert found.summary.arms[0].cost.usd == str(sum(costs(out)))


def test_a_resumed_run_counts_what_was_spent_on_what_is_void(place):
    folder = place[0]
    out = folder / "whole"
    done = run(place, "--requests", 5, "--runs", 2, "--budget-usd", BUDGET, "--out", out)
    assert done.returncode == 0, done.stderr + done.stdout
    assert len(costs(out)) == 14
    cut = folder / "cut"
    shutil.copytree(out, cut)
    kill_before_the_end_of_trial(cut, 1)
    assert len(costs(cut)) == 14
    done = run(place, "--resume", cut)
    assert done.returncode == 5, done.stderr + done.stdout
    # 14 are paid for already, and the second launch is void: it begins anew with the rest.
    again = load_run(cut)
    calls = [one for one in again.records() if isinstance(one, CallRecord) and one.trial == 1]
    assert "not_sent" in {one.status for one in calls}
    assert sum(costs(cut)) <= Decimal(BUDGET)
    done = run(place, "--resume", cut, "--retry-failed")  # for which there is no money
    assert "nothing is missing" in done.stderr and "failed" not in done.stderr


def kill_before_the_end_of_trial(folder, trial):
    """As if the process had been killed just before it wrote the record of that trial."""
    reader = LogReader(folder / RECORDS)
    entries = zip((offset for offset, _ in reader.bodies()), reader.entries(), strict=True)
    at = next(
        offset for offset, one in entries if isinstance(one, TrialRecord) and one.trial == trial
    )
    with (folder / RECORDS).open("r+b") as log:
        log.truncate(at)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "state": "running", "ended": None}))
    (folder / SUMMARY).unlink()
