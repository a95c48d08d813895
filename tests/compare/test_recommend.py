"""Recommendations: what is best is named only where it was shown, and what is not is said."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from msgspec.structs import replace

from harness.compare import Asked, Ref, compare, pairs
from harness.compare.factors import factors
from harness.compare.judging import judge, p_values
from harness.compare.options import Level, Objective, Option
from harness.compare.recommend import headline, recommend, refusal
from harness.errors import SpecError
from harness.schema import CallRecord
from harness.statistics import paired_t, welch
from harness.store import load_run
from harness.store.imported import import_table
from harness.store.mapping import mapping_from
from tests.compare.runs import run_of as made_run

METRICS = {
    "rate": {"column": "rate", "unit": "tok/s", "better": "higher"},
    "delay": {"column": "delay", "unit": "ms", "better": "lower"},
    "size": {"column": "size", "unit": "B"},
}


def run_of(folder, options, **changes):
    """`options`: (arm, factor) → (rates, delays), one figure a launch."""
    lines = ["arm,ctx,threads,rate,delay,size"]
    for (arm, ctx, threads), (rates, delays) in options.items():
        lines += [
            f"{arm},{ctx},{threads},{rate},{delay},1"
            for rate, delay in zip(rates, delays, strict=True)
        ]
    path = folder / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    mapping = {
        "name": "toy",
        "arm": {"column": "arm"},
        "cell": {"ctx": "ctx", "threads": "threads"},
        "metrics": METRICS,
        **changes,
    }
    return load_run(import_table(path, mapping_from(mapping), out=folder / "run"))


def around(level, n=6, step=0.1):
    return [level + step * ((3 * i) % 5 - 2) for i in range(n)]


FLAT = [5.0] * 6


def test_one_is_shown_to_be_best(tmp_path):
    run = run_of(
        tmp_path,
        {
            ("a", 1, 1): (around(10), FLAT),
            ("a", 2, 1): (around(20), FLAT),
            ("a", 4, 1): (around(12), FLAT),
        },
    )
    found = recommend(run, ["rate"])
    (best,) = found.best
    assert (best.cell, best.values) == ("ctx=2,threads=1", {"ctx": 2, "threads": 1})
    assert [one.status for one in found.options] == ["recommended", "beaten", "beaten"]
    assert found.tests == 2
    assert "better than each of the 2 others" in found.sentence
    assert [effect.words for effect in found.effects] == ["better", "better"]
    assert found.effects[0].share == pytest.approx(20 / 12 - 1, rel=0.02)


def test_what_cannot_be_told_apart_is_said_with_what_it_would_take(tmp_path):
    run = run_of(
        tmp_path,
        {
            ("a", 1, 1): (around(20.1, step=1), FLAT),
            ("a", 2, 1): (around(19.0, step=1), FLAT),
            ("a", 4, 1): (around(9, step=1), FLAT),
        },
    )
    found = recommend(run, ["rate"])
    assert {one.cell for one in found.best} == {"ctx=1,threads=1", "ctx=2,threads=1"}
    assert found.sentence.startswith("Any of these 2")
    assert found.best[1].more_trials > 0
    assert found.best[0].more_trials is None


def test_too_few_trials_tell_nothing(tmp_path):
    run = run_of(tmp_path, {("a", n, 1): ([n * 10.0] * 2, [5.0] * 2) for n in (1, 2)})
    found = recommend(run, ["rate"])
    assert found.tests == 0
    assert "Nothing can be told apart: 2 trials each, and it takes 5" in found.sentence


def test_several_objectives_leave_a_trade(tmp_path):
    run = run_of(
        tmp_path,
        {
            ("a", 1, 1): (around(10), around(1)),
            ("a", 2, 1): (around(20), around(5)),
            ("a", 4, 1): (around(9), around(6)),
        },
    )
    found = recommend(run, ["rate", "delay"])
    assert {one.cell[4] for one in found.best} == {"1", "2"}
    assert found.sentence.startswith("A trade between rate, delay")
    assert found.tests == 4


def test_an_slo_keeps_the_fastest_out(tmp_path):
    run = run_of(
        tmp_path,
        {
            ("a", 1, 1): (around(10), around(100)),
            ("a", 2, 1): (around(20), around(600)),
            ("a", 4, 1): (around(9), around(500, step=20)),
        },
    )
    found = recommend(run, ["rate"], slo={"delay": 501})
    assert [one.status for one in found.options] == ["recommended", "out", "out"]
    why = {one.cell[4]: one.because for one in found.options}
    assert "not at most 501" in why["2"]
    assert "may lie beyond 501" in why["4"]
    assert "the only candidate" in found.sentence
    both = recommend(run, ["rate", "delay"], slo={"delay": 501}).sentence
    assert re.match(r"a / ctx=1,threads=1: rate [\d.]+ tok/s, .*; delay [\d.]+ ms, .*; the", both)
    none = recommend(run, ["rate"], slo={"delay": 50})
    assert none.best == ()
    assert none.sentence.startswith("Nothing can be recommended: its delay")


def test_a_factor_without_effect_is_named(tmp_path):
    rng = np.random.default_rng(1)
    options = {
        ("a", ctx, threads): (list(rng.normal(10 * threads, 0.2, 5)), [5.0] * 5)
        for ctx in (1, 2, 4)
        for threads in (1, 2)
    }
    found = {one.name: one for one in recommend(run_of(tmp_path, options), ["rate"]).factors}
    assert found["threads"].p_holm < 0.01
    assert found["threads"].n == 30
    assert found["ctx"].p_holm > 0.05
    assert found["ctx"].spread_share < 0.05
    assert set(found["ctx"].levels) == {"1", "2", "4"}


def test_a_factor_is_judged_within_the_others():
    """Levels that only ever came with a faster arm are not better for it."""
    cells = {("a", "x"): {"f": 1}, ("b", "y"): {"f": 2}}
    assert factors(cells, {("a", "x"): [1.0] * 5, ("b", "y"): [2.0] * 5}) == ()


@pytest.mark.parametrize("seed", range(3))
def test_the_best_is_seldom_called_beaten(tmp_path, seed):
    """60 runs of 6 equal options: a given one may be beaten in 5 %, which 10 of 60 exceed with a
    probability of 0.1 %."""
    from types import SimpleNamespace

    rng = np.random.default_rng(seed)
    objective = Objective(metric="x", unit="1", better="higher")
    beaten = 0
    for _ in range(60):
        figures = rng.normal(100, 5, (6, 5))
        found = {
            ("a", str(at)): SimpleNamespace(
                by_block=lambda name, row=row: dict(enumerate([[v] for v in row])), series={}
            )
            for at, row in enumerate(figures)
        }
        options = [
            Option(arm="a", cell=str(at), values={}, status="recommended",
                   levels={"x": Level(mean=float(row.mean()), low=None, high=None, n=5)})
            for at, row in enumerate(figures)
        ]  # fmt: skip
        judged, tests = judge(options, [objective], found, paired=False)
        assert tests == 5
        beaten += next(one for one in judged if one.cell == "0").status == "beaten"
    assert beaten < 10


# ---- outputs of other length


def answering(tokens, ttft_ms):
    """arm → tokens of each answer, and its TTFT; E2E latency follows from both."""

    def change(record):
        if not isinstance(record, CallRecord):
            return record
        return replace(record, usage=replace(record.usage, output_tokens=tokens[record.arm]))

    levels = {arm: around(level) for arm, level in ttft_ms.items()}
    return made_run(levels, change=change)


@pytest.mark.parametrize("metric", ["e2e_ms", "throughput_tok_s", "wall_ms", "requests_per_s"])
def test_less_output_is_no_better_output(metric):
    run = answering({"short": 5, "long": 50}, {"short": 20, "long": 90})
    found = recommend(run, [metric])
    assert {one.status for one in found.options} == {"recommended"}
    assert found.sentence == (
        f"No ranking of {found.best[0].label}, {found.best[1].label}: {metric} depends on the "
        "length of the output, and that differs (short: 5.0, long: 50.0 tokens a call): options "
        "whose outputs differ by more than 10 % are not ranked against one another. Try --metric "
        "ttft_ms, or one max_tokens for all"
    )
    (against,) = found.effects
    assert against.words in ("changed", "no difference shown")
    assert [one.more_trials for one in found.options] == [None, None]


def test_what_does_not_depend_on_the_length_is_ranked():
    run = answering({"short": 5, "long": 50}, {"short": 20, "long": 90})
    found = recommend(run, ["ttft_ms"])
    assert ([one.label for one in found.best], found.unranked) == (["short"], "")
    both = recommend(run, ["ttft_ms", "e2e_ms"])
    assert len(both.best) == 2
    assert both.sentence.startswith("No ranking of ")


def test_equal_outputs_among_others_are_ranked():
    run = answering({"a": 5, "b": 5, "long": 50}, {"a": 20, "b": 40, "long": 90})
    found = recommend(run, ["e2e_ms"])
    status = {one.arm: one.status for one in found.options}
    assert status == {"a": "recommended", "b": "beaten", "long": "recommended"}
    assert found.sentence.startswith("No ranking of a, long: e2e_ms depends on the length")


def test_times_without_spread_are_not_told_apart(tmp_path):
    run = run_of(tmp_path, {("a", 1, 1): (around(10), FLAT), ("a", 2, 1): (around(10), [6.0] * 6)})
    found = recommend(run, ["delay"])
    assert [one.status for one in found.options] == ["recommended", "recommended"]


# ---- what is refused


def test_nothing_is_recommended_of_what_is_no_measurement(tmp_path):
    from msgspec.structs import replace

    from harness.schema import Caveat, Verdict

    run = run_of(tmp_path, {("a", n, 1): (around(10), FLAT) for n in (1, 2)})
    assert refusal(run.summary) == ""
    stub = Caveat(code="simulated", severity="doubtful", message="x")
    assert "simulation" in refusal(
        replace(run.summary, verdict=Verdict(state="doubtful", caveats=(stub,)))
    )
    bad = Caveat(code="errors", severity="invalid", message="x")
    assert "errors" in refusal(
        replace(run.summary, verdict=Verdict(state="invalid", caveats=(bad,)))
    )
    assert "interrupted" in refusal(replace(run.summary, state="interrupted"))


def test_mistakes(tmp_path):
    run = run_of(tmp_path, {("a", n, 1): (around(10), FLAT) for n in (1, 2)})
    with pytest.raises(SpecError, match="try: rate"):
        recommend(run, ["rat"])
    with pytest.raises(SpecError, match="neither direction"):
        recommend(run, ["size"])
    with pytest.raises(SpecError, match="one or several of rate, delay"):
        headline(run.summary)
    (tmp_path / "one").mkdir()
    alone = run_of(tmp_path / "one", {("a", 1, 1): (around(10), FLAT)})
    with pytest.raises(SpecError, match="nothing to choose from"):
        recommend(alone, ["rate"])


# ---- the command


def harness(*words, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_the_command(tmp_path):
    run_of(
        tmp_path,
        {("a", 1, 1): (around(10), FLAT), ("a", 2, 1): (around(20), FLAT)},
    )
    done = harness("recommend", "run", "--metric", "rate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "a / ctx=2,threads=1: rate 19.97 tok/s" in text
    assert "factor ctx: an effect" in text
    done = harness("recommend", "run", "--metric", "rate", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["best"][0]["cell"] == "ctx=2,threads=1"
    done = harness("recommend", "run", "--metric", "rate", "--slo", "delay", cwd=tmp_path)
    assert done.returncode == 2
    assert "ttft_ms=500" in done.stderr


def test_the_spec_of_the_best(tmp_path):
    """Arm and cell merged into the run's own spec, which can be run as it is."""
    from harness.cli.recommend import _options
    from harness.engine.specfile import spec_from

    spec = spec_from(
        {
            "backend": {"name": "ollama", "model": "m", "options": {"num_ctx": 1, "num_gpu": 2}},
            "scenario": {"name": "load"},
            "arms": {"x": {}, "y": {"backend": {"options": {"num_ctx": 8}}}},
            "sweep": {"axes": {"load.concurrency": [1, 2], "backend.options.seed": [1]}},
            "load": {"concurrency": 1},
            "trials": 7,
        }
    )
    best = Option(
        arm="y",
        cell="c",
        values={"load.concurrency": 2, "backend": {"options": {"seed": 1}}},
        levels={},
        status="recommended",
    )
    made = spec_from(_options(spec, best))
    assert made.backend.options == {"num_ctx": 8, "num_gpu": 2, "seed": 1}
    assert made.load.concurrency == 2
    assert (made.arms, made.sweep, made.trials) == ({}, None, 7)


def test_tables_have_no_blocks(tmp_path):
    """Nobody knows which row of one arm ran beside which of another."""
    run = run_of(
        tmp_path, {("a", 1, 1): (around(10, 8), [5.0] * 8), ("b", 1, 1): (around(11), FLAT)}
    )
    (found,) = compare(pairs(Ref(run=run, name="run")).pairs, Asked(metrics=("rate",)))
    (one,) = found.effects
    assert (one.paired, one.n) == (False, (8, 6))
    with pytest.raises(SpecError, match="blocks"):
        compare(pairs(Ref(run=run, name="run")).pairs, Asked(paired=True))


@pytest.mark.parametrize("paired", [False, True])
def test_all_pairs_are_tested_as_each_would_be(paired):
    rng = np.random.default_rng(5)
    sizes = [6] * 8 if paired else [6, 5, 9, 4, 6, 5, 1, 6]
    figures = [list(rng.normal(50, 2, n)) for n in sizes]
    figures[5] = [50.0] * len(figures[5])
    found = dict(p_values(figures, paired))
    test = paired_t if paired else welch
    expected = {
        (i, j): test(figures[i], figures[j]).p_value
        for i in range(len(sizes))
        for j in range(i + 1, len(sizes))
        if min(sizes[i], sizes[j]) >= 5
    }
    assert found == pytest.approx(expected)
