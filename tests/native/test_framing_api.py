"""What the two classes promise besides the splitting: types, limits, errors, memory, stubs."""

from __future__ import annotations

import array
import gc
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import harness._native
from harness._native import framing
from tests.native import oracles_framing as oracle

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


def test_constants_are_those_of_the_stub():
    assert (framing.MODE_WHOLE, framing.MODE_SSE, framing.MODE_NDJSON) == (0, 1, 2)
    assert (framing.FLAG_NAMED, framing.FLAG_UNTERMINATED) == (1, 2)
    assert (oracle.WHOLE, oracle.SSE, oracle.NDJSON) == (0, 1, 2)


@pytest.mark.parametrize(
    "wrap",
    [
        bytes,
        bytearray,
        memoryview,
        lambda b: array.array("B", b),
        lambda b: memoryview(b"x" + b)[1:],
    ],
    ids=["bytes", "bytearray", "memoryview", "array", "slice"],
)
def test_any_contiguous_buffer_is_taken(wrap):
    assert framing.Splitter(1).feed(wrap(b"data: a\n\n")) == [(b"a", 0)]
    assert framing.ResponseParser().feed(wrap(OK + b"hello")) == (b"hello", len(OK) + 5)


@pytest.mark.parametrize("thing", ["text", None, 7, [b"data"]])
def test_what_is_no_buffer_is_a_type_error(thing):
    with pytest.raises(TypeError):
        framing.Splitter(1).feed(thing)
    with pytest.raises(TypeError):
        framing.ResponseParser().feed(thing)


def test_a_buffer_with_gaps_is_refused():
    with pytest.raises(BufferError):
        framing.Splitter(1).feed(memoryview(b"data: a\n\n")[::2])


@pytest.mark.parametrize(
    ("make", "data", "result"),
    [
        (lambda: framing.Splitter(1), b"data: a\n\n", [(b"a", 0)]),
        (framing.ResponseParser, OK + b"hello", (b"hello", len(OK) + 5)),
    ],
    ids=["splitter", "parser"],
)
def test_the_buffer_is_released_and_what_came_out_is_a_copy(make, data, result):
    buffer = bytearray(data)
    got = make().feed(buffer)
    buffer.clear()  # BufferError if a view of it were still held
    buffer += b"\xff" * 200
    assert got == result


def test_the_buffer_is_released_after_an_error_too():
    buffer = bytearray(b"junk")
    with pytest.raises(ValueError, match="not an HTTP"):
        framing.ResponseParser().feed(buffer)
    buffer.clear()


@pytest.mark.parametrize("mode", [-1, 3, 99])
def test_unknown_mode(mode):
    with pytest.raises(ValueError, match="mode must be 0, 1 or 2"):
        framing.Splitter(mode)


@pytest.mark.parametrize("limit", [0, -1])
def test_limits_below_one(limit):
    with pytest.raises(ValueError, match="must be 1 or more"):
        framing.Splitter(1, limit=limit)
    with pytest.raises(ValueError, match="must be 1 or more"):
        framing.ResponseParser(head_limit=limit)


@pytest.mark.parametrize(
    ("mode", "fits", "is_over"),
    [
        (oracle.SSE, b"data: 1234\n\n", b"data: 12345\n\n"),
        (oracle.SSE, b"data: 1234\ndata:56789\n\n", b"data: 1234\ndata:56789\ndata\n\n"),
        (oracle.SSE, b": 3456789a\n\n", b": 3456789ab\n\n"),
        (oracle.SSE, b"event: 123\ndata: 12\n\n", b"event: 123\ndata: 1234\ndata: 123\n\n"),
        (oracle.NDJSON, b"1234567890\n", b"12345678901\n"),
        (oracle.NDJSON, b"123456789\r\n", b"1234567890\r\n"),
        (oracle.WHOLE, b"1234567890", b"12345678901"),
    ],
)
def test_limit_of_ten_is_exact_whole_and_byte_by_byte(mode, fits, is_over):
    for body, ends_well in ((fits, True), (is_over, False)):
        for pieces in ([body], [body[i : i + 1] for i in range(len(body))]):
            splitter = framing.Splitter(mode, limit=10)
            if ends_well:
                for piece in pieces:
                    splitter.feed(piece)
                splitter.finish()
            else:
                with pytest.raises(ValueError, match="over its size limit"):
                    for piece in pieces:
                        splitter.feed(piece)


def test_frames_before_the_limit_come_first_and_the_splitter_is_dead_after():
    splitter = framing.Splitter(framing.MODE_SSE, limit=10)
    assert splitter.feed(b"data: a\n\ndata: much too long\n\ndata: b\n\n") == [(b"a", 0)]
    for call in (
        lambda: splitter.feed(b"data: c\n\n"),
        lambda: splitter.feed(b""),
        splitter.finish,
    ):
        with pytest.raises(ValueError, match="line or frame over its size limit"):
            call()


def test_body_before_bad_bytes_comes_first_and_the_bad_byte_is_left():
    parser = framing.ResponseParser()
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nZ"
    assert parser.feed(wire) == (b"abc", len(wire) - 1)
    for call in (lambda: parser.feed(b"Z"), lambda: parser.feed(b""), parser.finish):
        with pytest.raises(ValueError, match="malformed chunked body"):
            call()
    assert (parser.status, parser.complete, parser.keep_alive) == (200, False, False)


def test_finish_closes_the_splitter():
    splitter = framing.Splitter(framing.MODE_SSE)
    splitter.feed(b"event: x\ndata: a")
    assert splitter.finish() == [(b"x\na", framing.FLAG_NAMED | framing.FLAG_UNTERMINATED)]
    assert splitter.finish() == []
    with pytest.raises(ValueError, match="finished"):
        splitter.feed(b"\n\n")


def test_interim_heads_leave_no_trace():
    parser = framing.ResponseParser()
    parser.feed(b"HTTP/1.1 103 Early Hints\r\nContent-Type: text/event-stream\r\n\r\n")
    assert (parser.status, parser.head, parser.mode) == (0, b"", framing.MODE_WHOLE)
    parser.feed(OK)
    assert (parser.status, parser.head) == (200, OK)


def test_a_call_of_init_again_starts_over():
    splitter = framing.Splitter(framing.MODE_SSE)
    splitter.feed(b"data: a\ndata: b")
    splitter.__init__(framing.MODE_NDJSON)
    assert splitter.feed(b"{}\n") == [(b"{}", 0)]
    parser = framing.ResponseParser()
    parser.feed(b"HTTP/1.1 2")
    parser.__init__("HEAD")
    assert parser.feed(OK + b"hello") == (b"", len(OK))
    assert parser.complete


def test_an_object_made_without_init_is_harmless():
    bare = framing.Splitter.__new__(framing.Splitter)
    with pytest.raises(ValueError, match="over its size limit"):
        bare.feed(b"x")
    with pytest.raises(ValueError, match="size limit"):
        framing.ResponseParser.__new__(framing.ResponseParser).feed(b"x")


@pytest.mark.parametrize("unit", [b"\r", b"\n", b":\r", b"data:x\r\r", b"data:x\r", b"x" * 50])
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_cost_grows_with_the_bytes_and_not_with_their_square(unit, size):
    """CPU time of 32 times as much: a square would be 1,024 times, so 200 tells them apart."""

    def cpu_ns(units: int) -> int:
        data = unit * units
        best = 1 << 62
        for _ in range(3):
            splitter = framing.Splitter(framing.MODE_SSE)
            start = time.process_time_ns()
            for at in range(0, len(data), size):
                splitter.feed(data[at : at + size])
            best = min(best, time.process_time_ns() - start)
        return max(best, 1_000)  # of the clock's own grain

    assert cpu_ns(32 * 2_000) < 200 * cpu_ns(2_000)


def test_memory_goes_back():
    resident = Path("/proc/self/statm")
    if not resident.exists():
        pytest.skip("reads /proc; run the suite on Linux to check for leaks")

    def one_round():
        splitter = framing.Splitter(framing.MODE_SSE)
        splitter.feed(b"event: x\ndata: " + b"y" * 1_000_000)
        parser = framing.ResponseParser(head_limit=1 << 21)
        parser.feed(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000)

    def pages() -> int:
        gc.collect()
        return int(resident.read_text().split()[1])

    for _ in range(20):
        one_round()
    before = pages()
    for _ in range(200):
        one_round()
    grown_mb = (pages() - before) * 4096 / 1e6
    assert grown_mb < 20, f"{grown_mb:.0f} MB more after 200 rounds of 3 MB"


def test_stubs_say_what_the_modules_are(tmp_path):
    """In a copy of the package that holds nothing else, so that only these stubs are judged."""
    package = tmp_path / "harness" / "_native"
    package.mkdir(parents=True)
    (tmp_path / "harness" / "__init__.py").touch()
    for file in Path(harness._native.__file__).parent.iterdir():
        if file.name == "__init__.py" or file.name.split(".")[0] in ("framing", "clock"):
            shutil.copy(file, package)
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "harness._native.framing", "harness._native.clock"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
