"""Chunks are not tokens: gaps, and when they are inter-token latencies."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from harness.metrics import (
    inter_chunk_ns,
    itl_ns,
    itl_unknown_because,
)
from harness.schema import (
    Usage,
)
from tests.metrics.records import (
    MS,
    A,
    call,
    columns,
    value,
)


def test_gaps_are_between_content_chunks():
    assert inter_chunk_ns(call()).tolist() == [20 * MS, 20 * MS, 25 * MS]
    assert itl_ns(call()).tolist() == [20 * MS, 20 * MS, 25 * MS]


def test_chunks_without_stamps_have_no_gaps():
    dropped = msgspec.structs.replace(call().chunks, arrival_ns=b"", kind=b"", size=b"", lag_ns=b"")
    record = call(chunks=dropped)
    assert inter_chunk_ns(record) is None
    assert "not kept" in itl_unknown_because(record)
    assert value("inter_chunk_p50_ms", record) is None
    assert value("tpot_ms", record) is not None, "the instants are there all the same"


def test_stamps_that_run_backwards_or_do_not_fit_have_no_gaps():
    assert inter_chunk_ns(call(chunks=columns([1, 3, 2], [A, A, A]), content_chunks=3)) is None
    assert inter_chunk_ns(call(content_chunks=3)) is None


def tokens(*per_chunk: int) -> bytes:
    return np.array(per_chunk, "<u4").tobytes()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"usage": Usage()}, "no token count"),
        ({"usage": Usage(output_tokens=5)}, "5 tokens came in 4 chunks: a stop token, or"),
        ({"usage": Usage(output_tokens=9)}, "9 tokens came in 4 chunks"),
        ({"usage": Usage(output_tokens=3)}, "3 tokens came in 4 chunks"),
        ({"status": "truncated"}, "truncated"),
        ({"chunks": columns([1], [A]), "content_chunks": 1}, "1 content chunks"),
        # Where the server says what each chunk holds, that decides: the fifth token is the stop
        # token, in the empty chunk at the end.
        ({"usage": Usage(output_tokens=5), "chunk_tokens": tokens(0, 1, 1, 1, 1, 1)}, None),
        ({"chunk_tokens": tokens(0, 1, 2, 1, 0, 0)}, "2 content chunks do not hold one token"),
        ({"chunk_tokens": tokens(1, 1)}, "do not fit"),
        ({"chunk_tokens": b"\x01"}, "do not fit"),
    ],
)
def test_itl_is_known_only_where_each_chunk_holds_one_token(changes, reason):
    record = call(**changes)
    found = itl_unknown_because(record)
    if reason is None:
        assert found is None
        assert len(itl_ns(record)) == 3
    else:
        assert reason in found
        assert itl_ns(record) is None
        assert value("itl_p50_ms", record) is None


def test_batch_ratio_is_chunks_per_token():
    assert value("batch_ratio", call(usage=Usage(output_tokens=16))) == 0.25
    assert value("batch_ratio", call(usage=Usage(output_tokens=0))) is None
    assert value("batch_ratio", call(usage=Usage())) is None
