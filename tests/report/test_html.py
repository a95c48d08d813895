"""The HTML report as text: what its policy allows, and what becomes of strangers' text."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import subprocess
import sys

import msgspec
import pytest

from harness.report import html, plots
from harness.schema import Goodput, Objective, RunSpec
from tests.hostile.corpus import controls
from tests.report.hostile_runs import RUNS, hostile_run
from tests.report.rendering import many_trials
from tests.report.sweeps import sweep_run, with_decisions
from tests.store import builders


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch):
    """Drawing takes seconds; what becomes of drawings is told in test_svg and in the browser."""
    monkeypatch.setattr(plots, "figures_for", lambda run, **more: [])


def text_of(run) -> str:
    out = io.BytesIO()
    html.write(run, out)
    return out.getvalue().decode()


def test_the_policy_names_its_style_and_its_script_and_nothing_else():
    text = text_of(builders.toy_run())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert policy.endswith("base-uri 'none'; form-action 'none'")
    assert "unsafe" not in policy and "http" not in policy
    for tag in ("style", "script"):
        (source,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert text.index("Content-Security-Policy") < text.index("<style>") < text.index("<body")


def test_strangers_text_is_only_ever_text():
    text = text_of(hostile_run())
    tags = re.findall(r"<(/?[a-zA-Z][^\s/>]*)", text)
    ours = (
        "html head meta title style body header p span button h1 h2 h3 h4 strong main section ul "
        "li code dl div dt dd nav a em table caption thead tr th tbody td small svg line circle "
        "path details summary pre footer script"
    )
    assert {tag.strip("/") for tag in tags} <= set(ours.split())
    assert tags.count("script") == tags.count("style") == 1
    assert not re.search(r"<[^>]*\son\w+\s*=", re.sub(r'"[^"]*"', '""', text))
    assert not re.search(r'(?:href|src)\s*=\s*"(?!#)', text)
    assert RUNS in text and f"<script>{RUNS}" not in text
    assert "{{ 7 * 7 }}" in text
    assert controls(text) == set()


def test_the_spec_on_the_page_is_the_spec_of_the_run():
    from html import unescape

    run = sweep_run(2)
    spec = re.search(r"<summary>Spec.*?<pre>(.*?)</pre>", text_of(run), re.DOTALL)[1]
    assert msgspec.json.decode(unescape(spec), type=RunSpec) == run.manifest.spec


def test_a_sweep_has_its_axes_as_columns_and_its_decisions():
    text = text_of(with_decisions(sweep_run(5)))
    heads = re.findall(r'<span class="head">(.*?)</span>', text.partition('id="cells"')[2])
    assert heads[:4] == ["Arm", "num_ctx", "num_gpu", "ok"]
    cells = text.partition('id="cells"')[2].partition("</table>")[0]
    assert cells.count("<tr>") == 19
    assert "baseline: rate_per_s 1 was shown to keep 90 % of requests within the SLO" in text
    assert "ttft_ms was narrow enough after 3 trials" in text
    assert "2026-11-20 22:00:00 UTC" in text and "4, 5" in text
    assert re.search(r"<span>\d+ × no difference shown</span>", text)


def test_every_figure_has_n_interval_and_provenance():
    text = text_of(many_trials(30))
    row = re.search(r"<code>ttft_ms</code></th>(.*?)</tr>", text.partition('id="figures"')[2], re.S)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row[1])
    assert cells[:2] == ["ms", "20"] and cells[-1] == "measured, per call"
    assert any(re.fullmatch(r"[\d.]+ … [\d.]+", cell) for cell in cells)
    cell = re.search(r'<td class="num"[^>]*title="(ttft_ms: median[^"]*)">', text)[1]
    assert "n = 20 (calls)" in cell and "95 % interval" in cell and "measured" in cell


def test_goodput_and_bands_stand_beside_the_figures():
    run = builders.toy_run()
    made = Goodput(
        good=3,
        of=4,
        unknown=1,
        objectives=(Objective(metric="ttft_ms", bound=200, better="lower", met=4, unknown=0),),
        share=0.75,
        share_low=0.194,
        share_high=0.994,
        ci_of="calls",
        per_s=2.5,
    )
    first = run.summary.arms[0]
    ttft = msgspec.structs.replace(first.metrics[0], band="good", band_by="median")
    arm = msgspec.structs.replace(first, goodput=made, metrics=(ttft, *first.metrics[1:]))
    run.summary = msgspec.structs.replace(run.summary, arms=(arm, *run.summary.arms[1:]))
    text = text_of(run)
    assert "3 / 4" in text and "ttft_ms ≤ 200" in text and "19.40 … 99.40" in text
    assert "good (by median)" in text


def test_what_cannot_be_drawn_is_named_and_the_rest_is_written(monkeypatch):
    class Broken:
        name = title = caption = kind = "broken <b>"

        def svg(self) -> str:
            raise ValueError("no <i>")

    monkeypatch.setattr(plots, "figures_for", lambda run, **more: [Broken()])
    assert "Not drawn: broken &lt;b&gt;: no &lt;i&gt;" in text_of(builders.toy_run())


def test_random_weights_and_a_run_that_did_not_end_are_said_on_top():
    run = builders.toy_run()
    run.summary = msgspec.structs.replace(run.summary, state="interrupted")
    text = text_of(run)
    assert text.index("Run interrupted") < text.index('id="verdict"')


def test_jinja_is_imported_when_a_page_is_written():
    code = "import sys, harness.report.html; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
