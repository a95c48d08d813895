"""What a search and adaptive stopping found, in a line each."""

from __future__ import annotations

import msgspec

from harness.report.decided import decided
from harness.schema import Probe, SearchResult, Stopping
from tests.store import builders

PROBES = (
    Probe(cell="a", load=100, trials=1, requests=100, good=99, decision="meets"),
    Probe(cell="b", load=150, trials=2, requests=200, good=40, decision="fails"),
)
RESULT = SearchResult(
    arm="chimera",
    path="load.rate_per_s",
    share_min=0.9,
    probes=PROBES,
    highest=100,
    next_higher=150,
)


def lines(**fields):
    return list(decided(msgspec.structs.replace(builders.toy_run().summary, **fields)))


def test_a_run_without_rules_has_nothing_to_tell():
    assert lines() == []


def test_a_search_is_a_bracket():
    (line,) = lines(search=(RESULT,))
    assert line.startswith(
        "chimera: rate_per_s 100 is the highest shown to meet the SLO, 99 of 100"
    )
    assert line.endswith("; 150 fails")


def test_what_bounds_it_is_said():
    replace = msgspec.structs.replace
    ours = (PROBES[0], replace(PROBES[1], decision="invalid"))
    assert lines(search=(replace(RESULT, probes=ours),))[0].endswith("150 could not be offered")
    assert lines(search=(replace(RESULT, next_higher=None),))[0].endswith("asked for)")
    (line,) = lines(search=(replace(RESULT, highest=None),))
    assert line == "chimera: no rate_per_s was shown to meet the SLO; 150 fails"


def test_cells_that_stopped_are_taken_together():
    one = Stopping(
        cell="base", metric="ttft_ms", trials=9, decision="reached", relative_widths={}, bound=0.05
    )
    assert lines(stopping=(one,)) == ["stop: ttft_ms is known to ±5 % after 9 trials"]
    cap = msgspec.structs.replace(one, decision="cap", trials=30, cell="x")
    assert lines(stopping=(one, cap)) == [
        "stop: ttft_ms is known to ±5 % in 1 of 2 cells after 9 trials"
    ]
    assert lines(stopping=(cap,)) == ["stop: ttft_ms is not known to ±5 % after 30 trials"]
