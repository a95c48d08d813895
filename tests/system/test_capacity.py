"""The search for the highest load, and a ramp of loads, on servers whose capacity is known.

The truth server answers each request in 10 + 2 × 5 = 20 ms, `slots` at a time. So below slots per
20 ms nobody waits; above it, the queue grows by the difference for as long as requests come. In a
closed loop of c > slots, each waits for the c − slots before it: latency = 20 ms × c / slots.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.sim.servers import sim

pytestmark = pytest.mark.quiet

SLOTS = 4
SERVICE_MS = 20.0
CAPACITY_PER_S = SLOTS / SERVICE_MS * 1e3
WAY = ("--ttft", "10", "--gap", "5", "--slots", SLOTS)
# The machine that runs the tests may be busy: our own slowness is to be told, not to decide.
PATIENT = {"send_lag_max_ms": 25, "rate_share_min": 0.9}


def run(folder, url, **fields):
    spec = {
        "backend": {"name": "openai", "model": "sim", "url": url},
        "scenario": {"name": "load", "options": {"max_tokens": 3}},
        "iterations": {"warmup": 0},
        "isolation": "inline",
        "validity": PATIENT,
        **fields,
    }
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    command = [sys.executable, "-m", "harness", "run", path, "--out", folder / "run", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with sim(tmp_path_factory.mktemp("capacity") / "log", *WAY) as server:
        yield server.url


def decisions(result):
    return {probe["load"]: probe["decision"] for probe in result["probes"]}


def test_the_rate_that_a_server_can_take_is_bracketed(tmp_path, url):
    summary = run(
        tmp_path,
        url,
        load={"rate_per_s": 1, "arrival": "constant", "requests": 150},
        slo={"e2e_from_due_ms": 120},
        # 145 and 290 requests per second: 0.72 and 1.45 of what it can take. At the latter a
        # request waits 1.6 ms longer than the one before it, and a third of them are in time.
        search={"low": 36.25, "high": 580, "step": 2, "share_min": 0.9, "trials_max": 3},
    )
    (result,) = summary["search"]
    found = decisions(result)
    assert result["highest"] is None or result["highest"] < CAPACITY_PER_S
    if "invalid" not in found.values():
        assert (result["highest"], result["next_higher"]) == (145, 290), result
        assert found[145] == "meets"
        assert found[290] == "fails"
    skipped = {arm["cell"]: arm["skipped"] for arm in summary["arms"]}
    assert skipped.keys() == {f"rate_per_s={load:g}" for load in found}


def test_the_streams_that_a_server_can_take_are_bracketed(tmp_path, url):
    """8 streams wait 20 ms for 20 ms of service, 16 wait 60."""
    summary = run(
        tmp_path,
        url,
        load={"requests": 64},
        slo={"e2e_ms": 60},
        search={
            "path": "load.concurrency", "low": 2, "high": 32, "step": 2, "share_min": 0.75,
            "trials_max": 3,
        },
    )  # fmt: skip
    (result,) = summary["search"]
    assert (result["highest"], result["next_higher"]) == (8, 16), result


def test_the_figures_of_a_cell_are_those_of_its_own_load(tmp_path, url):
    """A ramp: up to `slots` streams throughput rises with them, and then latency does."""
    summary = run(
        tmp_path,
        url,
        load={"requests": 24},
        sweep={"axes": {"load.concurrency": [1, 4, 8]}},
    )
    metrics = {
        arm["cell"]: {metric["name"]: metric["median"] for metric in arm["metrics"]}
        for arm in summary["arms"]
    }
    one, four, eight = (metrics[f"concurrency={n}"] for n in (1, 4, 8))
    # Never more than slots can give; on a busy machine less.
    for figures, most in ((one, 50), (four, 200), (eight, 200)):
        assert 0.5 * most < figures["requests_per_s"] < 1.1 * most
    assert eight["e2e_ms"] > 1.5 * one["e2e_ms"]
    # With n calls the window ends when a slot first stays empty: with one stream, that is the end.
    assert one["held_throughput_tok_s"] == pytest.approx(one["throughput_tok_s"])
    assert eight["held_throughput_tok_s"] != eight["throughput_tok_s"]
    assert summary["cells"]["concurrency=8"] == {"load.concurrency": 8}
