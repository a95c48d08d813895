"""What is simulated says so: every run against `harness sim` carries the watermark."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.sim.servers import RUN, sim


@pytest.mark.parametrize("backend", ["ollama", "openai"])
def test_a_run_against_the_simulator_is_watermarked(tmp_path, backend):
    with sim(tmp_path / "log", "--ttft", "1", "--gap", "1") as server:
        url = server.url if backend == "ollama" else f"{server.url}/v1"
        words = ["load", "--backend", backend, "--model", "sim", "--url", url, "--json"]
        out = tmp_path / "run"
        done = subprocess.run(
            [*RUN, *words, "--requests", "4", "--max-tokens", "4", "--out", str(out)],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["arms"][0]["calls"] == {"ok": 4}
    assert "simulated" in {caveat["code"] for caveat in summary["verdict"]["caveats"]}
    assert "simulated" in (out / "reports" / "comparison_report.md").read_text("utf-8")
