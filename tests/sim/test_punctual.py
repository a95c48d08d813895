"""How late sends were and why, against a plain oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.testing.sim.log import row_blocks, row_type
from harness.testing.sim.punctual import punctuality

MS = 1_000_000
US = 1_000


def row(serial, due_ns, late_ns, *, index=0, kind=3, tries=1):
    before_ns = due_ns + late_ns
    return (serial, due_ns, before_ns, before_ns + 2_000, index, 10, kind, tries)


def table(rows):
    return np.array(rows, row_type())


def test_lateness_is_counted():
    rows = [row(1, 10**9 + i * MS, 100 * i, index=i) for i in range(100)]
    rows += [row(2, 2 * 10**9, 5 * MS), row(2, 2 * 10**9, 9 * MS, kind=1)]  # no law governs a role
    rows += [row(3, 3 * 10**9, 50 * MS, tries=3), row(3, 3 * 10**9, 60 * MS, index=1)]
    said = punctuality(table(rows))
    assert (said["sends"], said["held_up"], said["max_ns"]) == (101, 2, 5 * MS)
    assert said["p50_ns"] == pytest.approx(5_000, rel=0.02)
    late = {"bound_ns": MS, "sends": 1, "forced": 0, "first": [[2, 0, 5 * MS]]}
    assert said["late"] == late


def test_more_due_at_once_than_can_be_sent():
    """400 sends of 5 µs, all due at one instant: the last is 2 ms late, whoever sends it."""
    rows = [row(i, 10**9, 5 * US * i) for i in range(400)]
    rows.append(row(500, 2 * 10**9, 3 * MS))  # nothing else was due then
    said = punctuality(table(rows))
    assert said["send_ns"] == pytest.approx(5 * US, rel=0.02)
    assert said["forced_max_ns"] == pytest.approx(1_995 * US, rel=0.02)
    assert said["own_p99_ns"] == pytest.approx(0, abs=20 * US)
    assert said["own_max_ns"] == 3 * MS
    assert said["late"]["sends"] == 200
    assert said["late"]["forced"] == pytest.approx(199, abs=2)


def test_none_and_one():
    empty = punctuality(table([]))
    assert empty["sends"] == 0 and "p50_ns" not in empty
    assert punctuality(table([row(1, 5, 0)]))["max_ns"] == 0


@given(
    st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 3 * MS)), min_size=2, max_size=60),
    st.integers(1, 60),
)
def test_against_an_oracle(sends, block):
    """One sender, one send after the other; and in blocks as well as whole."""
    rows, due_ns, free_ns = [], 10**9, 0
    for number, (after_ns, extra_ns) in enumerate(sends):
        due_ns += after_ns
        before_ns = max(due_ns, free_ns) + extra_ns
        free_ns = before_ns + 2_500
        rows.append(row(number, due_ns, before_ns - due_ns))
    whole = punctuality(table(rows))
    lates = sorted(before - due for _, due, before, *_ in rows)
    assert whole["max_ns"] == lates[-1]
    rank = max(0, -(-len(lates) // 2) - 1)  # of the bins' median: the least half of all are in it
    assert whole["p50_ns"] == pytest.approx(lates[rank], rel=0.012, abs=1)
    ideal_ns, forced = 0, []
    for _, due, before, *_ in rows:
        ideal_ns = max(due, ideal_ns)
        forced.append(min(before - due, ideal_ns - due))
        ideal_ns += whole["send_ns"]
    assert whole["forced_max_ns"] == pytest.approx(max(forced), abs=len(rows))
    own = max(before - due - f for (_, due, before, *_), f in zip(rows, forced, strict=True))
    assert whole["own_max_ns"] == pytest.approx(own, abs=len(rows))
    parts = [table(rows[at : at + block]) for at in range(0, len(rows), block)]
    again = punctuality(lambda: parts)
    assert again["late"]["sends"] == whole["late"]["sends"]
    assert (again["sends"], again["p50_ns"]) == (whole["sends"], whole["p50_ns"])


def test_a_log_is_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.testing.sim.log.ROWS_AT_A_TIME", 7)
    rows = table([row(i, 10**9 + i * MS, 1_000 * i) for i in range(30)])
    (tmp_path / "sends.bin").write_bytes(rows.tobytes() + b"torn")
    assert [len(block) for block in row_blocks(tmp_path)] == [7, 7, 7, 7, 2]
    found = punctuality(lambda: row_blocks(tmp_path))
    assert (found["sends"], found["max_ns"]) == (30, 29_000)
