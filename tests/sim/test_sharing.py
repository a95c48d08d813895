"""Streams that share a bandwidth: against a plain model of processor sharing, at the desk, and
through the native sender."""

from __future__ import annotations

from fractions import Fraction

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.testing.sim import sim_spec
from harness.testing.sim.log import read_log
from harness.testing.sim.sharing import Sharing
from harness.testing.sim.timeline import Timeline
from tests.sim.reception import Reception, content_due
from tests.sim.servers import chat, inline_sim

MS = 1_000_000
BOOTED_NS = 10**15
"""Twelve days ago: as large as instants are."""


def alone(joins_ns, gap_ns, tokens):
    """A stream's timeline as if there were no other."""
    return Timeline(
        serial=1,
        ident="b-1",
        arrived_ns=0,
        start_ns=0,
        load_ns=0,
        prompt_ns=0,
        due_ns=[joins_ns + gap_ns * index for index in range(len(tokens))],
        tokens=tokens,
        prompt_tokens=1,
        cached_tokens=0,
        reasoning_chunks=0,
        stopped=False,
        realtime_offset_ns=0,
    )


def oracle(streams, gap_ns, shared_tok_s):
    """Processor sharing, second by second as the law says it: each of the k streams that are
    decoding generates min(1 / gap, shared / k) tokens a second. `streams`: (joins_ns, gone_ns or
    None, tokens of each chunk). When each chunk is complete, exactly; None: never."""
    shared = Fraction(shared_tok_s) / 10**9
    due = [[None] * len(tokens) for _, _, tokens in streams]
    nexts = [0] * len(streams)
    left = [Fraction(0)] * len(streams)  # tokens of the chunk at hand
    now = Fraction(0)

    def decoding(at):
        return [
            i
            for i, (joins, gone, tokens) in enumerate(streams)
            if joins <= at and (gone is None or at < gone) and nexts[i] < len(tokens)
        ]

    def share(i, count):
        size = streams[i][2][nexts[i]]
        own = Fraction(size, gap_ns) if gap_ns else None
        return shared / count if own is None else min(own, shared / count)

    instants = {j for j, _, _ in streams} | {g for _, g, _ in streams if g is not None}
    while True:
        for i in decoding(now):
            while nexts[i] < len(due[i]) and left[i] == 0:
                due[i][nexts[i]] = now
                nexts[i] += 1
                if nexts[i] < len(due[i]):
                    left[i] = Fraction(streams[i][2][nexts[i]])
        active = decoding(now)
        rates = {i: share(i, len(active)) for i in active}
        ends = [now + left[i] / rates[i] for i in active]
        later = [Fraction(at) for at in instants if at > now]
        if not ends and not later:
            return due
        following = min(ends + later)
        for i in active:
            left[i] -= rates[i] * (following - now)
        now = following


streams_of_equal_chunks = st.lists(
    st.tuples(
        st.integers(0, 60 * MS),  # when it comes
        st.integers(0, 20 * MS),  # TTFT
        st.one_of(st.none(), st.integers(1, 80 * MS)),  # after which its client goes
        st.integers(1, 12),  # chunks
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=200, deadline=None)
@given(
    streams=streams_of_equal_chunks,
    gap_ns=st.sampled_from([0, 1 * MS, 3 * MS]),
    shared=st.sampled_from([300, 500, 1_000, 2_500]),
    size=st.integers(1, 3),
)
def test_instants_are_those_of_processor_sharing(streams, gap_ns, shared, size):
    spec = sim_spec({"gap": gap_ns / MS, "shared_tok_s": shared, "tokens_per_chunk": size})
    sharing = Sharing(spec)
    events = []
    for i, (comes, ttft, goes, _) in enumerate(streams):
        events.append((comes, "comes", i, comes + ttft))
        if goes is not None:
            events.append((comes + goes, "goes", i, None))
    planned, gone = {}, set()
    for at_ns, what, i, joins_ns in sorted(events):
        if what == "comes":
            tokens = [size] * streams[i][3]
            sharing.join(i, BOOTED_NS + at_ns, alone(BOOTED_NS + joins_ns, gap_ns, tokens))
        else:
            sharing.leave(i, BOOTED_NS + at_ns)
            gone.add(i)
        for serial, instants in sharing.plan().items():
            assert serial not in gone
            due_ns = [instant - BOOTED_NS for instant in instants]
            assert due_ns == sorted(due_ns), "chunk order"
            for before, after in zip(planned.get(serial, ()), due_ns, strict=False):
                assert abs(before - after) <= 1 or before >= at_ns - 3, "what is sent stays"
            planned[serial] = due_ns
    expected = oracle(
        [(c + t, None if g is None else c + g, [size] * n) for c, t, g, n in streams],
        gap_ns,
        shared,
    )
    for i, due in enumerate(expected):
        for found, exact in zip(planned[i], due, strict=True):
            if exact is not None:
                assert abs(found - exact) <= 3


def test_two_streams_by_hand():
    """100 tokens a second alone, 150 together: 75 each while there are two."""
    sharing = Sharing(sim_spec({"gap": 10, "shared_tok_s": 150}))
    sharing.join(1, 0, alone(0, 10 * MS, [1] * 4))
    sharing.plan()
    sharing.join(2, 0, alone(15 * MS, 10 * MS, [1] * 2))
    found = sharing.plan()
    # At 15 ms half a chunk is left, at 4/3 of its time; the other leaves with its second at 28 1/3.
    assert found[1] == [0, 10 * MS, 21_666_667, 33_333_333]
    assert found[2] == [15 * MS, 28_333_333]


# ------------------------------------------------------------------------------------- at the desk


def test_a_stream_is_planned_anew_when_another_comes():
    desk = Reception(ttft=50, gap=10, shared_tok_s=100)
    first = desk.ask(at_ns=0, options={"num_predict": 4})
    assert content_due(desk.wire(first)) == [t * MS for t in (50, 60, 70, 80)]
    second = desk.ask(at_ns=15 * MS, options={"num_predict": 3})
    assert content_due(desk.wire(first)) == [t * MS for t in (50, 60, 75, 95)]
    assert content_due(desk.wire(second)) == [t * MS for t in (65, 85, 100)]
    assert (first.revised, second.revised) == (1, 0)
    last = desk.lines(first)[-1]
    assert last["eval_duration"] == 45 * MS, "the server's own figures are of what it does"
    assert last["total_duration"] == 95 * MS


def test_a_client_that_goes_leaves_its_share_to_the_others():
    desk = Reception(ttft=0, gap=10, shared_tok_s=100)
    first, second = (desk.ask(at_ns=0, options={"num_predict": 3}) for _ in range(2))
    assert content_due(desk.wire(first)) == content_due(desk.wire(second)) == [0, 20 * MS, 40 * MS]
    desk.desk.gone(second, 20 * MS)
    desk.desk.settle()
    assert content_due(desk.wire(first)) == [0, 20 * MS, 30 * MS]


def test_whole_answers_share_too():
    desk = Reception(ttft=0, gap=10, shared_tok_s=100)
    first, _ = (desk.ask(stream=False, options={"num_predict": 3}) for _ in range(2))
    assert desk.wire(first).due_ns == [40 * MS]


def test_with_slots_those_that_wait_do_not_share():
    desk = Reception(ttft=0, gap=10, shared_tok_s=100, slots=1)
    first, second = (desk.ask(options={"num_predict": 3}) for _ in range(2))
    assert content_due(desk.wire(first)) == [0, 10 * MS, 20 * MS]
    desk.desk.finished(first, 20 * MS)
    desk.desk.settle()
    assert content_due(desk.wire(second)) == [20 * MS, 30 * MS, 40 * MS]


def test_a_trickle_goes_its_own_way():
    desk = Reception(ttft=0, gap=10, shared_tok_s=100, faults=["trickle@1"])
    first = desk.ask(options={"num_predict": 3})
    due_ns = desk.wire(first).due_ns
    desk.ask(options={"num_predict": 3})
    assert desk.wire(first).due_ns == due_ns and not first.revised


def test_replayed_gaps_are_not_shared():
    with pytest.raises(SpecError, match="replayed"):
        sim_spec({"gap": "replay:latest", "shared_tok_s": 100})


# -------------------------------------------------------------------------------- over real sockets


def test_the_log_has_the_truth_that_was_sent(tmp_path):
    """Two clients, the second in the middle of the first: what went out kept to the law."""
    spec = {"ttft": 150, "gap": 10, "shared_tok_s": 100}
    body = {"model": "sim", "messages": [{"role": "user", "content": "x"}], "stream": True}
    body["options"] = {"num_predict": 40}
    with (
        inline_sim(tmp_path / "log", spec) as server,
        httpx.stream(
            "POST", f"{server.url}/api/chat", json=body, timeout=60, trust_env=False
        ) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        second = chat(server.url, tokens=10)
        first = list(lines)
    assert (len(first), len(second)) == (40, 11)
    log = read_log(tmp_path / "log")
    found = {}
    for serial, request in log.requests.items():
        rows = log.rows[(log.rows["serial"] == serial) & (log.rows["kind"] == 3)]
        assert (rows["before_ns"] >= rows["due_ns"]).all()
        assert len(rows) == request["chunks"]
        found[serial] = (request, rows["due_ns"].tolist())
    begin_ns = min(request["start_ns"] for request, _ in found.values())
    expected = oracle(
        [
            (request["start_ns"] + 150 * MS - begin_ns, None, [1] * request["chunks"])
            for request, _ in found.values()
        ],
        10 * MS,
        100,
    )
    for (_, due_ns), exact in zip(found.values(), expected, strict=True):
        for due, when in zip(due_ns, exact, strict=True):
            assert abs(due - begin_ns - when) <= 5
    assert found[1][0]["revised"] == 1 and "revised" not in found[2][0]
