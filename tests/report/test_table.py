"""The terminal table: exact text, 80 columns, hostile names made harmless."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from harness.report.table import render_summary
from harness.schema import OpenLoad
from tests.store import builders
from tests.store.builders import MS, FakeRun, manifest


def rendered(summary, width: int = 80, **options) -> str:
    out = io.StringIO()
    render_summary(summary, Console(file=out, width=width, **options))
    return out.getvalue()


def run_of(name: str, calls: list) -> FakeRun:
    number = calls[0].trial
    records = [*calls, builders.iteration(calls), builders.trial(name, number)]
    planned = manifest(arms=(name,), state="finished", plan=((name, "base", number),))
    return FakeRun(planned, records)


def test_two_arms_side_by_side():
    lines = [line.rstrip() for line in rendered(builders.toy_run().summary).splitlines()]
    assert lines == [
        "toy run · single_agent on scripted · toy:1b · finished in 4 s",
        "",
        "               TTFT ms       TPOT ms       E2E ms",
        " arm       ok   median  p95   median  p95  median  p95  tok/s  n",
        " ───────────────────────────────────────────────────────────────",
        " baseline   4     51.5    —       10    —    92.5    —   34.1  4",
        " chimera    4     62.5    —       10    —     104    —   32.9  4",
        "",
        "— a p95 needs n = 20",
        "n: ok calls with a first token; tok/s: tokens / wall time, over iterations",
        "no 95 % interval of a mean below 5 trials",
        "verdict: valid",
        "  note too-few: a p95 needs 20 values; there are 4 (baseline), 4 (chimera) →",
        "  --runs 10",
    ]


def test_failed_calls_are_counted_beside_the_arm():
    calls = [builders.call(ordinal=i, sent_ms=200 * i + 10, ttft_ms=10 + i) for i in range(38)]
    calls += [builders.failed("timeout", "timeout.total", ordinal=38)]
    calls += [builders.failed("truncated", "truncated", ordinal=39)]
    text = rendered(run_of("baseline", calls).summary)
    assert "38/40" in text
    assert "baseline: 1 timeout, 1 truncated" in text
    assert "p95 needs" not in text
    assert "45.1" in text  # p95 of 10 … 47: h = 37 × 0.95 = 35.15
    assert "verdict: doubtful" in text
    line = " ".join(text.split())
    assert (
        "2 of 40 calls (5.0%) are not ok, 1 of them truncated streams: timeout.total (1 of" in line
    )
    assert "them), boom → harness export c0ffee12 --format jsonl gives the error of each" in line


def test_a_metric_that_fewer_calls_have_says_so():
    calls = [builders.call(ordinal=i, sent_ms=200 * i + 10, tokens=1 + (i > 6)) for i in range(20)]
    text = " ".join(rendered(run_of("baseline", calls).summary).split())
    assert "— a p95 needs n = 20; baseline has TPOT of 13 calls" in text


def test_a_metric_that_no_call_has_says_so():
    calls = [builders.call(ordinal=i, sent_ms=200 * i + 10, tokens=1) for i in range(20)]
    text = " ".join(rendered(run_of("baseline", calls).summary).split())
    assert "— TPOT needs time between tokens, and their count: baseline" in text
    more = [builders.call(ordinal=i, sent_ms=200 * i + 10) for i in range(20)]
    assert "TPOT needs" not in rendered(run_of("baseline", more).summary)


def test_an_arm_of_which_no_first_token_is_known_says_so():
    def silent(call):
        instants = msgspec.structs.replace(call.instants, first_token_ns=None)
        return msgspec.structs.replace(call, instants=instants)

    calls = [builders.call(ordinal=i, sent_ms=200 * i + 10) for i in range(20)]
    text = " ".join(rendered(run_of("baseline", [*map(silent, calls)]).summary).split())
    assert "— TTFT: no first token is known of baseline; `no_first_token` in a jsonl export" in text
    assert "— TTFT" not in rendered(run_of("baseline", calls).summary)


def test_a_single_launch_is_said_once():
    calls = [builders.call(ordinal=i, sent_ms=200 * i + 10) for i in range(20)]
    text = rendered(run_of("baseline", calls).summary)
    assert "note single-launch" in text and "of this launch" not in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_it_fits_whatever_the_figures(width):
    name = "an arm with a very long name, longer than any column"
    calls = [
        builders.call(arm=name, ordinal=i, sent_ms=1e6 * i, ttft_ms=123456.7 + i, tpot_ms=98765.4)
        for i in range(120)
    ]
    text = rendered(run_of(name, calls).summary, width=width)
    assert max(map(len, text.splitlines())) <= min(width, 80)
    if width >= 80:
        assert "123516" in text


def fewer_columns(width: int, **changes) -> list[str]:
    name = "a-rather-long-arm"
    calls = [
        builders.call(arm=name, ordinal=i, sent_ms=1e4 * i, ttft_ms=1234.5 + i, tpot_ms=123.4)
        for i in range(40)
    ]
    summary = msgspec.structs.replace(run_of(name, calls).summary, **changes)
    lines = [line.rstrip() for line in rendered(summary, width=width).splitlines()]
    assert max(map(len, lines)) <= width
    return lines


def test_at_80_columns_nothing_is_left_out():
    lines = fewer_columns(80)
    assert lines[3] == " arm             ok   median   p95   median  p95  median   p95  tok/s   n"
    assert lines[5].startswith(" a-rather-long-  40 ")
    assert lines[6] == " arm"
    assert not any("left out" in line for line in lines)


@pytest.mark.parametrize("mode", ["closed", "open"])
def test_at_60_columns_the_arm_keeps_its_name_and_the_tails_go(mode):
    lines = fewer_columns(60, load_mode=mode)
    head = next(index for index, line in enumerate(lines) if line.startswith(" arm "))
    assert "p95" not in lines[head]
    assert lines[head].split() == ["arm", "ok", *["median"] * 3, "tok/s", "n"]
    assert "".join(line.split()[0] for line in lines[head + 2 : head + 4]) == "a-rather-long-arm"
    assert "p95 left out for want of room: 80 columns have it" in lines


def test_an_open_loop_is_read_from_the_due_instant():
    """Each call went out a second late: from the instant of sending, nothing of it would show."""
    calls = [
        builders.call(ordinal=i, sent_ms=2000 + 10 * i, ttft_ms=50 + i, tokens=3) for i in range(20)
    ]
    calls = [
        msgspec.structs.replace(
            c, instants=msgspec.structs.replace(c.instants, due_ns=c.instants.sent_ns - 1000 * MS)
        )
        for c in calls
    ]
    run = run_of("baseline", calls)
    load = OpenLoad(rate_per_s=100.0)
    spec = msgspec.structs.replace(run.manifest.spec, load=load)
    run = FakeRun(msgspec.structs.replace(run.manifest, spec=spec), run.records())
    assert run.summary.load_mode == "open"
    lines = [line.rstrip() for line in rendered(run.summary).splitlines()]
    assert lines[2].split() == ["TTFT", "ms", "E2E", "ms"]
    assert lines[3].split() == ["from", "due", "TPOT", "ms", "from", "due"]
    assert lines[6].split()[2:4] == ["1060", "1068"]
    assert "baseline: sent up to 1000 ms late; TTFT from sending: 59.5" in lines
    assert any("schedule-slip" in line for line in lines)


def test_hostile_names_neither_escape_nor_style():
    name = "a\x1b]0;owned\x07\x9b31m[red]b\u202e"
    text = rendered(run_of(name, [builders.call(arm=name)]).summary, force_terminal=True)
    for forbidden in ("owned", "\x07", "\x9b", "\u202e", "\x1b]"):
        assert forbidden not in text
    assert "a[red]b" in text


def test_a_run_without_any_figure():
    run = FakeRun(manifest(state="failed"), [])
    text = rendered(run.summary)
    assert "· failed\n" in "\n".join(line.rstrip() for line in text.splitlines())
    assert "verdict: invalid" in text
    assert "the run failed before anything was measured" in " ".join(text.split())


def test_a_simulation_is_marked():
    calls = [builders.call()]
    effective = msgspec.structs.replace(builders.trial().effective, simulated=True)
    records = [*calls, builders.iteration(calls), builders.trial(effective=effective)]
    run = FakeRun(manifest(arms=("baseline",)), records)
    assert "SIMULATED: a stub was measured, no model server" in rendered(run.summary)


def function_run(names: tuple[str, ...], cells: dict) -> FakeRun:
    """Trials of a function that makes no calls, two iterations each."""
    plan = [(name, cell, n) for n, (name, cell) in enumerate((n, c) for n in names for c in cells)]
    records = []
    for name, cell, n in plan:
        for ordinal in range(2):
            one = builders.iteration([builders.call(arm=name, trial=n, cell=cell)])
            changes = {"planned_calls": 0, "iteration": ordinal}
            records.append(msgspec.structs.replace(one, **changes))
        records.append(builders.trial(name, n, cell=cell))
    run = FakeRun(manifest(names, state="finished", plan=tuple(plan), cells=cells), records)
    run.summary = msgspec.structs.replace(run.summary, cells=cells)
    return run


def test_the_figures_of_a_swept_function_have_the_axes_as_columns():
    cells = {
        f"memory_batch_entries={n},mode=memory_then_disk": {
            "scenario.options.memory_batch_entries": n,
            "scenario.options.mode": "memory_then_disk",
        }
        for n in (1, 100)
    }
    lines = rendered(function_run(("default",), cells).summary).splitlines()
    assert [line.split() for line in lines[2:8] if "──" not in line] == [
        ["memory_"],
        ["batch_"],
        ["per", "iteration", "entries", "mode", "median", "n", "min", "max", "unit"],
        ["wall_ms", "1", "memory_then_disk", "92", "2", "92", "92", "ms"],
        ["100", "memory_then_disk", "92", "2", "92", "92", "ms"],
    ]
    lines = rendered(function_run(("a", "b"), cells).summary, width=60).splitlines()
    assert max(map(len, lines)) <= 60
    assert "wall_ms         a    1        memory_the      92  2  ms" in " ".join(lines[5:8])
