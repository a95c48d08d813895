"""The head of the page: what was run, whether to believe it, and how to do it again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Struct

from harness.compare.watermark import is_stub, watermark
from harness.protocols import RunData
from harness.report.beside import cost_of_all
from harness.report.figures import UNKNOWN, moment, number
from harness.schema import Caveat, Summary

__all__ = ["Doubt", "Fact", "Notice", "doubts", "facts", "notices", "spec_json", "summary_json"]

SEVERITY_RANK: Final = ("invalid", "doubtful", "note")


class Fact(Struct, frozen=True, kw_only=True):
    name: str
    value: str
    code: bool = False


class Notice(Struct, frozen=True, kw_only=True):
    """What must not be missed, above everything else."""

    kind: str
    head: str
    text: str


class Doubt(Struct, frozen=True, kw_only=True):
    """A caveat, and the arms that have it."""

    severity: str
    code: str
    message: str
    remedy: str
    arms: tuple[str, ...]
    evidence: str


def notices(summary: Summary) -> Iterator[Notice]:
    codes = {caveat.code for caveat in summary.verdict.caveats}
    if is_stub(summary):
        yield Notice(
            kind="simulated",
            head="Simulated",
            text="A stub was measured, no model server. These figures rank nothing.",
        )
    elif said := watermark(summary):
        yield Notice(
            kind="made-up",
            head="Simulated figures",
            text=f"{said[:1].upper()}{said[1:]}. They rank nothing.",
        )
    if "random-weights" in codes:
        yield Notice(
            kind="random",
            head="Random weights",
            text="The model's text is noise. Its speed is that of a real inference engine.",
        )
    if summary.state != "finished":
        yield Notice(
            kind="unfinished",
            head=f"Run {summary.state}",
            text="Figures are of what was recorded until then.",
        )


def doubts(summary: Summary) -> list[Doubt]:
    """The worst first; one that many arms have, once, with their names."""
    found: dict[tuple[str, str, str, str], list[Caveat]] = {}
    for caveat in summary.verdict.caveats:
        key = (caveat.severity, caveat.code, caveat.message, caveat.remedy)
        found.setdefault(key, []).append(caveat)
    ranked = sorted(found.items(), key=lambda item: SEVERITY_RANK.index(item[0][0]))
    return [
        Doubt(
            severity=severity,
            code=code,
            message=message,
            remedy=remedy,
            arms=tuple(where for one in caveats for where in _places(one)),
            evidence=_evidence(caveats),
        )
        for (severity, code, message, remedy), caveats in ranked
    ]


def _places(one: Caveat) -> Iterator[str]:
    """The arm, or its cells of which this is said."""
    if one.cell is None:
        yield from filter(None, (one.arm,))
    else:
        for cell in (one.cell, *one.more_cells):
            yield f"{one.arm} / {cell}" if one.arm else cell


def _evidence(caveats: list[Caveat]) -> str:
    shown = [one.evidence for one in caveats if one.evidence]
    if not shown:
        return ""
    return _json(shown[0] if len(shown) == 1 else shown)


def facts(run: RunData) -> Iterator[Fact]:
    summary, manifest = run.summary, run.manifest
    calls = sum(sum(arm.calls.values()) for arm in summary.arms)
    ok = sum(arm.calls.get("ok", 0) for arm in summary.arms)
    yield Fact(name="Scenario", value=summary.scenario)
    yield Fact(name="Backend", value=summary.backend)
    yield Fact(name="Model", value=summary.model or UNKNOWN)
    yield Fact(name="Arms × cells", value=_shape(summary))
    yield Fact(name="Trials", value=str(sum(arm.trials for arm in summary.arms)))
    yield Fact(name="Calls, ok of measured", value=f"{ok:,} of {calls:,}")
    yield Fact(name="Started", value=moment(summary.started))
    yield Fact(name="Wall time", value=_duration(summary.wall_s))
    if cost := cost_of_all(summary):
        yield Fact(name="Cost", value=cost)
    yield Fact(name="Run", value=summary.run_id, code=True)
    yield Fact(name="Spec", value=summary.spec_digest, code=True)
    if manifest.error:
        yield Fact(name="Ended by", value=manifest.error)


def _shape(summary: Summary) -> str:
    """`2 × 9`; of arms with different cells (one stays out of the sweep), each: `1 + 9`."""
    cells: dict[str, set[str]] = {}
    for arm in summary.arms:
        cells.setdefault(arm.arm, set()).add(arm.cell)
    if len(set(map(frozenset, cells.values()))) > 1:
        return " + ".join(str(len(one)) for one in cells.values())
    return f"{len(cells)} × {len(next(iter(cells.values()), ()))}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    if seconds < 120:
        return f"{number(seconds, 3)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def spec_json(run: RunData) -> str:
    """The spec as a file that `harness run` takes."""
    return _json(run.manifest.spec)


def summary_json(run: RunData) -> str:
    return _json(run.summary)


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
