"""Every kind, drawn: without a warning (they are errors here), as sound SVG of bounded size, with
nothing in it that reaches outside."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from harness.report.plots import KINDS, choose, figures_for
from harness.report.plots.svg import inlined
from tests.report.plots import runs

SIZE_MAX = 450_000
SVG = "{http://www.w3.org/2000/svg}"
TWENTY = tuple(f"arm-{i:02d}-{runs.LONG}"[:60] for i in range(20))


@pytest.fixture(scope="module")
def drawn():
    """Every kind at least once → its SVG."""
    plots = [
        *choose(runs.run_of(calls=14, failed=2, cold=1, simulated=True),
                comparisons=[runs.comparison()]).plots,
        *choose(runs.swept(trials=5), kinds=["heatmap", "family"], metrics=["ttft_ms"]).plots,
        *choose(runs.loads(), kinds=["load-curve"]).plots,
        *choose(runs.searched(), kinds=["search"]).plots,
        *choose(runs.over_models(), kinds=["model-size", "model-cost", "model-bubbles"]).plots,
    ]  # fmt: skip
    return [(plot, plot.svg()) for plot in plots]


def test_every_kind_is_there(drawn):
    assert {plot.kind for plot, _ in drawn} == set(KINDS)


def test_they_are_sound_and_small(drawn):
    for plot, svg in drawn:
        assert len(svg) < SIZE_MAX, plot.name
        root = ET.fromstring(svg)
        assert root.tag == f"{SVG}svg" and root.get("viewBox")
        tags = {element.tag.removeprefix(SVG) for element in root.iter()}
        assert not tags & {"script", "style", "image", "metadata", "foreignObject", "text"}
        for element in root.iter():
            for name, value in element.attrib.items():
                assert not name.startswith("on")
                if "href" in name:
                    assert value.startswith("#h")
        assert not svg.startswith("<?xml") and "<!--" not in svg
        assert re.findall(r"https?://", svg) == ["http://"], "the namespace alone"


def test_ids_are_a_figure_s_own(drawn):
    every = [found for _, svg in drawn for found in re.findall(r'\sid="([^"]*)"', svg)]
    assert len(every) == len(set(every))
    for _, svg in drawn:
        ids = set(re.findall(r'\sid="([^"]*)"', svg))
        used = re.findall(r'href="#([^"]*)"', svg) + re.findall(r"url\(#([^)]*)\)", svg)
        assert set(used) <= ids


def test_n_is_in_every_caption(drawn):
    for plot, svg in drawn:
        assert re.search(r"\bn\b|\bcold start", plot.caption), plot.caption
        assert plot.caption[:40] in svg.replace("&lt;", "<")


def test_a_simulation_says_so_across_the_figure():
    plain = choose(runs.run_of(calls=4), kinds=["arms"]).plots[0]
    marked = choose(runs.run_of(calls=4, simulated=True), kinds=["arms"]).plots[0]
    assert marked.frame.simulated and not plain.frame.simulated
    assert "simulated" in marked.frame.footer
    assert "c0ffee12" in plain.frame.footer and "00ff" in plain.frame.footer
    (other,) = choose(runs.run_of(calls=4), kinds=["effects"],
                      comparisons=[runs.comparison()]).plots  # fmt: skip
    assert not other.frame.simulated


def test_hostile_names_are_drawn_as_what_they_are():
    run = runs.run_of(tuple(runs.HOSTILE), calls=3)
    plots = choose(run, kinds=["arms", "timeline"]).plots
    for plot in plots:
        svg = plot.svg()
        ET.fromstring(svg)
        assert "<script" not in svg and "\x1b" not in svg and "\u202e" not in svg


def test_the_same_figure_is_the_same_bytes():
    one, other = (choose(runs.run_of(calls=3), kinds=["histogram"]).plots[0] for _ in range(2))
    assert one.svg() == other.svg()
    assert one.rendered("png") == other.rendered("png")
    assert one.rendered("pdf").startswith(b"%PDF")


def test_twenty_arms_with_long_names():
    run = runs.run_of(TWENTY, trials=2, calls=3)
    arms, ecdf = choose(run, kinds=["arms", "ecdf"], metrics=["ttft_ms"]).plots
    assert len(arms.data["ttft_ms"]) == 20
    assert len(arms.svg()) < SIZE_MAX and len(ecdf.svg()) < 2 * SIZE_MAX
    assert "The first 12 of 20 panels are drawn." in ecdf.caption


def test_one_arm_one_call_and_nothing():
    lone = runs.run_of(("default",), trials=1, calls=1, warmup=0)
    for plot in figures_for(lone):
        ET.fromstring(plot.svg())
    empty = runs.FakeRun(runs.manifest(arms=("a",), state="interrupted"), [])
    assert figures_for(empty) == []


def test_an_inlined_document_loses_what_is_not_drawing():
    made = inlined(
        '<?xml version="1.0"?><!DOCTYPE svg><svg viewBox="0 0 10 10"><!-- <b> -->'
        '<metadata>x</metadata><defs><style type="text/css">*{}</style></defs>'
        '<path id="p" d="M 1.23456 2"/><use xlink:href="#p" clip-path="url(#p)"/></svg>',
        "k-", "a < b", "c",
    )  # fmt: skip
    ET.fromstring(made)
    assert "style>" not in made and "metadata" not in made and "1.23 2" in made
    assert 'href="#k-0"' in made and "url(#k-0)" in made and "a &lt; b" in made
