"""docs/hf.md: its commands run, on the real thing; its options and figures are the code's."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from harness_hf import HfOptions
from harness_hf.steps import Stamper

from harness.metrics.call import LOCAL
from harness.schema import CallRecord, TrialRecord
from harness.store import load_run

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "hf.md").read_text("utf-8")


@pytest.mark.real_model
def test_its_commands_give_a_valid_run_of_in_process_stamps(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```sh\n(.*?)```", PAGE, re.M | re.S)
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HARNESS_CACHE_DIR": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    for line in block.splitlines():
        done = subprocess.run(
            shlex.split(line), cwd=tmp_path, capture_output=True, text=True, timeout=240, env=env
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    run = load_run(tmp_path / "runs" / "hf")
    doubts = {one.code for one in run.summary.verdict.caveats if one.severity != "note"}
    assert doubts <= {"host-noise", "no-steady-state"}, "what a busy machine may do"
    records = [*run.records()]
    calls = [one for one in records if isinstance(one, CallRecord) and one.phase == "measured"]
    assert len(calls) == 24
    assert {call.stamp_source for call in calls} == {"in_process"}
    assert sum(call.stamps_refused for call in calls) == 0
    assert {call.usage.output_tokens for call in calls} == {16}
    (trial,) = [one for one in records if isinstance(one, TrialRecord)]
    assert trial.effective.random_weights
    assert trial.effective.load_ms is not None
    found = {metric.name: metric for arm in run.summary.arms for metric in arm.metrics}
    for name in ("ttft_ms", "itl_p50_ms", "server_queue_ms", "process_peak_mib"):
        assert found[name].n == 24, name
    assert "allocated_peak_mib" not in found, "there is no GPU"


def names_in(heads: str) -> set[str]:
    """First cells of the tables that begin with these heads."""
    tables = re.findall(rf"^\| (?:{heads}) \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.M)
    cells = [row.split("|")[1] for table in tables for row in table.splitlines()]
    return {name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell)}


def test_every_option_is_on_the_page_and_there_are_no_others() -> None:
    assert names_in("option") == set(HfOptions.__struct_fields__)


def test_the_fields_of_a_call_are_those_that_are_told() -> None:
    package = Path(sys.modules[Stamper.__module__].__file__ or "").parent
    source = (package / "steps.py").read_text("utf-8") + (package / "engine.py").read_text("utf-8")
    fields = names_in("field of `server`")
    assert {"queue_ns", "prefill_ns", "decode_cuda_ms"} < fields
    assert [name for name in fields if f'"{name}"' not in source] == []


def test_its_metrics_exist() -> None:
    assert set(re.findall(r"`(\w+_mib)`", PAGE)) < set(LOCAL)


def test_the_allowance_is_the_one_that_is_used() -> None:
    from harness_hf.footprint import _ALLOWANCE

    words = " ".join(PAGE.split())
    assert f"the allowance is {_ALLOWANCE['host'][0] >> 20} MiB" in words
    assert f"On a GPU it is {_ALLOWANCE['gpu'][0] >> 20} MiB" in words
