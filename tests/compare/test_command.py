"""`harness compare` and `harness explain` through the real command, on real runs."""

from __future__ import annotations

import json
import re
import shutil

import click
import pytest
from msgspec.structs import replace

from harness.cli import cli
from harness.errors import HarnessError
from harness.schema import ArmSpec, TrialRecord
from tests.compare.conftest import call, stored
from tests.compare.runs import run_of


def test_a_slowdown_that_was_planted_is_found_and_equal_servers_are_not(compare):
    done = compare("runs/three", "--json")
    assert done.status == 0, done.err
    found = json.loads(done.out)
    same, slow = found["comparisons"]
    assert [one["candidate"]["arm"] for one in (same, slow)] == ["same", "slow"]
    assert same["simulated"] and same["comparable"]
    ttft = {one["metric"]: one for one in slow["effects"]}["ttft_ms"]
    assert (ttft["words"], ttft["paired"], ttft["n"]) == ("worse", True, [5, 5])
    assert ttft["share_low"] < 0.1 < ttft["share_high"]
    assert not [one for one in same["effects"] if one["words"] in ("worse", "better")]
    assert found["verdicts"]["three"]["state"] == "doubtful"


def test_the_page_begins_with_caveats_and_says_sentences_first(compare):
    done = compare("runs/three:slow")
    lines = done.out.splitlines()
    assert lines[0].startswith("SIMULATED")
    assert lines[1].startswith("three: doubtful (and ")
    assert re.search(
        r"^ttft_ms +slower by \d+\.\d+ % \(95 % interval [\d.]+ to [\d.]+\), 5 blocks$",
        done.out,
        re.M,
    )
    assert "slow − baseline · 5 and 5 trials, paired by blocks" in done.out
    assert "intended spec.backend.url" in done.out
    assert "next: harness explain three:baseline three:slow" in done.out
    assert all(len(line) <= 100 for line in lines)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("three:same", "--gate", "median:ttft_ms=20%"), 0, "no regression"),
        (("three:slow", "--gate", "median:ttft_ms=5%"), 1, "regression: worse by"),
        (("three:baseline", ":slow", "--gate", "ttft_ms=5ms", "--unpaired"), 1, "regression"),
        (("one", "--gate", "ttft_ms=5%"), 2, "not enough data: fewer than 5 trials an arm; 4 more"),
        (("one:baseline", "other"), 3, "forbids spec.load.concurrency: 4 → 2"),
        (("one:baseline", "other", "--gate", "ttft_ms=5%"), 3, "not comparable: spec.load.conc"),
        (("one:baseline", "broken"), 3, "forbids summary.verdict"),
    ],
)
def test_every_answer_has_its_status(compare, words, status, said):
    done = compare(
        *(f"runs/{w}" if i == 0 or w in ("other", "broken") else w for i, w in enumerate(words))
    )
    assert done.status == status, done.out + done.err
    assert said in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs/three:slwo",), "try: slow"),
        (("runs/three", "--gate", "ttft=5%"), "try: ttft_ms"),
        (("runs/three", "--gate", "ttft_ms=0.05"), "try: --gate ttft_ms=5%"),
        (("runs/three", "--metric", "nothing_like_it"), "there is no metric"),
        (("runs/none",), "there is no run here"),
        (("runs/three", "--bogus"), "No such option"),
        (("runs/three", "runs/one", "--paired"), "try: --unpaired"),
        (("a", "b", "--baseline-store", "c"), "takes the place of A"),
        (("runs/three", "--md", "no/such/folder.md"), "no/such/folder.md"),
    ],
)
def test_a_mistake_never_looks_like_an_answer(compared_runs, monkeypatch, words, said):
    monkeypatch.chdir(compared_runs)
    with pytest.raises((HarnessError, click.ClickException)) as caught:
        cli.main(["compare", *words], standalone_mode=False)
    assert caught.value.exit_code == 64
    assert said in str(caught.value)


def test_nor_does_a_bug(compare, compared_runs, monkeypatch):
    assert compare("runs/three:slwo").status == 64  # through the real command
    monkeypatch.chdir(compared_runs)
    monkeypatch.setattr("harness.compare.compare", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        cli.main(["compare", "runs/three"], standalone_mode=False)
    assert caught.value.exit_code == 70


def test_a_baseline_may_be_a_folder_in_a_repository(compare, compared_runs, tmp_path):
    store = tmp_path / "bench" / "baseline"
    shutil.copytree(compared_runs / "runs" / "three", store)
    done = compare("--baseline-store", store, "runs/three:slow", "--gate", "median:ttft_ms=5%")
    # The stored run's own arm of that name: equal records.
    assert done.status == 0, done.out
    assert "both sides are the same records" in done.out or "no regression" in done.out
    done = compare(
        "--baseline-store", f"{store}:baseline", "runs/three:slow", "--gate", "ttft_ms=5%"
    )
    assert done.status == 1, done.out
    # Its name alone would not find it: what comes next can be typed as it stands.
    assert f"next: harness explain {store}:baseline three:slow" in done.out.splitlines()


def test_markdown_for_a_pull_request(compare, tmp_path):
    page = tmp_path / "gate.md"
    done = compare("runs/three:slow", "--gate", "ttft_ms=5%", "--md", page)
    assert done.status == 1
    text = page.read_text("utf-8")
    assert text.startswith("# Comparison\n\n> **SIMULATED.**")
    assert "Outcome: **regression**." in text
    assert re.search(r"^\| `ttft_ms` \(ms\) \| 1\d\d\.\d \|", text, re.M)


def test_a_reader_who_has_gone_does_not_change_the_answer(compared_runs):
    import subprocess
    import sys

    command = f"{sys.executable} -m harness compare runs/three:slow --gate ttft_ms=5% --json | true"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=compared_runs,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr


def test_explain_ranks_what_differs(compared_runs):
    done = call("explain", "runs/one:baseline", "runs/other", cwd=compared_runs)
    assert done.status == 0, done.err
    weights = re.findall(r"^  (forbids|doubtful|intended|note) ", done.out, re.M)
    assert weights == sorted(weights, key=["forbids", "doubtful", "intended", "note"].index)
    assert weights[0] == "forbids"
    (found,) = json.loads(
        call("explain", "runs/one:baseline", "runs/other", "--json", cwd=compared_runs).out
    )
    first = found["conditions"][0]
    assert (first["name"], first["baseline"], first["candidate"]) == ("spec.load.concurrency", 4, 2)
    assert len(found["conditions"]) == len(weights)


def test_a_stub_and_a_server_are_not_compared(tmp_path):
    stub = run_of(
        {"baseline": [50.0] * 5},
        whole=True,
        run_id="cafe",
        change=lambda r: (
            replace(r, effective=replace(r.effective, simulated=True))
            if isinstance(r, TrialRecord)
            else r
        ),
    )
    stored(run_of({"baseline": [50.0] * 5}, whole=True), tmp_path / "real")
    stored(stub, tmp_path / "stub")
    done = call("compare", "real", "stub", "--gate", "ttft_ms=5%", cwd=tmp_path)
    assert done.status == 3
    assert "not comparable: records.simulated: one of them measured a stub" in done.out


def test_names_of_strangers_stay_text(tmp_path):
    evil = "<b>[x](http://e)</b> \x1b[31m\u202e| `"
    arm = evil.replace("\x1b", "").replace("\u202e", "")
    arms = {"baseline": ArmSpec(), arm: ArmSpec(backend={"options": {"system": evil}})}
    run = run_of({"baseline": [50.0] * 5, arm: [60.0] * 5}, whole=True)
    spec = replace(run.manifest.spec, arms=arms)
    run.manifest = replace(run.manifest, spec=spec)
    stored(run, tmp_path / "run")
    done = call("compare", "run", "--md", "page.md", cwd=tmp_path)
    assert done.status == 0, done.err
    page = (tmp_path / "page.md").read_text("utf-8")
    for text in (done.out, page, call("explain", "run", cwd=tmp_path).out):
        assert "\x1b" not in text
        assert "\u202e" not in text
    outside_code = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", page)
    assert "<b" not in outside_code
    assert not re.search(r"(?<!\\)\]\(", outside_code)
