"""`harness import chimeraforge`: configurations become cells, runs trials, calls iterations; what
a file states and its own data contradict is found; nothing is made up, nothing lost in silence."""

from __future__ import annotations

import json
import math
import os
from statistics import fmean

import msgspec
import pytest
from click.testing import CliRunner
from harness_agents.chimeraforge import ChimeraforgeImporter, Options, harness_find_caveats
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cli import cli
from harness.compare.audit import audit_run
from harness.engine.summary import derive_summary
from harness.errors import HarnessError, SpecError, StoreError
from harness.metrics import all_series
from harness.schema import IterationRecord, TrialRecord
from harness.store import load_run
from harness.store.imported import run_of, write_run
from tests.plugins.legacy_builders import (
    OPTIONS,
    call,
    folder_of_pairs,
    head_pair,
    python_pair,
    python_single,
    rust_pair,
    rust_single,
    torn,
    write,
)
from tests.published.tables import DATA, ROOT

FIXTURES = ROOT / "tests" / "data" / "legacy"


def read(path, **options):
    return ChimeraforgeImporter(Options(**options)).read(path)


def iterations(made):
    return [record for record in made.records if isinstance(record, IterationRecord)]


def figures(made, arm, cell):
    rows = [r for r in iterations(made) if (r.arm, r.cell) == (arm, cell)]
    return {series.name: series for series in all_series([], rows)}


def of(row):
    return {metric.name: metric for metric in row.metrics}


# ---- single agents


def test_calls_lie_within_their_run(tmp_path):
    made = run_of(read(FIXTURES / "single-rust" / "metrics.json"))
    places = [(r.arm, r.trial, r.iteration, r.data["kind"], r.status) for r in iterations(made)]
    assert places[:6] == [
        ("baseline", 0, 0, "run", "ok"), ("baseline", 0, 1, "call", "ok"),
        ("baseline", 0, 2, "call", "ok"), ("baseline", 1, 0, "run", "ok"),
        ("baseline", 1, 1, "call", "ok"), ("baseline", 1, 2, "call", "ok"),
    ]  # fmt: skip
    assert places[6:9] == [
        ("chimera", 2, 0, "run", "error"), ("chimera", 2, 1, "call", "ok"),
        ("chimera", 2, 2, "call", "error"),
    ]  # fmt: skip
    assert list(made.manifest.spec.arms) == ["baseline", "chimera"]
    trials = [r for r in made.records if isinstance(r, TrialRecord)]
    assert [t.effective.options for t in trials] == [{}, {}, OPTIONS, OPTIONS]


def test_a_figure_is_missing_only_in_rows_that_could_have_it():
    made = run_of(read(FIXTURES / "single-rust" / "metrics.json"))
    found = figures(made, "baseline", "base")
    assert (len(found["imported.ttft_ms"].values), found["imported.ttft_ms"].missing) == (4, 0)
    assert (len(found["execution_s"].values), found["execution_s"].missing) == (2, 0)
    assert found["imported.queue_residual_ms"].values == [5.0, 9.0, 5.0, 25.0]
    assert found["imported.queue_residual_ms"].provenance == "derived"
    assert found["imported.ttft_ms"].provenance == "imported"


def test_three_things_called_ttft_have_three_names():
    names = {}
    for form in ("single-rust-v1", "single-python", "single-python-head"):
        row = read(FIXTURES / form / "metrics.json").rows[0]
        names[form] = {name for name in of_row(row) if name.endswith("_ms")}
    assert "ttft_ms" in names["single-rust-v1"]
    assert "run_load_and_prompt_ms" in names["single-python"]
    assert "run_prompt_eval_ms" in names["single-python-head"]
    assert all("ttft_ms" not in found for form, found in names.items() if "python" in form)


def of_row(row):
    return {metric.name: metric.value for metric in row.metrics}


def test_a_failed_call_counts_for_nothing_and_is_counted(tmp_path):
    found = read(write(tmp_path / "metrics.json", rust_single([[call()]], [[call(), torn()]])))
    made = run_of(found)
    summary = derive_summary(made.manifest, made.records)
    assert {c.code for c in summary.verdict.caveats} >= {"failures", "stated-differs"}
    rates = figures(made, "chimera", "base")["legacy_throughput_tok_s"]
    assert rates.values == [100.0], "0 tok/s is no rate"
    wrong = {one.figure: one for row in found.rows for one in row.disagrees}
    assert wrong["average_tokens_per_second"].stated == 50.0
    assert wrong["average_tokens_per_second"].found == 100.0
    assert "$.chimera.aggregate_metrics" in wrong["average_tokens_per_second"].place


def test_an_empty_input_is_found(tmp_path):
    run = write_run(run_of(read(FIXTURES / "single-python" / "metrics.json")), tmp_path / "run")
    assert "empty-input" in {one.code for one in audit_run(run).findings}


def test_a_prompt_that_cannot_have_fitted_is_told(tmp_path):
    value = rust_single([[call(), call()]], [[call(), call()]])
    for role in ("baseline", "chimera"):
        value[role]["llm_calls"][1]["prompt"] = "p" * (6 * OPTIONS["num_ctx"] + 1)
    path = write(tmp_path / "metrics.json", value)
    run = load_run(write_run(run_of(read(path)), tmp_path / "run"))
    (said,) = harness_find_caveats(run)
    assert said.code == "prompt-beyond-context"
    assert [one["row"] for one in said.evidence["prompts"]] == [
        "metrics.json $.chimera.llm_calls[1]"
    ], "what the server's default holds is not known"
    value["chimera"]["llm_calls"][1]["prompt"] = "p" * (6 * OPTIONS["num_ctx"])
    whole = write_run(run_of(read(write(path, value))), tmp_path / "whole")
    assert harness_find_caveats(load_run(whole)) == []


# ---- pairs


def test_their_speedup_is_a_ratio_of_balance(tmp_path):
    row = read(FIXTURES / "multi-rust-v2" / "metrics.json").rows[0]
    found = of_row(row)
    assert found["legacy_speedup"] == pytest.approx(15.5 / 8.1)
    assert found["load_balance_ratio"] == pytest.approx(found["legacy_speedup"])
    assert found["agents_throughput_tok_s"] == pytest.approx((380 + 400) / 8.1)
    assert found["legacy_ttft_delta_ms"] == pytest.approx(470 - 40), "A - B, as it was"
    assert found["ttft_delta_ms"] == pytest.approx(40 - 470), "B - A, always"
    assert row.factors == {f"{x}_{k}": v for x in "ab" for k, v in OPTIONS.items()}
    assert row.disagrees == ()
    ours = {m.name for m in row.metrics if m.provenance == "derived"}
    assert ours == {"load_balance_ratio", "agents_throughput_tok_s", "throughput_delta_tok_s",
                    "ttft_delta_ms", "token_imbalance"}  # fmt: skip


def test_a_serialising_server_shows_in_the_queue_residual():
    made = run_of(read(FIXTURES / "multi-rust-v1" / "metrics.json"))
    rows = [of(r) for r in iterations(made) if r.data["kind"] == "call"]
    assert [r["queue_residual_ms"].value for r in rows] == [5.0, 2565.0]


def test_the_third_definition_is_not_taken_for_a_contradiction():
    row = read(FIXTURES / "multi-python-head" / "metrics.json").rows[0]
    found = of_row(row)
    assert row.disagrees == ()
    assert found["legacy_speedup"] < found["load_balance_ratio"], "load and HTTP were left out"
    assert found["load_balance_ratio"] == pytest.approx((16.89 + 18.895) / 18.906)


def test_a_reader_that_accumulates_has_no_ttft(tmp_path):
    pair = rust_pair(1, [call()], [call()], (2.0, 2.1), 2.2)
    for runtime in ("tokio-default", "smol-1kb"):
        write(tmp_path / f"runtime-{runtime}" / "homo" / "run_1" / "metrics.json", pair)
    found = {row.arm: of_row(row) for row in read(tmp_path).rows if row.kind == "run"}
    assert {row.cell for row in read(tmp_path).rows} == {"homo, chimera_homo"}
    assert "a_ttft_ms" in found["tokio-default"]
    assert "a_ttft_ms" not in found["smol-1kb"]
    assert "legacy_a_ttft_ms" in found["smol-1kb"], "what was published stays to be seen"
    assert "ttft_delta_ms" not in found["smol-1kb"]


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("concurrency_speedup", 1.99), ("efficiency_percent", 12.0),
        ("sequential_estimated_s", 99.0), ("throughput_delta", 7.0), ("ttft_delta_ms", 1e4),
        ("collector_throughput", 1.0), ("insight_ttft_ms", 1.0),
        ("resource_contention_detected", True),
    ],
)  # fmt: skip
def test_each_figure_of_a_pair_is_held_against_its_data(tmp_path, figure, value):
    pair = rust_pair(1, [call()], [call(rate=90.0)], (2.0, 2.1), 2.2)
    pair["summary"][figure] = value
    (row, *_) = read(write(tmp_path / "metrics.json", pair)).rows
    wrong = {one.figure for one in row.disagrees}
    assert figure in wrong
    assert wrong <= {figure, "efficiency_percent", "concurrency_speedup"}


@pytest.mark.parametrize(
    ("figure", "value"),
    [("throughput_improvement_percent", 5.0), ("ttft_reduction_percent", -68.4),
     ("baseline_throughput", 7.0), ("ttft_delta_absolute_ms", 1e3)],
)  # fmt: skip
@pytest.mark.parametrize("form", ["rust", "python"])
def test_each_delta_is_held_against_its_data(tmp_path, form, figure, value):
    if form == "rust":
        made = rust_single([[call()]], [[call(210, 99.0)]], v1=True)
        made["delta"][figure] = value
    else:
        made = python_single([((900, 80.0, 300.0), (950, 82.0, 290.0))])
        made[0]["performance_delta"][figure] = value
    found = read(write(tmp_path / "metrics.json", made))
    assert {one.figure for row in found.rows for one in row.disagrees} == {figure}


# ---- folders


def test_folders_are_configurations_and_what_is_missing_is_said(tmp_path):
    found = read(folder_of_pairs(tmp_path / "sweep"))
    made = run_of(found)
    plan = [(arm, cell) for arm, cell, _ in made.manifest.plan]
    assert (
        plan
        == [("baseline_vs_chimera", "phase_1_test_001")] * 3
        + [("chimera_hetero", "phase_1_test_008")] * 3
    )
    assert found.gaps == ("phase_1_test_008/run_3 is empty", "phase_1_test_009 is empty")
    lost = next(r for r in iterations(made) if "summary.json" in r.data["row"])
    assert set(of(lost)) == {
        "legacy_speedup", "legacy_efficiency_percent", "legacy_contention", "wall_s",
        "legacy_sequential_estimate_s", "legacy_throughput_delta_tok_s", "legacy_ttft_delta_ms",
    }, "of a run without a file its summary's figures are all there is"  # fmt: skip
    caveats = derive_summary(made.manifest, made.records).verdict.caveats
    assert "source-incomplete" in {caveat.code for caveat in caveats}


def test_a_summary_is_held_against_the_runs(tmp_path):
    folder_of_pairs(tmp_path)
    path = tmp_path / "phase_1_test_001" / "summary.json"
    told = json.loads(path.read_text())
    told["aggregate"]["average_efficiency"] = 99.25
    told["runs"][1]["concurrent_wall_time"] = 5.0
    write(path, told)
    wrong = [one for row in read(tmp_path).rows for one in row.disagrees]
    assert {(one.figure, one.place) for one in wrong} == {
        ("average_efficiency", "phase_1_test_001/summary.json $.aggregate"),
        ("concurrent_wall_time", "phase_1_test_001/summary.json $.runs[1]"),
    }


def test_runs_are_in_the_order_of_their_numbers(tmp_path):
    for n in (10, 2, 1):
        pair = python_pair(n, (10, 50.0, 5.0, OPTIONS), (10, 50.0, 5.0, OPTIONS), (1.0, 1.0), 1.0)
        write(tmp_path / "c" / f"run_{n}" / "metrics.json", pair)
    assert [row.launch[1] for row in read(tmp_path).rows] == ["1", "2", "10"]
    assert {row.arm for row in read(tmp_path).rows} == {"chimera_homo"}, "by its agents' options"


def test_an_option_names_the_arms_by_folder(tmp_path):
    pair = head_pair(1, (4, 40.0, 5.0, 200.0, {}), (5, 41.0, 6.0, 220.0, {}), 230.0)
    for language in ("python", "rust"):
        write(tmp_path / "multi" / language / "toy" / "run_1" / "metrics.json", pair)
    found = read(tmp_path, arm="multi/(python|rust)/")
    assert {(row.arm, row.cell) for row in found.rows} == {
        (language, "toy, baseline_vs_chimera") for language in ("python", "rust")
    }
    for wrong in ("multi/(", "multi"):
        with pytest.raises(SpecError, match=r"\$\.options\.arm"):
            read(tmp_path, arm=wrong)


def test_long_paths_stay_apart(tmp_path):
    pair = head_pair(1, (4, 40.0, 5.0, 200.0, {}), (5, 41.0, 6.0, 220.0, {}), 230.0)
    for n in (1, 2):
        write(tmp_path / ("x" * 200) / ("y" * 60 + str(n)) / "run_1" / "metrics.json", pair)
    made = run_of(read(tmp_path))
    assert len({cell for _, cell, _ in made.manifest.plan}) == 2


def test_hostile_names_and_links_do_no_harm(tmp_path):
    pair = rust_pair(1, [call()], [call()], (2.0, 2.1), 2.2, scenario="\x1b]0;owned\x07x")
    pair["collector"]["result"]["model"] = "evil\u202ename"
    pair["insight"]["result"]["configuration"] = {"num_ctx\x1b[2J": "\x1b[31mred", "nested": {}}
    for name in (b"caf\xe9", b"\x1b[2Jfolder"):
        write(tmp_path / os.fsdecode(name) / "run_1" / "metrics.json", pair)
    (tmp_path / "link").symlink_to(tmp_path)
    found = read(tmp_path)
    made = run_of(found)
    assert found.gaps == ("link is a link, which is not followed",)
    everything = msgspec.json.encode(made).decode()
    assert "u001b" not in everything
    assert "\u202e" not in everything
    assert len({cell for _, cell, _ in made.manifest.plan}) == 2
    assert made.manifest.spec.backend.model == "toy:1b" or found.model is None


def test_a_file_that_is_none_stops_the_import(tmp_path):
    folder_of_pairs(tmp_path)
    (tmp_path / "phase_1_test_001" / "run_2" / "metrics.json").write_text("{}")
    with pytest.raises(StoreError, match=r"run_2/metrics\.json.*none of the known forms"):
        read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"no metrics\.json"):
        read(tmp_path / "empty")
    with pytest.raises(StoreError):
        read(tmp_path / "gone")


# ---- tables


def test_a_table_is_known_by_its_header_and_a_line_by_its_fields(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(StoreError, match="no known table"):
        read(path)
    source = (DATA / "chimeraforge" / "tr111v2_rust_single_228calls.csv").read_text()
    header, first, *_ = source.splitlines()
    for old, new, says in (
        ("676.806", "fast", "line 2, column ttft_ms"),
        ("1004", "1004.5", "is not a whole number"),
        ("676.806", "nan", None),
        ("676.806", "inf", "is not a number"),
    ):
        path.write_text(f"{header}\n{first.replace(old, new)}\n")
        if says is None:
            assert "ttft_ms" not in of_row(read(path).rows[0])
            continue
        with pytest.raises(StoreError, match=says):
            read(path)


def test_a_table_that_contradicts_itself_is_found(tmp_path):
    source = (DATA / "chimeraforge" / "tr110_python_dual_150runs.csv").read_text()
    path = tmp_path / "t.csv"
    path.write_text("\n".join(source.splitlines()[:4]).replace("1.8333461744026618", "1.99"))
    wrong = [one for row in read(path).rows for one in row.disagrees]
    assert [(one.figure, one.stated, one.place) for one in wrong] == [
        ("concurrency_speedup", 1.99, "t.csv line 2")
    ]
    run = write_run(run_of(read(path)), tmp_path / "run")
    (found,) = [one for one in audit_run(run).findings if one.code == "stated-differs"]
    assert found.severity == "wrong"
    assert "1.99" in found.message
    assert "1.83334617" in found.message


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=120))
def test_any_bytes_are_a_mistake(tmp_path_factory, content):
    for name in ("x.csv", "metrics.json", "summary.json"):
        path = tmp_path_factory.mktemp("bytes") / name
        path.write_bytes(content)
        with pytest.raises(HarnessError):
            read(path)


figure = st.floats(0.01, 1e4, allow_nan=False)
calls = st.builds(
    call, tokens=st.integers(1, 5000), rate=figure, ttft=figure, load=figure, prompt=figure
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(calls, min_size=1, max_size=3), min_size=1, max_size=3))
def test_what_is_right_is_never_called_wrong(tmp_path_factory, runs):
    path = tmp_path_factory.mktemp("right") / "metrics.json"
    found = read(write(path, rust_single(runs, runs)))
    assert [one for row in found.rows for one in row.disagrees] == []
    rates = [one["throughput_tokens_per_sec"] for run in runs for one in run]
    ours = figures(run_of(found), "chimera", "base")["legacy_throughput_tok_s"].values
    assert math.isclose(fmean(ours), fmean(rates))


# ---- the command


def harness(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def test_the_command_makes_an_ordinary_run(tmp_path):
    folder_of_pairs(tmp_path / "sweep")
    said = harness("import", "chimeraforge", tmp_path / "sweep", "--dry-run")
    assert said.exit_code == 0, said.output
    assert "missing: phase_1_test_009 is empty" in said.output
    assert "metric load_balance_ratio: 5 values (derived)" in said.output
    done = harness(
        "import", "chimeraforge", tmp_path / "sweep", "--out", tmp_path / "run", "--json"
    )
    assert done.exit_code == 0, done.output
    run = load_run(tmp_path / "run")
    assert run.manifest.spec.scenario.options["forms"] == {"multi-python": 5}
    assert (tmp_path / "run" / "reports" / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("chimeraforg", "x"), "try: chimeraforge"),
        (("chimeraforge", "x", "-o", "arms=1"), "try: arm"),
        (("chimeraforge", "x", "--map", "m.yaml"), "$.options.map"),
        (("chimeraforge", "x", "--suggest"), "needs no mapping"),
        (("csv", "x"), "which column is what?"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments, says):
    said = harness("import", *arguments)
    assert says in str(said.exception)
    assert isinstance(said.exception, HarnessError)


def test_the_command_lists_its_importers():
    said = harness("import", "--help").output
    assert all(f"\n  {name}" in said for name in ("csv", "json", "chimeraforge"))
