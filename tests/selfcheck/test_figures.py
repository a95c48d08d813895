"""The figures of a real load: counted again from log and records by plain means, and moved by
exactly what was planted."""

from __future__ import annotations

import itertools
import os
import signal
import statistics
import struct

import msgspec
import pytest

import harness.selfcheck.drive as driving
from harness.errors import BackendError, StoreError
from harness.host import Host
from harness.schema import ClosedLoad, OpenLoad
from harness.selfcheck.bench import LEAD_S
from harness.selfcheck.drive import Options, drive, prepare_host
from harness.selfcheck.figures import GAP_NS, figures_of, request_slips, server_was_late, slips
from harness.selfcheck.loads import FLAT_OUT, PACED, Load
from harness.selfcheck.server import Truth, merged
from harness.transport.native import NativeTransport

LOAD = Load(streams=13, requests=104, tokens=3)
KINDS_OF_FRAMES = (1, 2, 3, 4)
KINDS_OF_CONTENT = (2, 3)
MERGED = 0x8000_0000


@pytest.fixture(scope="module")
def host():
    host = Host.load()
    prepare_host(host)
    prepare_host(host)  # a second check in one process
    return host


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    server = Truth(tmp_path_factory.mktemp("truth") / "log", ["--dialect", "vllm", *PACED])
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def measured(host, truth):
    """(what was driven, the log of it)"""
    return run(host, truth)


def run(host, truth, load=LOAD):
    shape = ClosedLoad(concurrency=load.streams, requests=load.requests)
    driven = drive(host, truth.url, shape, Options(tokens=load.tokens, prompt_words=load.settle_ms))
    return driven, truth.log_of(driven.calls)


def by_hand(driven, log):
    """[per call: [per chunk: (error, lag, is content, is merged, is cut)]], TTFT biases; no numpy.
    Merged: a later one of the same read has content. Cut: the next was due at the same instant, and
    not both have content."""
    sends = {}
    for row in log.rows.tolist():
        serial, due, before, _after, _index, _size, kind, _tries = row
        if kind in KINDS_OF_FRAMES:
            sends.setdefault(serial, []).append((before, kind, due))
    calls, biases = [], []
    for call in driven.calls:
        serial = int(call.server["id"].rpartition("-")[2])
        n = call.chunks.count
        stamps = struct.unpack(f"<{n}q", call.chunks.arrival_ns)
        lags = struct.unpack(f"<{n}I", call.chunks.lag_ns)
        flags = struct.unpack(f"<{n}I", call.chunks.size)
        sent = sends[serial]
        assert len(sent) == n
        has_content = [kind in KINDS_OF_CONTENT for _, kind, _ in sent]
        call_chunks = []
        for at, (before, _, due) in enumerate(sent):
            until = at
            while flags[until] & MERGED and until < n - 1:
                until += 1
            merged = any(has_content[at + 1 : until + 1])
            cut = at + 1 < n and sent[at + 1][2] == due
            cut = cut and not (has_content[at] and has_content[at + 1])
            error = stamps[at] - before
            call_chunks.append((error, error + lags[at], has_content[at], merged, cut))
        calls.append(call_chunks)
        first = next(before for before, kind, _ in sent if kind in KINDS_OF_CONTENT)
        at = call.instants
        arrived = log.requests[serial]["arrived_ns"]
        biases.append((at.first_token_ns - at.sent_ns) - (first - arrived))
    return calls, biases


def quantile(values, q):
    ordered = sorted(values)
    h = (len(ordered) - 1) * q
    low = int(h)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (h - low)


def test_every_figure_again_from_the_raw(measured):
    driven, log = measured
    made = figures_of(LOAD, [driven], log)
    figures = made.figures
    calls, biases = by_hand(driven, log)
    errors = [error for call in calls for error, *_, cut in call if not cut]
    lags = [lag for call in calls for _, lag, *_, cut in call if not cut]
    chunks = sum(map(len, calls))
    content = [[one for one in call if one[2]] for call in calls]
    firsts = [call[0][0] for call in content]
    gaps = [
        b[0] - a[0] for call in content for a, b in itertools.pairwise(call) if not (a[4] or b[4])
    ]
    assert any(one[4] for call in content for one in call), "the last is due with the finish"
    expected = {
        "calls": 104,
        "chunks": chunks,
        "kernel_share": statistics.mean(call.stamp_source == "kernel" for call in driven.calls),
        "first_token_p50_ns": statistics.median(firsts),
        "first_token_p99_ns": quantile(firsts, 0.99),
        "first_token_max_ns": max(firsts),
        "chunk_p50_ns": statistics.median(errors),
        "chunk_p99_ns": quantile(errors, 0.99),
        "chunk_max_ns": max(errors),
        "ttft_bias_p50_ns": statistics.median(biases),
        "inter_chunk_bias_p50_ns": statistics.median(gaps),
        "inter_chunk_error_p99_ns": quantile([abs(gap) for gap in gaps], 0.99),
        "client_lag_p50_ns": statistics.median(lags),
        "client_lag_p99_ns": quantile(lags, 0.99),
        "client_lag_max_ns": max(lags),
        "merged_share": statistics.mean(one[3] for call in content for one in call),
        "cpu_ns_per_chunk": driven.cpu_ns / chunks,
    }
    got = {name: getattr(figures, name) for name in expected}
    assert got == pytest.approx(expected, rel=1e-12, abs=0.51)  # in whole ns
    assert made.withheld == {} and (made.unnamed, made.unequal) == (0, 0)
    serials = [int(call.server["id"].rpartition("-")[2]) for call in driven.calls]
    by_kernel = sum(log.requests[serial]["arrived_by"] == "kernel" for serial in serials)
    assert made.planned == 104 and made.arrival_by_kernel == by_kernel
    # What arrives was sent before: only the mapping of the kernel's clock could make it less.
    assert figures.first_token_p50_ns > 0
    assert figures.held == (not made.slipped)


def planted(driven, shift_ns):
    """The same calls with every stamp moved."""

    def moved(call):
        n = call.chunks.count
        stamps = [at + shift_ns for at in struct.unpack(f"<{n}q", call.chunks.arrival_ns)]
        first_ns = call.instants.first_token_ns + shift_ns
        return msgspec.structs.replace(
            call,
            chunks=msgspec.structs.replace(call.chunks, arrival_ns=struct.pack(f"<{n}q", *stamps)),
            instants=msgspec.structs.replace(call.instants, first_token_ns=first_ns),
        )

    return msgspec.structs.replace(driven, calls=[moved(call) for call in driven.calls])


@pytest.mark.parametrize("shift_ns", [250_000, -1_000_000])
def test_an_error_that_was_planted_is_found(measured, shift_ns):
    driven, log = measured
    before = figures_of(LOAD, [driven], log).figures
    after = figures_of(LOAD, [planted(driven, shift_ns)], log).figures
    for name in ("first_token_p50_ns", "first_token_p99_ns", "first_token_max_ns"):
        assert getattr(after, name) - getattr(before, name) == pytest.approx(shift_ns)
    for name in ("chunk_p50_ns", "chunk_p99_ns", "chunk_max_ns", "client_lag_p50_ns"):
        assert getattr(after, name) - getattr(before, name) == pytest.approx(shift_ns)
    assert after.ttft_bias_p50_ns - before.ttft_bias_p50_ns == pytest.approx(shift_ns)
    # A shift of all stamps is in no gap.
    assert after.inter_chunk_bias_p50_ns == before.inter_chunk_bias_p50_ns
    assert after.inter_chunk_error_p99_ns == before.inter_chunk_error_p99_ns


def test_user_space_stamps_show_as_what_they_are(host, truth, monkeypatch):
    """Without the kernel's stamps, our own delay is the error."""
    monkeypatch.setattr(driving, "_native", lambda kind, urls: NativeTransport(timestamps=False))
    load = Load(streams=4, requests=8, tokens=3)
    made = figures_of(load, [(found := run(host, truth, load))[0]], found[1])
    figures = made.figures
    assert figures.kernel_share == 0.0
    assert (figures.chunk_p50_ns, figures.chunk_max_ns) == (
        figures.client_lag_p50_ns,
        figures.client_lag_max_ns,
    )
    # 8 calls carry no p99, and it says which n it takes.
    assert figures.first_token_p99_ns is None and made.withheld["first_token_p99_ns"] == 100
    assert made.first_token.p99_ns is None


def test_repeats_are_one_sample(measured, host, truth):
    again, log = run(host, truth)
    first, first_log = measured
    both = figures_of(LOAD, [first, again], merged([first_log, log]))
    assert both.figures.calls == 208 and both.planned == 104
    assert both.figures.first_token_max_ns == max(
        figures_of(LOAD, [one], its).figures.first_token_max_ns
        for one, its in ((first, first_log), (again, log))
    )


def test_what_slipped_is_said(measured):
    driven, _ = measured
    quick = [1_000] * 200
    good = {"sends": 400, "held_up": 0, "p99_ns": 50_000}

    def said(late=good, lags=quick):
        return slips([driven], late, lags)

    baseline = set(said())
    (server,) = set(said(late=good | {"p99_ns": GAP_NS + 1})) - baseline
    assert server.startswith("server: ")
    (sockets,) = set(said(late=good | {"held_up": 100})) - baseline
    assert sockets.startswith("client: 20%")
    (reads,) = set(said(lags=[2 * GAP_NS] * 200)) - baseline
    assert reads.startswith("client: it read")


def test_a_server_that_was_late_is_seen(measured):
    driven, log = measured
    rows = log.rows.copy()
    rows["due_ns"] = rows["before_ns"] - 1_000
    assert not server_was_late(driven, msgspec.structs.replace(log, rows=rows))
    rows["due_ns"][: len(rows) // 2] -= 2 * GAP_NS
    assert server_was_late(driven, msgspec.structs.replace(log, rows=rows))


def test_calls_that_did_not_come_whole_are_a_slip(measured):
    driven, log = measured
    first, *others = driven.calls
    cut = msgspec.structs.replace(first, status="truncated")
    broken = msgspec.structs.replace(driven, calls=[cut, *others])
    made = figures_of(LOAD, [broken], log)
    assert made.figures.calls == 103 and made.figures.held is False
    assert "client: 1 of 104 calls did not come whole" in made.slipped
    with pytest.raises(StoreError, match="none of 104 calls"):
        figures_of(LOAD, [driven], msgspec.structs.replace(log, requests={}))


@pytest.mark.quiet
def test_requests_at_a_rate(host, tmp_path):
    server = Truth(tmp_path / "log", ["--dialect", "vllm", *FLAT_OUT])
    try:
        server.wait()
        shape = OpenLoad(rate_per_s=200.0, arrival="constant", requests=100)
        driven = drive(host, server.url, shape, Options(tokens=1))
        log = server.log_of(driven.calls)
    finally:
        server.stop()
    assert len(driven.calls) == 100 and all(call.status == "ok" for call in driven.calls)
    due_s = LEAD_S + 100 / 200
    honest = set(request_slips(driven, log, due_s))
    slow = msgspec.structs.replace(driven, wall_ns=driven.wall_ns + 10**10)
    (said,) = set(request_slips(slow, log, due_s)) - honest
    assert "to read what was due in" in said
    late = [
        msgspec.structs.replace(
            call,
            instants=msgspec.structs.replace(
                call.instants, due_ns=call.instants.sent_ns - 50_000_000
            ),
        )
        for call in driven.calls
    ]
    said = set(request_slips(msgspec.structs.replace(driven, calls=late), log, due_s))
    assert any(" ms late" in reason for reason in said - honest)


def test_a_server_that_went_away_is_said_in_its_last_words(host, tmp_path):
    server = Truth(tmp_path / "log", ["--dialect", "vllm", *PACED])
    try:
        server.wait()
        driven, log = run(host, server, Load(streams=1, requests=1, tokens=2))
        os.kill(server.pid, signal.SIGKILL)
        (tmp_path / "log.stderr").write_text("hello\nerror: no space left on device: log\n")
        unwritten = {"id": f"chatcmpl-sim-{log.boot}-999"}
        stranger = msgspec.structs.replace(driven.calls[0], server=unwritten)
        with pytest.raises(BackendError, match="went away: no space left on device: log"):
            server.log_of([stranger])
    finally:
        server.stop()


def test_a_server_that_hangs_is_not_waited_for_long_and_accused_of_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.selfcheck.server.END_S", 0.05)
    server = Truth(tmp_path / "log", ["--dialect", "vllm", "--realtime", *PACED])
    try:
        server.wait()
        said = server.realtime
        assert said in (True, False)
        os.kill(server.pid, signal.SIGSTOP)
    finally:
        server.stop()
    assert server.realtime is said, "it was asked when it began"


def test_a_server_that_does_not_start_is_said_in_its_own_words(tmp_path):
    server = Truth(tmp_path / "log", ["--dialect", "klingon"])
    with pytest.raises(BackendError, match="klingon"):
        server.wait()
    server.stop()
