"""The record log: what is written can be read, whatever was cut off, flipped or refused."""

from __future__ import annotations

import os
import resource
import struct
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StoreError
from harness.schema import TrialRecord
from harness.store.log import FRAME, HEADER, MAGIC, LogWriter, being_written, checksum
from harness.store.reader import LogReader
from tests.store import builders


def write(path: Path, records: list) -> bytes:
    log = LogWriter(path)
    for record in records:
        log.append(record)
    log.close()
    return path.read_bytes()


def frame(body: bytes) -> bytes:
    return FRAME.pack(len(body), checksum(body)) + body


def test_what_is_written_is_read_as_often_as_one_likes(tmp_path):
    records = builders.records()
    write(tmp_path / "log", records)
    reader = LogReader(tmp_path / "log")
    assert list(reader) == records
    assert list(reader) == records
    assert reader.damage == ()


def test_each_record_is_one_write(tmp_path, monkeypatch):
    sizes = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: sizes.append(len(data)) or real(fd, data))
    write(tmp_path / "log", builders.records())
    assert len(sizes) == 1 + len(builders.records())


def test_reading_is_lazy(tmp_path):
    """The first record comes before a fault behind it is met."""
    data = write(tmp_path / "log", builders.records())
    broken = bytearray(data)
    broken[-40 - len(data) // 2] ^= 0xFF
    (tmp_path / "log").write_bytes(broken)
    assert next(iter(LogReader(tmp_path / "log"))) == builders.records()[0]


def test_a_log_cut_at_any_byte_gives_a_prefix_and_says_what_was_dropped(tmp_path):
    records = builders.records(arms=("a",), calls=1)[2:5]
    data = write(tmp_path / "log", records)
    ends = [len(HEADER)]
    for _, body in LogReader(tmp_path / "log").bodies():
        ends.append(ends[-1] + FRAME.size + len(body))
    cut = tmp_path / "log"
    for size in reversed(range(len(data) + 1)):
        os.truncate(cut, size)
        reader = LogReader(cut)
        whole = sum(end <= size for end in ends[1:])
        assert list(reader) == records[:whole], size
        torn = size - ends[whole] if size >= len(HEADER) else 0
        assert [d.size_bytes for d in reader.damage] == ([torn] if torn else []), size
        assert all(d.torn and d.offset == ends[whole] for d in reader.damage)


def test_a_flipped_bit_is_noticed(tmp_path):
    """One flip costs the record it is in. It is an error unless that was the last record."""
    records = builders.records(arms=("a",), calls=1)[-3:]
    data = write(tmp_path / "log", records)
    last = [offset for offset, _ in LogReader(tmp_path / "log").bodies()][-1]
    bad = tmp_path / "bad"
    for at in range(len(HEADER), len(data), 3):
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        bad.write_bytes(flipped)
        reader = LogReader(bad)
        if at >= last:
            assert list(reader) == records[:-1], at
            assert reader.damage[0].torn
            assert reader.damage[0].size_bytes == len(data) - last
        else:
            with pytest.raises(StoreError, match=r"corrupt at byte \d+ .* intact"):
                list(reader)
            rescued = LogReader(bad, salvage=True)
            left = list(rescued)
            assert len(left) == len(records) - 1, at
            assert all(record in records for record in left)
            assert not rescued.damage[0].torn


def test_corruption_names_the_file_the_offset_and_what_is_left(tmp_path):
    records = builders.records()
    data = bytearray(write(tmp_path / "log", records))
    offsets = [offset for offset, _ in LogReader(tmp_path / "log").bodies()]
    data[offsets[3] + 30] ^= 0x01
    (tmp_path / "log").write_bytes(data)
    with pytest.raises(StoreError) as caught:
        list(LogReader(tmp_path / "log"))
    text = str(caught.value)
    assert str(tmp_path / "log") in text
    assert f"corrupt at byte {offsets[3]}" in text
    assert f"the 3 records before it and {len(records) - 4} after it are intact" in text
    assert "salvage=True" in text


@given(tail=st.binary(max_size=200))
def test_rubbish_at_the_end_is_a_torn_tail(tmp_path_factory, tail):
    path = tmp_path_factory.mktemp("tail") / "log"
    records = builders.records(arms=("a",), calls=1)
    data = write(path, records)
    path.write_bytes(data + tail)
    reader = LogReader(path)
    assert list(reader) == records
    assert sum(damage.size_bytes for damage in reader.damage) == len(tail)


def test_zeros_at_the_end_are_no_records(tmp_path):
    """What some file systems leave behind a crash."""
    records = builders.records(arms=("a",), calls=1)
    data = write(tmp_path / "log", records)
    (tmp_path / "log").write_bytes(data + bytes(4096))
    reader = LogReader(tmp_path / "log")
    assert list(reader) == records
    assert reader.damage[0].size_bytes == 4096


def test_records_of_a_newer_harness_are_read_as_far_as_they_are_known(tmp_path):
    record = builders.trial()
    more = msgspec.to_builtins(record) | {"joules": 12.5}
    strange = {"t": "energy", "watts": [1, 2, 3]}
    bodies = [msgspec.msgpack.encode(value) for value in (more, strange, record)]
    (tmp_path / "log").write_bytes(HEADER + b"".join(map(frame, bodies)))
    reader = LogReader(tmp_path / "log")
    assert list(reader) == [record, record]
    assert reader.unknown == 1


def test_an_intact_record_that_does_not_fit_is_an_error(tmp_path):
    body = msgspec.msgpack.encode({"t": "trial", "arm": 3})
    (tmp_path / "log").write_bytes(HEADER + frame(body))
    with pytest.raises(StoreError, match="byte 12 is intact, but does not fit this version"):
        list(LogReader(tmp_path / "log"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not a log at all", "not a record log"),
        (MAGIC + struct.pack("<I", 7), "log format 7 is newer"),
    ],
)
def test_other_files_are_refused(tmp_path, data, message):
    (tmp_path / "log").write_bytes(data)
    with pytest.raises(StoreError, match=message):
        list(LogReader(tmp_path / "log"))


def test_a_missing_log_is_one_line(tmp_path):
    with pytest.raises(StoreError, match="No such file"):
        list(LogReader(tmp_path / "none"))


def test_a_full_disk_leaves_whole_records_and_says_how_many(tmp_path):
    """RLIMIT_FSIZE cuts a write short just as a full disk does."""
    records = builders.records()
    log = LogWriter(tmp_path / "log")
    log.append(records[0])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.size_bytes + 100, limits[1]))
    try:
        with pytest.raises(StoreError) as caught:
            log.append(records[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"the first 1 records ({log.size_bytes} bytes) are kept" in str(caught.value)
    assert str(tmp_path / "log") in str(caught.value)
    reader = LogReader(tmp_path / "log")
    assert list(reader) == records[:1]
    assert reader.damage == ()  # the part that was written has been cut back
    # There is room again, but a log with a hole in it would be worse than one that stops.
    with pytest.raises(StoreError, match="the first 1 records"):
        log.append(records[1])
    log.close()


def test_half_a_surrogate_pair_does_not_cost_the_run(tmp_path):
    write(tmp_path / "log", [builders.call(text="a\ud800b", server={"k\udfff": ["\ud800"]})])
    (record,) = LogReader(tmp_path / "log")
    assert record.text == "a?b"
    assert record.server == {"k?": ["?"]}
    assert record.chunks == builders.call().chunks


def test_what_cannot_be_stored_is_the_scenario_s_mistake(tmp_path):
    log = LogWriter(tmp_path / "log")
    record = builders.iteration([builders.call()], data={"key": object()})
    with pytest.raises(StoreError, match=r"arm baseline, trial 0: .*ctx\.note"):
        log.append(record)
    log.append(builders.trial())
    log.close()
    assert list(LogReader(tmp_path / "log")) == [builders.trial()]


def test_a_reader_can_tell_a_living_writer(tmp_path):
    log = LogWriter(tmp_path / "log")
    assert being_written(tmp_path / "log") is True
    log.close()
    assert being_written(tmp_path / "log") is False
    assert being_written(tmp_path / "none") is None


def test_two_writers_cannot_share_a_log(tmp_path):
    LogWriter(tmp_path / "log").close()
    with pytest.raises(StoreError, match="File exists"):
        LogWriter(tmp_path / "log")


def test_the_reader_stays_flat_in_memory(tmp_path):
    """One record at a time: 64 MB of records are read within a few MB."""
    import tracemalloc

    log = LogWriter(tmp_path / "log")
    big = msgspec.structs.replace(builders.trial(), transport="x" * 1_000_000)
    for _ in range(64):
        log.append(big)
    log.close()
    tracemalloc.start()
    try:
        assert all(isinstance(record, TrialRecord) for record in LogReader(tmp_path / "log"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


def test_a_log_of_whole_pages_torn_behind_a_large_record(tmp_path):
    """Where a mapped search once looked a byte too far: sizes that are whole pages."""
    path = tmp_path / "records.log"
    content = write(path, [builders.call(ordinal=0), builders.call(ordinal=1, text="x" * 40_000)])
    for size in range(4096 * (len(content) // 4096), 4096, -4096):
        path.write_bytes(content[:size])
        log = LogReader(path)
        assert [record.call_id for record in log] == [builders.call(ordinal=0).call_id]
        assert log.damage[0].torn


def test_the_record_behind_a_damage_is_found_across_a_window(tmp_path, monkeypatch):
    """The kind that a record is found by may lie on the edge of what is read at once."""
    path = tmp_path / "records.log"
    content = bytearray(write(path, [builders.call(ordinal=number) for number in range(3)]))
    second = len(write(tmp_path / "one.log", [builders.call(ordinal=0)]))
    content[second + FRAME.size + 3] ^= 1
    path.write_bytes(content)
    for window in range(1, 200):
        monkeypatch.setattr("harness.store.reader._WINDOW", window)
        log = LogReader(path, salvage=True)
        found = [record.call_id for record in log]
        assert found == [builders.call(ordinal=number).call_id for number in (0, 2)]
