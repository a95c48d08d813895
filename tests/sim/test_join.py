"""The log beside a run: exact on figures made up for the purpose, and on a real run."""

from __future__ import annotations

import json
import struct
import subprocess

import msgspec
import numpy as np
import pytest

from harness import load_run
from harness.errors import StoreError
from harness.schema import ChunkColumns
from harness.store import RunWriter
from harness.testing.sim import find_log, join
from harness.testing.sim.log import read_log, row_type
from tests.sim.servers import RUN, SIM, sim
from tests.store.builders import UPPER_BOUND, call, columns, manifest

MS = 1_000_000


def write_log(folder, rows, requests, boot="b007"):
    folder.mkdir(parents=True)
    lines = [{"t": "server", "format": 1, "boot": boot}]
    lines += [
        {"t": "request", "serial": s, "arrived_ns": at, "arrived_by": "kernel"}
        for s, at in requests
    ]
    (folder / "requests.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "sends.bin").write_bytes(np.array(rows, row_type()).tobytes())


def row(serial, index, before_ns, kind, late_ns=0, tries=1, took_ns=2_000):
    return (serial, before_ns - late_ns, before_ns, before_ns + took_ns, index, 10, kind, tries)


def write_run(folder, calls):
    writer = RunWriter.create(manifest(), out=folder, root=folder.parent)
    for one in calls:
        writer.append(one)
    return load_run(folder)


def a_call(ordinal, name, errors_ns, **changes):
    """Five chunks, due every 10 ms from 1,050 ms on, stamped late by `errors_ns`."""
    stamps = [(1050 + 10 * i) * MS + error for i, error in enumerate(errors_ns)]
    made = call(ordinal=ordinal, sent_ms=1000, server=name, chunks=columns(stamps), **changes)
    instants = {f: getattr(made.instants, f) for f in made.instants.__struct_fields__}
    instants["first_token_ns"] = stamps[0]
    return type(made)(
        **{f: getattr(made, f) for f in made.__struct_fields__}
        | {"instants": type(made.instants)(**instants)}
    )


def test_exact_figures(tmp_path):
    rows, requests = [], []
    for serial in (1, 2):
        requests.append((serial, 1000 * MS - 500))
        rows.append(row(serial, 0, 999 * MS, 0))  # the head: no chunk to a client
        rows += [row(serial, 1 + i, (1050 + 10 * i) * MS, 3) for i in range(4)]
        rows.append(row(serial, 5, 1090 * MS, 4))
    write_log(tmp_path / "log", rows, requests)
    merged = ChunkColumns(count=5)
    run = write_run(
        tmp_path / "run",
        [
            a_call(0, {"harness_sim": "b007-1"}, [7_000, 1_000, 2_000, 3_000, 4_000]),
            a_call(1, {"id": "chatcmpl-sim-b007-2"}, [9_000, 5_000, 5_000, 5_000, 5_000]),
            a_call(2, {"id": "chatcmpl-sim-b007-9"}, [0] * 5),  # no such request
            a_call(3, {"id": "chatcmpl-sim-feed-1"}, [0] * 5),  # another server
            a_call(4, {"id": "chatcmpl-123"}, [0] * 5),
            a_call(5, {"harness_sim": "b007-2"}, [0] * 4),  # a chunk too few
            a_call(6, {"harness_sim": "b007-1"}, [0] * 5, phase="warmup"),
            a_call(7, {"harness_sim": "b007-1"}, [0] * 5, status="truncated"),
        ],
    )
    assert merged.count == 5
    found = join(run, tmp_path / "log")
    assert (found.calls, found.joined, found.unnamed, found.unequal) == (6, 2, 3, 1)
    assert found.first_token.p50_ns == 8_000 and found.first_token.max_ns == 9_000
    assert found.all_chunks.n == 10 and found.all_chunks.mean_ns == 4_600
    assert found.send.p99_ns == 2_000
    # Reported: 50 ms + 7 or 9 µs from the sending; true: 50 ms + 0.5 µs from the arrival.
    assert sorted([found.ttft_bias.min_ns, found.ttft_bias.max_ns]) == [6_500, 8_500]
    assert found.ttft_true_median_ns == 50 * MS + 500
    assert found.arrival_by_kernel == 2 and found.kernel_stamped == 2


def test_merged_chunks_are_told_apart(tmp_path):
    write_log(
        tmp_path / "log",
        [row(1, i, (1050 + 10 * i) * MS, 3) for i in range(5)],
        [(1, 1000 * MS)],
    )
    stamps = [(1050 + 10 * i) * MS + 1_000 for i in range(5)]
    flagged = columns(stamps, flags=UPPER_BOUND)
    plain = columns(stamps)
    mixed = ChunkColumns(
        count=5,
        arrival_ns=plain.arrival_ns,
        lag_ns=plain.lag_ns,
        size=flagged.size[:8] + plain.size[8:],
        kind=plain.kind,
    )
    run = write_run(tmp_path / "run", [call(server={"harness_sim": "b007-1"}, chunks=mixed)])
    found = join(run, tmp_path / "log")
    assert (found.merged, found.unmerged_chunks.n) == (2, 3)


def test_what_is_read_at_once_by_how_calls_are_cut_is_left_out(tmp_path):
    """Role and first token, last token and finish: due together, so read together."""
    kinds = [(1, 1050), (3, 1050), (3, 1060), (3, 1070), (4, 1070), (4, 1070)]
    rows = []
    for index, (kind, due_ms) in enumerate(kinds):
        serial, _, *rest = row(1, index, due_ms * MS + 1_000 * index, kind)
        rows.append((serial, due_ms * MS, *rest))
    write_log(tmp_path / "log", rows, [(1, 1000 * MS)])
    stamps = [due_ms * MS + 10_000 for _, due_ms in kinds]
    plain = columns(stamps)
    bound = [True, False, True, True, True, False]  # 1060 and 1070 by one late read
    sizes = struct.pack("<6I", *(10 | (UPPER_BOUND if flag else 0) for flag in bound))
    mixed = msgspec.structs.replace(plain, size=sizes)
    one = call(server={"harness_sim": "b007-1"}, chunks=mixed)
    found = join(write_run(tmp_path / "run", [one]), tmp_path / "log")
    assert (found.chunks, found.cut, found.all_chunks.n) == (6, 3, 3)
    assert (found.merged, found.unmerged_chunks.n) == (2, 2), (
        "role and 1060: content came with them"
    )
    assert found.all_chunks.max_ns == 9_000, "that of 1050; 1070 and its finish are not in it"


def test_nothing_to_join(tmp_path):
    write_log(tmp_path / "sims" / "one", [row(1, 0, 5, 3)], [(1, 1)])
    run = write_run(tmp_path / "run", [call(server={"harness_sim": "feed-1"})])
    with pytest.raises(StoreError, match="none of the run's calls"):
        join(run, tmp_path / "sims" / "one")
    with pytest.raises(StoreError, match="belongs to this run"):
        find_log(run, tmp_path / "sims")
    with pytest.raises(StoreError):
        join(run, tmp_path / "nowhere")


def test_a_run_without_ok_calls_says_so(tmp_path):
    write_log(tmp_path / "sims" / "one", [row(1, 0, 5, 3)], [(1, 1)])
    failed = call(server={"harness_sim": "b007-1"}, status="error")
    run = write_run(tmp_path / "run", [failed, call(ordinal=1, phase="warmup")])
    for look in (lambda: join(run, tmp_path / "sims" / "one"), lambda: find_log(run, tmp_path)):
        with pytest.raises(StoreError, match=r"none of the run's measured calls is ok .*try: "):
            look()


def test_the_log_is_found_by_what_the_calls_say(tmp_path):
    for boot in ("aaaa", "b007", "cccc"):
        write_log(tmp_path / "sims" / boot, [row(1, 0, 5, 3)], [(1, 1)], boot=boot)
    run = write_run(tmp_path / "run", [call(server={"harness_sim": "b007-1"})])
    assert find_log(run, tmp_path / "sims") == tmp_path / "sims" / "b007"


def test_a_torn_log_is_read_up_to_the_tear(tmp_path):
    write_log(tmp_path / "log", [row(1, 0, 5, 3)], [(1, 1), (2, 1)])
    for name, junk in (("requests.jsonl", b'{"t":"requ'), ("sends.bin", b"1234567")):
        with (tmp_path / "log" / name).open("ab") as file:
            file.write(junk)
    log = read_log(tmp_path / "log")
    assert (len(log.rows), set(log.requests), log.end) == (1, {1, 2}, None)


@pytest.mark.parametrize("backend", ["ollama", "openai"])
def test_a_real_run(tmp_path, backend):
    requests, tokens = 12, 10
    with sim(
        tmp_path / "sims" / "log", "--ttft", "20", "--gap", "5", "--dialect", "vllm"
    ) as server:
        words = ["load", "--backend", backend, "--model", "sim", "--url", server.url]
        words += ["--requests", requests, "--concurrency", 4, "--max-tokens", tokens]
        words += ["--out", tmp_path / "run"]
        done = subprocess.run(
            [*RUN, *map(str, words)], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        server.stop()
    show = [*SIM, "--join", tmp_path / "run"]
    done = subprocess.run([*show, "--json"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["joined"] == found["calls"] == requests
    assert found["unnamed"] == found["unequal"] == 0
    assert found["first_token"]["n"] == requests
    assert found["chunks"] >= requests * (tokens + 1)
    # What arrives was sent before: the figures cannot be below zero by more than the clocks differ.
    assert found["first_token"]["p50_ns"] > 0 and found["ttft_bias"]["p50_ns"] > 0
    assert found["ttft_true_median_ns"] >= 20 * MS
    # The run's own figures are those that were joined.
    run = load_run(tmp_path / "run")
    (ttft,) = [m for m in run.summary.arms[0].metrics if m.name == "ttft_ms"]
    assert ttft.median * 1e6 == pytest.approx(found["ttft_reported_median_ns"], rel=1e-9)
    text = subprocess.run(show, cwd=tmp_path, capture_output=True, text=True).stdout
    assert "first-token stamp error" in text and f"{requests} of {requests} ok calls" in text
    assert max(len(line) for line in text.splitlines() if "/" not in line) <= 80
