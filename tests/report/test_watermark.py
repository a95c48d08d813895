"""Figures that an instrument played back or made up, beside a server that was real: every report
says so, and nothing ranks them."""

from __future__ import annotations

import csv
import io

import pytest
from msgspec.structs import replace

from harness.cli.live.doubts import Doubts
from harness.compare import Asked, Place, compare
from harness.compare.recommend import refusal
from harness.compare.watermark import is_stub, made_up, watermark
from harness.report import csv_cells, html
from harness.report.differences import Compared
from harness.report.differences_md import markdown_lines
from harness.report.energy import energy_unit, energy_words
from harness.report.plots.choose import choose
from harness.report.scaling_comparison import write_csv
from harness.schema import IterationRecord, MetricValue, TrialRecord, ValiditySpec
from tests.report.rendering import document, many_trials, markdown
from tests.report.test_table import rendered
from tests.store.builders import FakeRun

ENERGY = ("gpu.energy_j", "gpu_energy_j_per_request", "gpu_energy_j_per_token")


def with_gpu(run, provenance="simulated", joules=300.0, step=100.0):
    """Each iteration took so much, the candidate's `step` more."""
    records = []
    for record in run.records():
        if isinstance(record, IterationRecord):
            own = joules + record.trial + (step if record.arm == "chimera" else 0.0)
            figures = {"gpu.energy_j": (own, "J"), "gpu.energy_bound_j": (12.0, "J")}
            figures |= {"gpu.power_mean_w": (105.0, "W"), "gpu.idle_power_w": (61.0, "W")}
            metrics = tuple(
                MetricValue(name=name, value=v, unit=u, provenance=provenance, better="lower")
                for name, (v, u) in figures.items()
            )
            record = replace(record, metrics=metrics, instruments=("gpu",))
        records.append(record)
    return FakeRun(run.manifest, records)


@pytest.fixture(scope="module")
def faked():
    return with_gpu(many_trials(100.0))


@pytest.fixture(scope="module")
def real():
    return with_gpu(many_trials(100.0), provenance="measured")


def test_the_server_s_own_figures_stand(faked, real):
    assert made_up(faked.summary)[:2] == ("gpu_energy_j_per_request", "gpu_energy_j_per_token")
    assert not is_stub(faked.summary)
    assert "gpu.*" in watermark(faked.summary)
    assert (made_up(real.summary), watermark(real.summary)) == ((), "")
    of = {one.name: one.provenance for one in faked.summary.arms[0].metrics}
    assert {of[name] for name in ENERGY} == {"simulated"}
    assert (of["ttft_ms"], of["wall_ms"]) == ("measured", "measured")


def test_of_a_stub_everything_is_simulated(faked):
    records = [
        replace(r, effective=replace(r.effective, simulated=True))
        if isinstance(r, TrialRecord)
        else r
        for r in faked.records()
    ]
    stub = FakeRun(faked.manifest, records)
    assert is_stub(stub.summary)
    assert made_up(stub.summary) == ()
    assert "a stub was measured" in watermark(stub.summary)


def test_the_terminal_says_it_above_everything_and_marks_each(faked, real):
    text = rendered(faked.summary, width=80)
    assert "SIMULATED: not measured, but played back or made up" in text.split("TTFT")[0]
    assert "gpu_energy_j_per_token †" in text
    assert "energy: SIMULATED, not measured: GPUs 304 J (± 12 J) an iteration" in " ".join(
        text.split()
    )
    honest = rendered(real.summary, width=80)
    assert "SIMULATED" not in honest
    assert "†" not in honest


def test_markdown_and_the_page_mark_each(faked, real):
    text = markdown(faked)
    assert "> **SIMULATED FIGURES:**" in text.split("##")[0]
    assert "`gpu_energy_j_per_token`, J/tok (lower is better) **simulated**" in text
    assert "`ttft_ms` (lower is better) |" in text
    page = io.BytesIO()
    html.write(faked, page)
    assert '<p class="notice made-up"><strong>Simulated figures.' in page.getvalue().decode()
    assert "simulated" not in markdown(real).lower()


def test_files_for_programs_have_it_beside_each_figure(faked):
    out = io.BytesIO()
    csv_cells.write(faked, out)
    rows = list(csv.DictReader(io.StringIO(out.getvalue().decode())))
    of = {row["metric"]: row["provenance"] for row in rows}
    assert (of["gpu_energy_j_per_token"], of["ttft_ms"]) == ("simulated", "measured")
    told = document(faked)["iterations"][0]
    assert set(ENERGY) <= set(told["simulated"])
    assert "wall_ms" not in told["simulated"]
    out = io.BytesIO()
    write_csv(faked, out)
    (first, *_) = csv.DictReader(io.StringIO(out.getvalue().decode()))
    assert set(ENERGY) <= set(first["simulated_figures"].split())


def test_pictures_of_it_bear_the_watermark_and_others_do_not(faked, real):
    def marks(run, *names):
        plots = choose(run, kinds=["arms"], metrics=names).plots
        return {plot.frame.simulated for plot in plots}

    assert marks(faked, "gpu_energy_j_per_token") == {True}
    assert marks(faked, "ttft_ms", "gpu.energy_j") == {True}
    assert marks(faked, "ttft_ms") == {False}
    assert marks(real, "gpu_energy_j_per_token") == {False}


def test_a_difference_of_it_is_none(faked, real):
    def effects(run):
        (one,) = compare(
            [
                (
                    Place(run=run, name="r", arm="baseline", cell="base"),
                    Place(run=run, name="r", arm="chimera", cell="base"),
                )
            ],
            Asked(metrics=("gpu_energy_j_per_token", "ttft_ms")),
        )
        return one, {effect.metric: effect for effect in one.effects}

    one, by_name = effects(faked)
    energy = by_name["gpu_energy_j_per_token"]
    assert energy.words == "not enough data"
    assert "rank nothing" in energy.sentence
    assert energy.p_holm is None
    assert by_name["ttft_ms"].words == "worse"
    assert one.made_up == ("gpu_energy_j_per_token",)
    lines = list(markdown_lines(Compared(comparisons=(one,), verdicts={})))
    assert lines[2] == "> **SIMULATED FIGURES**, which rank nothing: `gpu_energy_j_per_token`."
    assert effects(real)[1]["gpu_energy_j_per_token"].words == "worse"


def test_nothing_is_recommended_by_it(faked, real):
    assert "rank nothing" in refusal(faked.summary, ["gpu_energy_j_per_token"])
    assert refusal(faked.summary, ["ttft_ms"]) == refusal(real.summary, ENERGY) == ""


def test_a_real_figure_beside_a_made_up_one_is_named(faked, real):
    sides = [
        (
            Place(run=real, name="real", arm="baseline", cell="base"),
            Place(run=faked, name="faked", arm="chimera", cell="base"),
        )
    ]
    (one,) = compare(sides, Asked(metrics=("gpu.energy_j",)))
    assert "records.provenance.gpu.energy_j" in {c.name for c in one.conditions}
    assert one.effects[0].words == "not enough data"


def test_the_line_while_it_runs_says_so(faked):
    trial = next(r for r in faked.records() if isinstance(r, TrialRecord))
    iterations = [r for r in faked.records() if isinstance(r, IterationRecord)]
    doubts = Doubts(ValiditySpec())
    doubts.trial(trial, [], iterations[:1], None)
    assert any(line.startswith("simulated: an instrument plays back") for line in doubts.lines())


# Joules in words ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "values", "shown"),
    [
        ("J", [0.02, 0.05], ("mJ", 1e-3)),
        ("J/tok", [0.02], ("mJ/tok", 1e-3)),
        ("J", [0.02, 5.0], ("J", 1.0)),
        ("J", [40_000.0, None], ("Wh", 3600.0)),
        ("J/answer", [40_000.0], ("Wh/answer", 3600.0)),
        ("J", [0.0], ("J", 1.0)),
        ("ms", [0.001], ("ms", 1.0)),
        ("J", [], ("J", 1.0)),
    ],
)
def test_joules_are_shown_in_a_unit_that_can_be_read(unit, values, shown):
    assert energy_unit(unit, values) == shown


def test_joules_have_their_bound_beside_them(real):
    words = energy_words(real.summary.arms[0])
    assert words.startswith("GPUs 304 J (± 12 J) an iteration, 105 W on average, 61 W idle, ")
    assert "per request" in words
    assert energy_words(many_trials(0.0).summary.arms[0]) == ""
