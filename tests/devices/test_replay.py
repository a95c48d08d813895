"""Recordings: what was written is played back, at its own speed, and never beyond its end."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.devices import Device, Reading
from harness.devices.replay import Replay, write_recording
from harness.errors import SpecError
from harness.testing import FakeClock

GPU = Device(uuid="GPU-1", index=0, name="Recorded", memory_bytes=10)
SECOND = 1_000_000_000


def recorded(tmp_path, *readings, devices=(GPU,)):
    path = tmp_path / "trace.jsonl"
    with path.open("wb") as out:
        write_recording(
            out, devices, readings, source="nvml", origin="a test", recorded="2026-01-02"
        )
    return path


def at(seconds, **fields):
    return Reading(uuid="GPU-1", at_ns=round(seconds * SECOND), **fields)


def test_it_plays_back_at_its_own_speed_and_then_knows_nothing(tmp_path):
    path = recorded(tmp_path, at(7, energy_mj=1), at(8, energy_mj=2, unknown={"power_mw": "no"}))
    clock = FakeClock()
    provider = Replay(path, clock=clock)
    assert provider.devices() == (GPU,) and provider.source == "replay"
    assert "nvml: a test" in provider.origin
    assert provider.read("GPU-1").energy_mj == 1
    clock.wait(0.9)
    assert provider.energy("GPU-1").energy_mj == 1
    clock.wait(0.1)
    last = provider.read("GPU-1")
    assert (last.energy_mj, last.at_ns) == (2, clock.monotonic_ns())
    assert last.unknown == {"power_mw": "no"}
    clock.wait(0.1)
    assert provider.read("GPU-1").unknown["energy_mj"] == "the recording has ended"
    assert provider.energy("GPU-1").unknown == "the recording has ended"
    assert provider.processes("GPU-1").unknown


def test_a_device_that_joins_late_is_unknown_until_then(tmp_path):
    other = Device(uuid="GPU-2", index=1)
    late = msgspec.structs.replace(at(9, energy_mj=5), uuid="GPU-2")
    path = recorded(tmp_path, at(8, energy_mj=1), late, devices=(GPU, other))
    provider = Replay(path, clock=FakeClock())
    assert "has not begun" in provider.energy("GPU-2").unknown


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda lines: [], ":1"),
        (lambda lines: [b"{}", *lines[1:]], ":1"),
        (lambda lines: [lines[0].replace(b'recording":1', b'recording":9'), *lines[1:]], "version"),
        (lambda lines: [*lines[:2], b"\xff\xfe", *lines[2:]], ":3"),
        (lambda lines: [lines[0], *reversed(lines[1:])], "earlier"),
        (lambda lines: [*lines, lines[1].replace(b"GPU-1", b"GPU-9")], "line 1 does not have"),
        (
            lambda lines: [lines[0].replace(b"[{", b'[{"uuid":"GPU-1","index":0},{'), *lines[1:]],
            "twice",
        ),
        (lambda lines: [*lines[:2], lines[2].replace(b'mj":2', b'mj":2' + b"0" * 99)], "energy_mj"),
    ],
)
def test_what_is_no_recording_is_refused_with_its_line(tmp_path, spoil, said):
    path = recorded(tmp_path, at(1, energy_mj=1), at(2, energy_mj=2))
    path.write_bytes(b"\n".join(spoil(path.read_bytes().splitlines())))
    with pytest.raises(SpecError, match=said):
        Replay(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"cannot be read.*benchmarks\.gpu"):
        Replay(tmp_path / "none")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_recording_or_are_refused(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(raw)
    with pytest.raises(SpecError):
        Replay(path)


FIGURES = st.one_of(st.none(), st.integers(0, 2**62))


@given(st.lists(st.tuples(st.integers(0, 10**15), FIGURES, FIGURES), min_size=1, max_size=20))
def test_what_was_written_is_read_again(tmp_path_factory, rows):
    rows.sort(key=lambda row: row[0])
    readings = [Reading(uuid="GPU-1", at_ns=t, energy_mj=e, power_mw=p) for t, e, p in rows]
    out = io.BytesIO()
    write_recording(out, (GPU,), readings, source="synthetic", origin="x", recorded="2026-01-02")
    path = tmp_path_factory.getbasetemp() / "again.jsonl"
    path.write_bytes(out.getvalue())
    clock = FakeClock()
    provider = Replay(path, clock=clock)
    began_ns = clock.monotonic_ns()
    for one in readings:
        clock.advance(one.at_ns - readings[0].at_ns - (clock.monotonic_ns() - began_ns))
        same = [other for other in readings if other.at_ns == one.at_ns][-1]
        told = provider.read("GPU-1")
        assert (told.energy_mj, told.power_mw) == (same.energy_mj, same.power_mw)
