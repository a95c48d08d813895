"""A comparison as Markdown: for a pull request, a job's summary, a colleague."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from harness.report.cells import table
from harness.report.differences import (
    Compared,
    effect_cells,
    heading,
    made_up_in,
    value_text,
)
from harness.report.sanitise import code, markdown
from harness.schema import Comparison, Effect

__all__ = ["markdown_lines"]

OUTCOMES: Final = {
    0: "no regression",
    1: "**regression**",
    2: "not enough data",
    3: "**not comparable**",
}


def markdown_lines(found: Compared) -> Iterator[str]:
    """Lines without their ends; every text of others is escaped."""
    yield "# Comparison"
    yield ""
    if any(one.simulated for one in found.comparisons):
        yield "> **SIMULATED.** A stub was measured, no model server. These figures rank nothing."
        yield ""
    if fake := made_up_in(found):
        yield f"> **SIMULATED FIGURES**, which rank nothing: {', '.join(map(code, fake))}."
        yield ""
    if any(one.gates for one in found.comparisons) or found.status:
        yield f"Outcome: {OUTCOMES[found.status]}."
        yield ""
    for name, verdict in found.verdicts.items():
        yield f"- {code(name)}: {verdict.state}"
        for caveat in verdict.caveats:
            if caveat.severity != "note":
                yield f"  - {caveat.severity} {code(caveat.code)}: {markdown(caveat.message)}"
    yield from (f"- left out, without a partner: {code(name)}" for name in found.alone)
    for one in found.comparisons:
        yield ""
        yield from _comparison(one)
    yield ""
    yield (
        "Differences are candidate − baseline; means over trials, intervals of 95 %; p-values are "
        "corrected for the number of tests (Holm)."
    )


def _comparison(one: Comparison) -> Iterator[str]:
    yield f"## {markdown(heading(one))}"
    yield ""
    if not one.comparable:
        yield "**Not comparable.**"
        yield ""
    for gate in one.gates:
        yield f"- gate: {'**' if gate.status == 'regression' else ''}{markdown(gate.sentence)}" + (
            "**" if gate.status == "regression" else ""
        )
    yield from (f"- {code(effect.metric)}: {markdown(effect.sentence)}" for effect in one.effects)
    if one.effects:
        yield ""
        head = ("Metric", "Baseline", "Candidate", "Δ", "95 % of Δ", "p (Holm)", "Cliff's δ")
        yield from table(head, map(_row, one.effects))
    shown = [c for c in one.conditions if c.weight != "note"]
    if shown:
        yield ""
        rows = (
            (c.weight, code(c.name), _value(c.baseline), _value(c.candidate), markdown(c.why))
            for c in shown
        )
        yield from table(("Weight", "Condition", "Baseline", "Candidate", "Why it matters"), rows)


def _row(effect: Effect) -> tuple[str, ...]:
    unit = f" ({markdown(effect.unit)})" if effect.unit not in ("", "1") else ""
    return code(effect.metric) + unit, *effect_cells(effect)


def _value(value: object) -> str:
    return code(value_text(value, 120))
