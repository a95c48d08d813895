"""Whether both sides did the same work, and how it was watched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from harness.compare.kinds import kinds
from harness.compare.measured import Measured, Party, Unit
from harness.schema import Caveat, Condition

__all__ = [
    "OUTPUT_RATIO_MAX",
    "caveats_of",
    "is_invalid",
    "of_all_work",
    "unequal_output",
    "work",
]

Weight = Literal["forbids", "doubtful", "intended", "note"]

OUTPUT_RATIO_MAX: Final = 1.10
"""Mean output tokens per call: the bound of the rule `unbounded-output` between arms."""
CHARS_RATIO_MAX: Final = 1.05
"""Mean length of prompts of which no digest can be compared …"""
CHARS_MIN: Final = 32
"""… beyond so many characters, which the words before them make of themselves."""
OF_ALL_WORK: Final = (
    *("throughput_tok_s", "held_throughput_tok_s", "requests_per_s", "goodput_per_s", "wall_ms"),
    *("agents_wall_ms", "solo_wall_ms", "agents_throughput_tok_s", "solo_throughput_tok_s"),
)
"""Like E2E latency and spans: what depends on the length of the output."""
NOT_OK_MAX: Final = 0.01
"""Difference of the shares of calls that are not `ok`: they are missing from every figure."""


def work(a: Party, b: Party, *, allow_invalid: bool = False) -> Iterator[Condition]:
    yield from _verdicts(a, b, allow_invalid)
    yield from _one_after_another(a, b)
    yield from _stubs(a.data, b.data)
    yield from _prompts(a, b)
    yield from _outputs(a.data, b.data)
    yield from _watched(a.data, b.data)
    yield from kinds(a.data, b.data)


# ---- can the figures be used


def caveats_of(side: Party) -> list[Caveat]:
    """Those of its run that concern it: of the whole run, or of this arm."""
    place = side.place
    names = (None, place.arm, f"{place.arm} / {place.cell}")
    return [one for one in place.run.summary.verdict.caveats if one.arm in names]


def is_invalid(side: Party) -> bool:
    """By a caveat that concerns it; or by the run's verdict, where no caveat says why."""
    verdict = side.place.run.summary.verdict
    if any(caveat.severity == "invalid" for caveat in caveats_of(side)):
        return True
    explained = any(caveat.severity == "invalid" for caveat in verdict.caveats)
    return verdict.state == "invalid" and not explained


def _verdicts(a: Party, b: Party, allow_invalid: bool) -> Iterator[Condition]:
    if a.place.run.manifest.run_id == b.place.run.manifest.run_id and a.key == b.key:
        yield _differ(
            "records.sides",
            ("the same", "the same"),
            "doubtful",
            "both sides are the same records: they cannot differ",
        )
    invalid = [is_invalid(side) for side in (a, b)]
    if any(invalid):
        codes = sorted({c.code for s in (a, b) for c in caveats_of(s) if c.severity == "invalid"})
        states = ["invalid" if one else "usable" for one in invalid]
        weight: Weight = "doubtful" if allow_invalid else "forbids"
        why = f"figures of an invalid run say nothing ({', '.join(codes) or 'its verdict'})"
        yield _differ("summary.verdict", states, weight, why)


def _one_after_another(a: Party, b: Party) -> Iterator[Condition]:
    order = a.place.run.manifest.spec.order
    same_run = a.place.run.manifest.run_id == b.place.run.manifest.run_id
    if same_run and a.key != b.key and order == "sequential":
        yield _differ(
            "records.order",
            ("before", "after"),
            "doubtful",
            "order: sequential: whatever changed while the run went on is in the difference",
        )


def _stubs(a: Measured, b: Measured) -> Iterator[Condition]:
    if a.trials and b.trials and a.simulated != b.simulated:
        yield _differ(
            "records.simulated",
            (a.simulated, b.simulated),
            "forbids",
            "one of them measured a stub, the other a server",
        )
    if a.trials and b.trials and a.random_weights != b.random_weights:
        yield _differ(
            "records.random_weights",
            (a.random_weights, b.random_weights),
            "doubtful",
            "one of them ran a model of random weights",
        )


# ---- the same questions


def _prompts(a: Party, b: Party) -> Iterator[Condition]:
    """Within a run, prompts differ where its arms were asked for other ones, or where they are made
    from the model's own answers: that is what is compared. Between runs they must be the same."""
    same_run = a.place.run.manifest.run_id == b.place.run.manifest.run_id
    one, other = a.data.prompts, b.data.prompts
    both = [unit for unit in one.by_unit if unit in other.by_unit]
    if both:
        seeds = {side.place.run.manifest.spec.seed for side in (a, b)}
        yield from _digests(one.by_unit, other.by_unit, both, same_run, drawn=len(seeds) > 1)
    if not (one.cold or other.cold) or not (one.chars_mean and other.chars_mean):
        return
    least, most = sorted((one.chars_mean, other.chars_mean))
    if most > max(CHARS_RATIO_MAX * least, least + CHARS_MIN):
        options = [side.place.run.manifest.spec.scenario for side in (a, b)]
        weight: Weight = "doubtful" if options[0] == options[1] else "forbids"
        yield _differ(
            "records.prompt_chars_per_call",
            (round(one.chars_mean, 1), round(other.chars_mean, 1)),
            "intended" if same_run else weight,
            "prompts of another length",
        )


def _digests(
    one: dict[Unit, frozenset[str]],
    other: dict[Unit, frozenset[str]],
    both: list[Unit],
    same_run: bool,
    drawn: bool,
) -> Iterator[Condition]:
    """`drawn`: with another seed, other prompts are what was asked for."""
    shared = sum(len(one[unit] & other[unit]) for unit in both)
    total = sum(len(one[unit] | other[unit]) for unit in both)
    if shared == total:
        return
    figures = (sum(len(one[u]) for u in both), sum(len(other[u]) for u in both))
    common = f"{shared} of {total} different prompts are common to both"
    weight: Weight
    if shared == 0 and drawn:
        weight, why = "doubtful", "no prompt is common to both: the seeds differ"
    elif shared == 0 and not same_run:
        weight, why = "forbids", "no prompt is common to both: the figures are not of the same work"
    elif shared == 0:
        weight, why = "intended", "the arms were asked for other prompts"
    else:
        weight, why = "note", f"{common}: later ones may be made from answers"
    yield _differ("records.prompts", figures, weight, why)


# ---- the same answers, as far as time goes


def of_all_work(metric: str) -> bool:
    """Whether it is longer or higher for more output: not to be compared where lengths differ."""
    return metric in OF_ALL_WORK or metric.startswith(("e2e_", "slo.e2e_", "span."))


def unequal_output(a: Measured, b: Measured) -> str:
    """Why their durations are not of the same work; empty where they are, or nothing is known."""
    if a.tokens_per_call is None or b.tokens_per_call is None:
        return ""
    least, most = sorted((a.tokens_per_call, b.tokens_per_call))
    if most <= OUTPUT_RATIO_MAX * least:
        return ""
    return (
        f"the outputs differ in length: {a.tokens_per_call:.1f} and {b.tokens_per_call:.1f} "
        "tokens a call"
    )


def _outputs(a: Measured, b: Measured) -> Iterator[Condition]:
    if unequal_output(a, b):
        yield _differ(
            "records.output_tokens_per_call",
            (_rounded(a.tokens_per_call), _rounded(b.tokens_per_call)),
            "doubtful",
            "durations and throughput are not of the same work; TTFT and TPOT are",
        )
    if a.calls and b.calls:
        lost = [1 - side.calls_ok / side.calls for side in (a, b)]
        if abs(lost[0] - lost[1]) > NOT_OK_MAX:
            yield _differ(
                "records.not_ok_share",
                (_rounded(lost[0]), _rounded(lost[1])),
                "doubtful",
                "calls that failed are missing from the figures, and were mostly the slow ones",
            )


# ---- and how it was watched


def _watched(a: Measured, b: Measured) -> Iterator[Condition]:
    sources = [_mostly(side.stamps) for side in (a, b)]
    if all(sources) and sources[0] != sources[1]:
        yield _differ(
            "records.stamp_source",
            sources,
            "doubtful",
            "stamps of another kind: our own delay is in one of the two",
        )
    for name, why in (
        ("transport", "another transport of ours"),
        ("isolation", "trials that share a process share what it has warmed up"),
        ("placement", "trials ran elsewhere"),
    ):
        values = [_of_trials(side, name) for side in (a, b)]
        if all(values) and values[0] != values[1]:
            shown = ["/".join(map(str, value)) for value in values]
            yield _differ(f"records.{name}", shown, "doubtful", why)


def _mostly(counts: dict[str, int]) -> str:
    return max(counts, key=lambda source: counts[source]) if counts else ""


def _of_trials(of: Measured, name: str) -> list[str]:
    found = {str(getattr(trial, name) or "") for trial in of.trials if trial.status != "skipped"}
    return sorted(found - {""})


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _differ(name: str, values: Sequence[Any], weight: Weight, why: str) -> Condition:
    baseline, candidate = values
    return Condition(name=name, baseline=baseline, candidate=candidate, weight=weight, why=why)
