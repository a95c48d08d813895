"""`html`: the whole report as one file, to send to somebody.

It asks for nothing: style, script and plots are in it, and its policy (Content-Security-Policy)
forbids every fetch, every form, and every script and style but those two, by their digests. So even
text that slipped through would be inert. It should not slip through: whatever the template prints
is made harmless (`plain`: no control, no reordering) and escaped, in one place, by `finalize` and
autoescape; nothing of the run is ever put into a script, a style, an address or a tag.

It works without its script, which only sorts tables and chooses between light and dark.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from msgspec import Struct

from harness.protocols import RunData
from harness.report.sanitise import one_line, plain

if TYPE_CHECKING:
    from jinja2 import Environment

    from harness.report.plots import Plot

__all__ = ["write"]

log = logging.getLogger("harness.report")

POLICY: Final = (
    "default-src 'none'; img-src data:; style-src {style}; script-src {script}; "
    "base-uri 'none'; form-action 'none'"
)


INKS: Final = {
    "#222222": "ink",
    "#888888": "grey",
    "#6b6b6b": "grey",
    "#b8b8b8": "faint",
    "#dedede": "grid",
    "#ffffff": "paper",
}
"""The plots' neutral colours → those of the page, so that they can be read on a dark one."""
ON_PAPER: Final = ("heatmap",)
"""Kinds that keep their paper: what is written on coloured ground was chosen for that colour."""
WIDE: Final = 640.0
"""Points from which a plot leaves no room for its caption beside it."""


class Drawn(Struct, frozen=True, kw_only=True):
    """A plot, as part of the page."""

    title: str
    caption: str
    svg: str
    """Already markup: written by svg.py from what it allows."""
    wide: bool
    on_paper: bool


def write(run: RunData, out: BinaryIO) -> None:
    """One page of UTF-8. Raises nothing of its own; a plot that cannot be drawn is left out, with
    its name and the reason on the page."""
    page = _environment().get_template("report.html")
    for part in page.generate(_context(run)):
        out.write(part.encode())


def _context(run: RunData) -> dict[str, Any]:
    from harness.compare import compare_arms
    from harness.report.cells import interval_footer
    from harness.report.grid import is_many
    from harness.report.page import (
        comparisons,
        decisions,
        figures,
        models,
        overview,
        runs,
        setup,
        together,
    )
    from harness.report.plots import figures_for

    summary = run.summary
    ones = compare_arms(run)
    plots, undrawn = _drawn(figures_for(run, comparisons=ones))
    iterations, more_iterations = runs.iterations_table(run)
    plan, more_plan = setup.plan_table(run)
    style, script = _source("style.css"), _source("script.js")
    return {
        "summary": summary,
        "manifest": run.manifest,
        "policy": POLICY.format(style=_digest(style), script=_digest(script)),
        "style": style,
        "script": script,
        "many": is_many(summary),
        "facts": list(overview.facts(run)),
        "notices": list(overview.notices(summary)),
        "doubts": overview.doubts(summary),
        "cells": figures.cells_table(summary),
        "models": models.models_table(run),
        "cold": figures.cold_table(summary),
        "goodput": figures.goodput_table(summary),
        "agents": together.agents_shown(summary),
        "every": list(figures.every_figure(summary)),
        "iterations": iterations,
        "more_iterations": more_iterations,
        "interval_footer": interval_footer(summary),
        "compared": list(comparisons.compared(ones)),
        "effects": comparisons.effects_table(ones, summary),
        "verdicts": comparisons.verdicts(ones),
        "plots": plots,
        "undrawn": undrawn,
        "searches": decisions.searches(summary),
        "stopping": decisions.stopping_table(summary),
        "skipped": decisions.skipped_table(run),
        "sessions": decisions.sessions_table(run),
        "spec": overview.spec_json(run),
        "raw": overview.summary_json(run),
        "plan": plan,
        "more_plan": more_plan,
        **_setup(run),
        "environment": list(setup.environment(run)),
        "measured": list(setup.measured(run)),
    }


def _setup(run: RunData) -> dict[str, Any]:
    from harness.report.page import setup

    found = setup.setup_of(run)
    return {
        "setup": found,
        "differ": setup.differences(found.differ, run, "What the arms differ in"),
        "launch": setup.differences(found.launch, run, "What changed from launch to launch"),
        "alike": setup.in_common(found.alike),
    }


def _drawn(plots: Iterable[Plot]) -> tuple[list[Drawn], list[str]]:
    """Plots as markup, and what went wrong with the others: a report without one is still one."""
    from harness.report.svg import inline

    drawn: list[Drawn] = []
    undrawn: list[str] = []
    for number, plot in enumerate(plots, 1):
        on_paper = plot.kind in ON_PAPER
        inks = {} if on_paper else INKS
        try:
            svg = inline(plot.svg(), f"p{number}-", f"{plot.title}. {plot.caption}", inks)
        except Exception as error:  # somebody's figures may be ones that cannot be drawn
            log.debug("plot %s", plot.name, exc_info=True)
            undrawn.append(f"{plot.title}: {error}")
            continue
        one = Drawn(
            title=plot.title, caption=plot.caption, svg=svg, wide=_is_wide(svg), on_paper=on_paper
        )
        drawn.append(one)
    return drawn, undrawn


def _is_wide(svg: str) -> bool:
    view = re.search(r'viewBox="[\d.-]+ [\d.-]+ ([\d.]+) ', svg)
    return view is None or float(view[1]) > WIDE


# ----------------------------------------------------------------------------------------- template


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def harmless(value: Any) -> Any:
        return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        finalize=harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["line"] = one_line
    return environment


def _source(name: str) -> str:
    return files("harness.report").joinpath("templates", name).read_text("utf-8")


def _digest(source: str) -> str:
    """As a policy names the one script, or style, that may be there."""
    found = hashlib.sha256(source.encode()).digest()
    return f"'sha256-{base64.b64encode(found).decode()}'"
