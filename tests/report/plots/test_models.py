"""Models by size and by cost: each point is the summary's, and who is no point is named."""

from __future__ import annotations

import io

import msgspec
import pytest
from PIL import Image

from harness.report.models import model_rows
from harness.report.plots import choose, figures_for
from harness.report.plots.modelmarks import COLOURS_MAX
from harness.report.plots.modelpoints import family_of
from harness.schema import TrialRecord
from tests.report.plots import runs
from tests.store.builders import FakeRun

KINDS = ["model-size", "model-cost", "model-bubbles"]


@pytest.fixture(scope="module")
def run():
    return runs.over_models(trials=5)


@pytest.fixture(scope="module")
def plots(run):
    found = choose(run, kinds=KINDS)
    assert not found.refused
    return {plot.kind: plot for plot in found.plots}


def names(points):
    return {one.model.name for one in points}


def drawn(plot):
    """The axes of the figure, without its file."""
    from matplotlib.figure import Figure

    from harness.report.plots.style import applied

    with applied():
        figure = Figure(figsize=plot.size_in, layout="constrained")
        plot.draw(plot._frame(figure))
        figure.canvas.draw()
    return [axes for axes in figure.axes if axes.get_visible()]


def test_points_are_the_rows(run, plots):
    rows = {(row.arm, row.cell): row for row in model_rows(run)}
    data = plots["model-size"].data
    assert list(data) == ["e2e_ms", "ttft_ms", "throughput_tok_s", "cost_usd", "score"]
    for name, points in data.items():
        assert len(points) == len(names(points)) > 1
        for one in points:
            row = rows[one.model.key]
            figure = row.figures[name]
            assert (one.x, one.y, one.shown.n) == (row.size.parameters, figure.mean, figure.n)
            assert (one.shown.low, one.shown.high) == (figure.ci_low, figure.ci_high)
            assert one.model.location == row.location
            assert one.model.name.endswith("*") == (row.size.source == "declared")


def test_what_is_not_known_is_no_point_and_is_named(plots):
    size = plots["model-size"]
    assert "secret" not in names(size.data["e2e_ms"])
    assert "size not known" in size.caption
    assert names(size.data["cost_usd"]) == {"mistral-nemo", "qwen-2.5-72b", "claude-x*", "gpt-free"}
    assert "Qwen2.5-0.5B" in names(size.data["e2e_ms"])
    assert size.caption.endswith(
        "Left out: secret: size not known; Qwen2.5-0.5B, Qwen2.5-7B, Llama-3.1-8B, silent: "
        "cost of a call not known."
    )


def test_a_cost_of_0_is_a_point_upwards_and_none_on_a_logarithmic_axis(plots):
    (free,) = (one for one in plots["model-size"].data["cost_usd"] if one.model.name == "gpt-free")
    assert free.y == 0
    cost = plots["model-cost"]
    assert all("gpt-free" not in names(points) for points in cost.data.values())
    assert "gpt-free: cost of a call is 0" in cost.caption
    assert "secret" in names(cost.data["e2e_ms"])  # its size is not asked for
    for axes in drawn(cost):
        assert axes.get_xscale() == "log" and axes.get_xlim()[0] > 0


def test_no_axis_has_a_negative_number(plots):
    for plot in plots.values():
        for axes in drawn(plot):
            assert axes.get_ylim()[0] >= 0
            low, high = axes.get_xlim()
            ticks = [tick.get_text() for tick in (*axes.get_xticklabels(), *axes.get_yticklabels())]
            assert low > 0 and high > low
            assert any(ticks) and not any("−" in text or "$" in text for text in ticks)


def test_a_bubble_has_the_area_of_its_value(plots):
    bubbles = plots["model-bubbles"]
    assert list(bubbles.data) == ["score", "e2e_ms", "throughput_tok_s"]
    axes = drawn(bubbles)[0]
    values = {one.area: one.model.location for one in bubbles.data["score"]}
    assert sorted(values) == pytest.approx([0, 0.00004, 0.00036, 0.0031])
    areas = sorted(float(one.get_sizes()[0]) for one in axes.collections)
    largest = max(values)
    assert [area / areas[-1] for area in areas] == pytest.approx(
        [value / largest for value in sorted(values)]
    )


def test_a_square_runs_here_and_a_circle_elsewhere(plots):
    (axes, *_) = drawn(plots["model-size"])
    points = plots["model-size"].data["e2e_ms"]
    marked = {(line.get_xdata()[0], line.get_marker()) for line in axes.lines
              if len(line.get_xdata()) == 1}  # fmt: skip
    wanted = {"local": "s", "api": "o", None: "D"}
    assert marked == {(one.x, wanted[one.model.location]) for one in points}
    said = " ".join(text.get_text() for text in axes.texts)
    assert all(f"{one.model.name}  n={one.shown.n}" in said for one in points)


def test_who_did_not_pass_is_left_out_with_the_reason():
    failing = "meta-llama/Llama-3.1-8B"
    (plot,) = choose(runs.over_models(fails=(failing,)), kinds=["model-size"]).plots
    assert all("Llama-3.1-8B" not in names(points) for points in plot.data.values())
    assert "Llama-3.1-8B: failed: 18 of 18 calls are not ok: http.500" in plot.caption


def test_metrics_that_are_asked_for_and_nothing_else(run):
    asked = choose(run, kinds=["model-size"], metrics=["tpot_ms"]).plots
    assert list(asked[0].data) == ["tpot_ms"]
    asked = choose(run, kinds=["model-cost"], metrics=["iteration_cost_usd", "ttft_ms"]).plots
    assert list(asked[0].data) == ["ttft_ms"]
    assert "cost of an iteration" in asked[0].caption


def test_cost_is_an_axis_of_the_other_figures_too():
    cells = {name: runs.MODELS[name] for name in ("mistralai/mistral-nemo", "anthropic/claude-x")}
    one = runs.over_models(cells)
    for kind in ("arms", "family"):
        (plot,) = choose(one, kinds=[kind], metrics=["cost_usd"]).plots
        said = [axes.get_xlabel() + axes.get_ylabel() + axes.get_title() for axes in drawn(plot)]
        assert any("cost of a call, USD" in words for words in said)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: runs.run_of(("a", "b")), "one model"),
        (lambda: runs.over_models({"acme/secret": runs.MODELS["acme/secret"],
                                   "acme/silent": runs.MODELS["acme/silent"]}),
         "fewer than two models can be placed: secret: size not known"),
    ],
)  # fmt: skip
def test_a_run_that_compares_no_sizes_says_so(made, why):
    found = choose(made(), kinds=["model-size"])
    assert not found.plots and why in found.refused["model-size"]


def test_without_a_cost_there_is_no_figure_of_it():
    found = choose(runs.over_models(costs=False), kinds=KINDS)
    assert {plot.kind for plot in found.plots} == {"model-size"}
    assert "cost" in found.refused["model-cost"] and "energy" in found.refused["model-bubbles"]


def test_an_html_report_has_them(run, plots, monkeypatch):
    from harness.report import html

    assert {plot.kind for plot in figures_for(run)} >= set(KINDS)
    bubbles = plots["model-bubbles"]  # the others take long to draw
    monkeypatch.setattr("harness.report.plots.figures_for", lambda run, **_: [bubbles])
    out = io.BytesIO()
    html.write(run, out)
    assert "Models by size; area: cost of a call, USD" in out.getvalue().decode()


def test_two_arms_of_a_model_are_told_apart():
    models = {f"acme/m-{n}B": (n * 10**9, False, "local", 20 * n, None, 0.1 * n) for n in (1, 2, 3)}
    one = runs.over_models(models)
    (plot,) = choose(one, kinds=["model-size"]).plots
    assert [p.model.name for p in plot.data["e2e_ms"]] == ["m-1B", "m-2B", "m-3B"]
    clash = {f"{who}/m": (10**9, False, "local", 20, None, 0.1) for who in ("acme", "other")}
    (plot,) = choose(runs.over_models(clash), kinds=["model-size"]).plots
    assert names(plot.data["e2e_ms"]) == {"acme/m", "other/m"}


def test_many_models_and_hostile_names_are_drawn():
    models = {
        f"{runs.HOSTILE[n % 4]}/{'x' * (n % 3)}model-{n}": (10 ** (6 + n % 6), n % 2 == 0,
                                                           (None, "api", "local")[n % 3],
                                                           20 + n, "0.001", n / 40)
        for n in range(32)
    }  # fmt: skip
    one = runs.over_models(models, trials=1, calls=2)
    for plot in choose(one, kinds=KINDS, metrics=["ttft_ms", "cost_usd"]).plots:
        image = Image.open(io.BytesIO(plot.rendered("png", dpi=50)))
        assert image.width == int(50 * plot.size_in[0])
        assert "<script" not in plot.svg()


def test_simulated_models_bear_the_watermark():
    plain = runs.over_models()
    records = [
        msgspec.structs.replace(
            one, effective=msgspec.structs.replace(one.effective, simulated=True)
        )
        if isinstance(one, TrialRecord) else one
        for one in plain.records()
    ]  # fmt: skip
    made = FakeRun(plain.manifest, records)
    made.summary = msgspec.structs.replace(made.summary, cells=plain.summary.cells)
    assert all(plot.frame.simulated for plot in choose(made, kinds=KINDS).plots)
    assert not any(plot.frame.simulated for plot in choose(plain, kinds=KINDS).plots)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "qwen"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "deepseek"),
        ("meta-llama/Llama-3.1-8B", "llama"),
        ("mistralai/Mixtral-8x7B", "mistral"),
        ("TinyLlama-1.1B", "llama"),
        ("/models/tiny-hf-small", "tiny"),
        ("42", "others"),
        ("", "others"),
    ],
)
def test_families(name, family):
    assert family_of(name) == family


def test_beyond_the_palette_families_are_others():
    models = {
        letter * 3: (10 ** (7 + n // 3), False, "local", 20, None, 0)
        for n, letter in enumerate("abcdefghijkl"[: COLOURS_MAX + 3])
    }
    (plot,) = choose(runs.over_models(models, trials=1, calls=2), kinds=["model-size"]).plots
    assert "other families" in {text.get_text() for text in _legend_texts(plot)}


def _legend_texts(plot):
    figure = drawn(plot)[0].figure
    return [text for legend in figure.legends for text in legend.get_texts()]
