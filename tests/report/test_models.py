"""Models side by side: whose size is known and from where, what became of each, and the tables."""

from __future__ import annotations

import csv
import io
import json

import pytest

from harness.report import scaling_comparison
from harness.report.model_lines import model_lines
from harness.report.models import is_over_models, model_rows, parameters_of
from harness.report.page.models import models_table
from harness.schema import (
    CallError,
    Effective,
    Fit,
    Footprint,
    MetricValue,
    RunSpec,
    ScenarioSpec,
    SweepSpec,
)
from harness.schema.spec import BackendSpec
from tests.report.rendering import many_trials
from tests.store.builders import FakeRun, call, failed, iteration, manifest, trial

MODELS = ("small", "large", "broken", "=cmd|'/c calc'!A1", "late")
CELLS = {f"model={name}": {"backend.model": name} for name in MODELS}
UNFIT = CallError(code="does_not_fit", message="large does not fit: needs 41 GiB")
FIT = Fit(predicted=Footprint(weights_bytes=41 << 30, kv_bytes=0, parameters=20_000_000_000),
          decision="too_large", reason="needs 41 GiB")  # fmt: skip


def launched(number, model, *calls, parameters=None, metrics=(), **changes):
    cell = f"model={model}"
    made = [call(arm="default", trial=number, ordinal=i, cell=cell, **one)
            for i, one in enumerate(calls)]  # fmt: skip
    told = Effective(server="toyd", parameters=parameters, load_ms=10.0 * number, location="local")
    end = trial("default", number, cell=cell, effective=told, **changes)
    return [*made, *([iteration(made, metrics=metrics)] if made else []), end]


@pytest.fixture(scope="module")
def run():
    score = MetricValue(name="accuracy", value=0.5, unit="share", better="higher")
    spec = RunSpec(
        backend=BackendSpec(name="toy"),
        scenario=ScenarioSpec(name="load"),
        sweep=SweepSpec(axes={"backend.model": list(MODELS)}),
        sizes={"small": "9B", MODELS[3]: "7B", "unused": "1B"},
        trials=2,
    )
    plan = [("default", f"model={name}", number) for number, name in enumerate(MODELS * 2)]
    made = manifest(state="finished", spec=spec, cells=CELLS, plan=tuple(plan[:9]))
    peak = Fit(
        predicted=Footprint(weights_bytes=100, kv_bytes=20),
        decision="fits",
        free_bytes=999,
        device="host",
        peak_bytes=130,
        peak_of="the process (rss)",
    )
    skipped = {"status": "skipped", "error": UNFIT, "fit": FIT}
    records = [
        *launched(0, "small", {}, {"ttft_ms": 60}, parameters=135_000_000, fit=peak,
                  metrics=(score,)),
        *launched(5, "small", {}, {}, parameters=135_000_000, metrics=(score,)),
        trial("default", 1, cell="model=large", effective=Effective(), **skipped),
        trial("default", 6, cell="model=large", effective=Effective(), **skipped),
        *launched(2, "broken", status="error", error=CallError(code="error", message="no GPU")),
        *launched(7, "broken", {}, {}),
        *launched(3, MODELS[3], {}),
        failed(arm="default", trial=8, ordinal=0, cell=f"model={MODELS[3]}"),
        *launched(8, MODELS[3]),
    ]  # fmt: skip
    return FakeRun(made, records)


def test_what_became_of_each(run):
    rows = model_rows(run)
    assert is_over_models(run)
    assert {row.label: row.outcome for row in rows} == {
        "small": "passed",
        "large": "skipped",
        "broken": "failed",
        MODELS[3]: "failed",
        "late": "not run",
    }
    reasons = {row.label: row.reason for row in rows}
    assert reasons["broken"] == "1 of 2 launches failed: no GPU"
    assert reasons["large"] == "does not fit: needs 41 GiB"
    assert reasons[MODELS[3]] == "1 of 2 calls are not ok: http.500"


def test_a_declared_size_never_replaces_a_server_s(run):
    sizes = {row.label: row.size for row in model_rows(run)}
    assert (sizes["small"].parameters, sizes["small"].words) == (135_000_000, "135M")
    assert (sizes[MODELS[3]].source, sizes[MODELS[3]].words) == ("declared", "7B*")
    assert sizes["large"].parameters == 20_000_000_000, "as it was foreseen"
    assert (sizes["late"].parameters, sizes["late"].words) == (None, "—")
    assert parameters_of(run, "default", "model=small") == sizes["small"]


def test_figures_come_from_the_summary(run):
    small = model_rows(run)[0]
    ttft = small.figures["ttft_ms"]
    one = next(m for m in run.summary.arms[0].metrics if m.name == "ttft_ms")
    assert (ttft.median, ttft.mean, ttft.ci_low, ttft.n) == (one.median, one.mean, one.ci_low, 4)
    assert (small.load_ms, small.load_n) == (25.0, 2)
    assert (small.memory_peak_bytes, small.memory_predicted_bytes) == (130, 120)
    assert small.prompt_tokens == 80


def table(run):
    out = io.BytesIO()
    scaling_comparison.write_csv(run, out)
    return list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline="")))


def test_unknown_is_empty_and_never_0(run):
    large = next(row for row in table(run) if row["label"] == "large")
    assert large["parameters"] == "20000000000"
    for name in ("ttft_ms_median", "ttft_ms_n", "cost_usd_total", "disk_bytes", "load_ms_median",
                 "memory_peak_bytes", "simulated", "location", "gpu.energy_j_mean"):  # fmt: skip
        assert large[name] == "", name
    small = table(run)[0]
    assert small["accuracy_mean"] == "0.5" and small["accuracy_n"] == "2"
    assert list(small)[-1] == "accuracy_n", "the scenario's own come last"


def test_no_spreadsheet_takes_a_name_for_a_formula(run):
    hostile = table(run)[3]
    assert hostile["model"].startswith("'=") and hostile["label"].startswith("'=")


def test_as_json_with_units_and_provenance(run):
    out = io.BytesIO()
    scaling_comparison.write_json(run, out)
    made = json.loads(out.getvalue())
    small = made["models"][0]
    assert small["figures"]["ttft_ms"]["unit"] == "ms"
    assert small["size"] == {"parameters": 135_000_000, "source": "server"}
    assert made["models"][1]["memory_peak_bytes"] is None


def test_lines_for_a_terminal(run):
    lines = [line for line, _ in model_lines(model_rows(run))]
    assert lines[0] == "models: 1 passed, 2 failed, 1 skipped, 1 not run"
    assert lines[1].split() == ["passed", "small", "135M", "2/2", "launches,", "4", "calls", "ok"]
    narrow = [line for line, _ in model_lines(model_rows(run), 62)]
    at = next(number for number, line in enumerate(narrow) if "does not fit" in line)
    assert narrow[at].endswith("20B  does not fit: needs 41") and narrow[at + 1].strip() == "GiB"
    assert narrow[at + 1].index("GiB") == narrow[at].index("does"), "it goes on below itself"
    assert lines[-1].startswith("  * parameters as the spec declares them")


def test_a_table_on_the_page(run):
    shown, counts = models_table(run)
    assert counts.startswith("1 passed, 1 skipped, 2 failed, 1 not run. * is a size that")
    assert [column.head for column in shown.columns][:3] == ["Model", "Backend", "Parameters"]
    small, large, broken, declared, late = shown.rows
    assert [cell.text for cell in small[2:]] == [
        "135M", "here", "passed", "25", "—", "0.127 KiB", "—",
    ]  # fmt: skip
    assert small[7].lines == ("predicted 0.117 KiB",) and small[7].title == "the process (rss)"
    assert large[4].lines == ("0 of 2 launches", "does not fit: needs 41 GiB")
    assert (broken[4].tone, declared[2].text) == ("bad", "7B*")
    assert late[2].unknown and late[3].unknown and late[8].unknown
    assert models_table(many_trials(2)) is None, "two arms, one model"
