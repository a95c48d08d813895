"""schedule-slip and client-lag: silent on clean records, fired by each fault alone."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from harness.engine.summary import derive_summary
from harness.schema import CallRecord, Caveat, ClosedLoad, OpenLoad, ValiditySpec
from tests.store import builders
from tests.store.builders import MS, UPPER_BOUND, manifest

OPEN = OpenLoad(rate_per_s=50.0, requests=40)


def offered(count: int = 40, e2e_ms: float = 91.0) -> list[CallRecord]:
    """One call every 20 ms, sent 0.1 ms after it was due."""
    calls = [
        builders.call(ordinal=i, sent_ms=1000 + 20 * i, tpot_ms=(e2e_ms - 51) / 4)
        for i in range(count)
    ]
    return [late(call, 0.1) for call in calls]


def late(call: CallRecord, lag_ms: float) -> CallRecord:
    due_ns = call.instants.sent_ns - int(lag_ms * MS)
    return replace(call, instants=replace(call.instants, due_ns=due_ns))


def caveats(calls, code: str, state="finished", **changes) -> list[Caveat]:
    spec = builders.spec(**({"load": OPEN, "arms": {}} | changes))
    planned = manifest(
        ("baseline",), state=state, plan=(("baseline", "base", 0),), spec=replace(spec)
    )
    records = [*calls, builders.iteration(calls), builders.trial()]
    return [c for c in derive_summary(planned, records).verdict.caveats if c.code == code]


# schedule-slip -----------------------------------------------------------------------------------


def test_a_schedule_that_was_kept_is_no_slip():
    assert caveats(offered(), "schedule-slip") == []
    assert caveats([late(call, 0.9) for call in offered()], "schedule-slip") == []


def test_late_requests_are_a_slip_of_an_open_loop_only():
    calls = [late(call, 15) for call in offered()]
    (caveat,) = caveats(calls, "schedule-slip")
    assert (caveat.severity, caveat.arm) == ("doubtful", "baseline")
    assert "40 of 40 requests went out more than 9.1 ms late (up to 15 ms)" in caveat.message
    assert (caveat.evidence["late"], caveat.evidence["sent"]) == (40, 40)
    assert caveat.evidence["send_lag_p50_ms"] == pytest.approx(15)
    assert caveats(calls, "schedule-slip", load=ClosedLoad(requests=40)) == []
    assert caveats(calls, "schedule-slip", load=None) == []


@pytest.mark.parametrize(
    ("sent", "late_ones", "slips"),
    [(8, 1, 0), (8, 2, 1), (2, 1, 0), (100, 1, 0), (100, 2, 1), (300, 3, 0), (300, 4, 1)],
)
def test_it_takes_two_late_requests_and_more_than_one_percent(sent, late_ones, slips):
    """Late by 50 ms: the last of 8, alone, would also have made their rate 74 % of that offered."""
    calls = offered(sent)
    for index in range(sent - late_ones, sent):
        due = builders.call(ordinal=index, sent_ms=1050 + 20 * index, tpot_ms=10)
        calls[index] = late(due, 50)
    found = caveats(calls, "schedule-slip")
    assert len(found) == slips
    if found:
        assert (found[0].evidence["late"], found[0].evidence["sent"]) == (late_ones, sent)


def test_the_bound_of_the_lag_is_the_spec_s():
    calls = [late(call, 8) for call in offered()]
    assert caveats(calls, "schedule-slip") == []  # a tenth of 91 ms is 9.1
    strict = ValiditySpec(send_lag_share_max=0.05)
    assert len(caveats(calls, "schedule-slip", validity=strict)) == 1
    short = [late(call, 1.5) for call in offered(e2e_ms=55)]
    assert caveats(short, "schedule-slip") == []
    assert len(caveats(short, "schedule-slip", validity=ValiditySpec(send_lag_share_max=0))) == 1


def test_a_rate_that_was_not_reached_is_a_slip():
    """Each request a little later than the one before: 4 s of lag bound hide it from the p99."""
    slow = [late(call, 0.1 * i) for i, call in enumerate(offered(e2e_ms=200))]
    assert caveats(slow, "schedule-slip") == []  # sent at 99.5 % of the rate
    slower = [late(call, 1.5 * i) for i, call in enumerate(offered(e2e_ms=1000))]
    (caveat,) = caveats(slower, "schedule-slip")
    assert caveat.message.startswith("requests went out at 92.5% of the offered rate")
    assert caveats(slower, "schedule-slip", validity=ValiditySpec(rate_share_min=0.9)) == []


def test_calls_that_were_never_sent_lower_the_rate_but_not_after_an_interrupt():
    calls = offered()
    for index in range(10, 40):
        due = replace(calls[index].instants, sent_ns=None, first_token_ns=None, end_ns=None)
        status = "cancelled" if index > 30 else "not_sent"
        calls[index] = replace(calls[index], status=status, instants=due)
    calls[39] = offered()[39]
    assert caveats(calls, "schedule-slip")[0].evidence["achieved_share"] < 0.3
    cut = [c for c in calls if c.status != "not_sent"]
    assert caveats([c for c in cut if c is not calls[39]], "schedule-slip", "interrupted") == []


# client-lag --------------------------------------------------------------------------------------


def merged(call: CallRecord, share: float, lag_ns: int) -> CallRecord:
    """With that share of its chunks flagged, and this lag at its reads."""
    flagged = round(share * call.chunks.count)
    sizes = [10 | UPPER_BOUND] * flagged + [10] * (call.chunks.count - flagged)
    size = b"".join(value.to_bytes(4, "little") for value in sizes)
    lags = [lag_ns] * flagged + [20_000] * (call.chunks.count - flagged)
    lag = b"".join(value.to_bytes(4, "little") for value in lags)
    return replace(call, chunks=replace(call.chunks, size=size, lag_ns=lag))


def test_lag_beside_kernel_stamps_is_no_doubt():
    """The reader pauses on purpose: up to 500 µs, which no kernel stamp shows."""
    calls = [replace(c, client_lag_p50_ns=400_000, client_lag_p99_ns=3 * MS) for c in offered()]
    assert caveats(calls, "client-lag") == []


def test_lag_beyond_the_bound_is_a_doubt_where_stamps_are_ours():
    late_ones = [replace(c, stamp_source="user", client_lag_p99_ns=150_000) for c in offered()]
    (caveat,) = caveats(late_ones, "client-lag")
    assert caveat.severity == "doubtful"
    assert "up to 150 µs late (p99; bound 100 µs)" in caveat.message  # 1 % of 10 ms
    prompt = [replace(c, client_lag_p99_ns=50_000) for c in late_ones]
    assert caveats(prompt, "client-lag") == []
    slow_server = [
        replace(builders.call(ordinal=i, tpot_ms=1000.0), stamp_source="user") for i in range(5)
    ]
    beyond = [replace(c, client_lag_p99_ns=2 * MS) for c in slow_server]
    assert "bound 1000 µs" in caveats(beyond, "client-lag")[0].message
    unknown = [replace(c, client_lag_p99_ns=None) for c in late_ones]
    assert caveats(unknown, "client-lag") == []  # `user-stamps` says that it is not known


def test_chunks_that_we_read_too_late_to_tell_apart_are_a_doubt():
    calls = [merged(call, 0.4, 5 * MS) for call in offered()]
    (caveat,) = caveats(calls, "client-lag")
    assert caveat.message.startswith("40% of the content chunks were read late and together")
    assert caveat.evidence == {
        "merged": 80, "chunks": 200, "first_merged": 40, "calls": 40, "share_max": 0.2,
        "read_lag_p50_ns": 5 * MS, "read_lag_max_ns": 5 * MS,
    }  # fmt: skip
    assert caveat.remedy.startswith("fewer streams at once, fewer requests at the same instant")
    generous = ValiditySpec(merged_share_max=1.0)
    assert caveats(calls, "client-lag", validity=generous) == []


def test_first_tokens_that_we_read_too_late_are_a_doubt_however_prompt_the_rest_is():
    """One late read per call, the first: few chunks, and every TTFT."""
    calls = [merged(call, 0.2, 5 * MS) for call in offered()]
    (caveat,) = caveats(calls, "client-lag")
    assert caveat.message.startswith("the first tokens of 100% of the calls were read late")
    assert caveat.remedy == (
        "fewer requests at the same instant (a lower --concurrency or --rate), "
        "or less other work on this machine"
    )
    assert caveat.evidence["read_lag_p50_ns"] == 5 * MS
    few = [merged(call, 0.2 if i % 5 == 0 else 0.0, 5 * MS) for i, call in enumerate(offered())]
    assert caveats(few, "client-lag") == []


def test_chunks_that_the_server_wrote_together_are_none():
    """Then our lag is what it always is, far below the gap between chunks."""
    assert caveats([merged(call, 0.8, 30_000) for call in offered()], "client-lag") == []
    at_once = [merged(builders.call(ordinal=i, tpot_ms=0), 0.8, 30_000) for i in range(20)]
    assert caveats(at_once, "client-lag") == []


def test_columns_that_were_not_kept_say_nothing():
    bare = [
        replace(c, chunks=replace(c.chunks, arrival_ns=b"", lag_ns=b"", size=b"", kind=b""))
        for c in (merged(call, 0.8, 5 * MS) for call in offered())
    ]
    assert caveats(bare, "client-lag") == []


# stamps of the model's own process ---------------------------------------------------------------


def test_calls_stamped_in_process_have_neither_our_lag_nor_user_stamps():
    calls = [replace(call, stamp_source="in_process") for call in offered()]
    late_ones = [replace(c, client_lag_p99_ns=50 * MS, client_lag_max_ns=50 * MS) for c in calls]
    for code in ("client-lag", "user-stamps"):
        assert caveats(late_ones, code) == []


def test_stamps_that_were_not_believed_are_said():
    calls = offered()
    calls[3] = replace(calls[3], stamps_refused=2)
    (caveat,) = caveats(calls, "user-stamps")
    assert caveat.severity == "note"
    assert "2 stamps" in caveat.message
    assert caveat.evidence == {"refused": 2, "calls": 1}
