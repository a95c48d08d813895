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
from collections.abc import Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from msgspec import Struct

from harness.protocols import RunData
from harness.report.sanitise import plain
from harness.report.sources import Plot, find_comparisons, find_plots

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["write"]

log = logging.getLogger("harness.report")

POLICY: Final = (
    "default-src 'none'; img-src data:; style-src {style}; script-src {script}; "
    "base-uri 'none'; form-action 'none'"
)


class Drawn(Struct, frozen=True, kw_only=True):
    """A plot, as part of the page."""

    title: str
    caption: str
    svg: str
    """Already markup: written by svg.py from what it allows."""


def write(run: RunData, out: BinaryIO) -> None:
    """One page of UTF-8. Raises nothing of its own; a plot that cannot be drawn is left out, with
    its name and the reason on the page."""
    page = _environment().get_template("report.html")
    for part in page.generate(_context(run)):
        out.write(part.encode())


def _context(run: RunData) -> dict[str, Any]:
    from harness.report.cells import interval_footer
    from harness.report.grid import is_many
    from harness.report.page import comparisons, decisions, figures, overview, setup

    summary = run.summary
    ones = find_comparisons(run)
    plots, undrawn = _drawn(find_plots(run))
    iterations, more_iterations = figures.iterations_table(run)
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
        "cold": figures.cold_table(summary),
        "every": list(figures.every_figure(summary)),
        "iterations": iterations,
        "more_iterations": more_iterations,
        "interval_footer": interval_footer(summary),
        "compared": list(comparisons.compared(ones, summary)),
        "differences": comparisons.overview_table(ones, summary),
        "verdicts": comparisons.verdicts(ones, summary),
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


def _drawn(plots: Iterator[Plot]) -> tuple[list[Drawn], list[str]]:
    """Plots as markup, and what went wrong with the others: a report without one is still one."""
    from harness.report.svg import inline

    drawn: list[Drawn] = []
    undrawn: list[str] = []
    for number, plot in enumerate(plots, 1):
        try:
            svg = inline(plot.svg(), f"p{number}-", f"{plot.title}. {plot.caption}")
        except Exception as error:  # somebody's figures may be ones that cannot be drawn
            log.debug("plot %s", plot.name, exc_info=True)
            undrawn.append(f"{plot.title}: {error}")
            continue
        drawn.append(Drawn(title=plot.title, caption=plot.caption, svg=svg))
    return drawn, undrawn


# ----------------------------------------------------------------------------------------- template


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def harmless(value: Any) -> Any:
        return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    return Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        finalize=harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source(name: str) -> str:
    return files("harness.report").joinpath("templates", name).read_text("utf-8")


def _digest(source: str) -> str:
    """As a policy names the one script, or style, that may be there."""
    found = hashlib.sha256(source.encode()).digest()
    return f"'sha256-{base64.b64encode(found).decode()}'"
