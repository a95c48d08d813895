"""A trace of readings that was recorded once, played back at the speed at which it was recorded.

The file has one JSON object a line. The first says what it is and where it comes from:

    {"harness_gpu_recording": 1, "source": "nvml", "origin": "…", "recorded": "2026-11-21",
     "devices": [{"uuid": "GPU-…", "index": 0, "name": "…"}]}

The others are readings (harness.devices.Reading) in the order of time. Until its next line, a
device goes on saying the last one. After the last line of all nothing is known: a recording that
is too short does not go on for ever.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from msgspec import Struct

from harness.devices.provider import (
    Clock,
    Device,
    Energy,
    MachineClock,
    Processes,
    Provider,
    Reading,
    Source,
)
from harness.errors import SpecError

__all__ = ["Header", "Replay", "record", "write_recording"]

VERSION: Final = 1
NUMBER_END: Final = 2**63
ENDED: Final = "the recording has ended"
FIELDS: Final = tuple(
    name
    for name in Reading.__struct_fields__
    if name not in ("uuid", "at_ns", "took_ns", "throttled_ns", "unknown")
)


class Header(Struct, frozen=True, kw_only=True):
    """The first line."""

    harness_gpu_recording: int
    source: Source
    """Of the readings when they were recorded; `synthetic` ones were made up."""
    origin: str
    recorded: str
    """ISO 8601."""
    devices: tuple[Device, ...]


class Replay:
    """GPUs as a file has them. SpecError for a file that is none, with the line."""

    source: Source = "replay"

    def __init__(self, path: Path, *, clock: Clock | None = None) -> None:
        self.clock = clock or MachineClock()
        self.header, readings = _load(path)
        self.origin = f"recorded {self.header.recorded}, {self.header.source}: {self.header.origin}"
        self._of: dict[str, list[Reading]] = {one.uuid: [] for one in self.header.devices}
        for one in readings:
            self._of[one.uuid].append(one)
        self._at: dict[str, list[int]] = {
            uuid: [one.at_ns for one in of] for uuid, of in self._of.items()
        }
        self._first_ns = min((at[0] for at in self._at.values() if at), default=0)
        self._last_ns = max((at[-1] for at in self._at.values() if at), default=0)
        self._began_ns = self.clock.monotonic_ns()

    def devices(self) -> tuple[Device, ...]:
        return self.header.devices

    def read(self, uuid: str) -> Reading:
        now_ns = self.clock.monotonic_ns()
        then_ns = now_ns - self._began_ns + self._first_ns
        at = bisect.bisect_right(self._at[uuid], then_ns) - 1
        if at < 0 or then_ns > self._last_ns:
            why = ENDED if at >= 0 else "the recording has not begun for this device"
            return Reading(uuid=uuid, at_ns=now_ns, unknown=dict.fromkeys(FIELDS, why))
        return msgspec.structs.replace(self._of[uuid][at], at_ns=now_ns)

    def energy(self, uuid: str) -> Energy:
        one = self.read(uuid)
        return Energy.of(one, self.clock.monotonic_ns())

    def processes(self, uuid: str) -> Processes:
        return Processes(unknown="a recording has no processes of this machine")

    def close(self) -> None:
        pass


def record(provider: Provider, seconds: float, every_s: float) -> list[Reading]:
    """All devices of `provider`, read at that pace by its own clock."""
    clock, found = provider.clock, []
    began_ns = due_ns = clock.monotonic_ns()
    while due_ns - began_ns <= seconds * 1e9:
        found += [provider.read(one.uuid) for one in provider.devices()]
        due_ns += round(every_s * 1e9)
        clock.wait(max(0.0, (due_ns - clock.monotonic_ns()) / 1e9))
    return found


def write_recording(
    out: IO[bytes],
    devices: Sequence[Device],
    readings: Iterable[Reading],
    *,
    source: Source,
    origin: str,
    recorded: str,
) -> None:
    """As it is read again above."""
    header = Header(
        harness_gpu_recording=VERSION,
        source=source,
        origin=origin,
        recorded=recorded,
        devices=tuple(devices),
    )
    for line in (header, *readings):
        out.write(msgspec.json.encode(line) + b"\n")


def _load(path: Path) -> tuple[Header, list[Reading]]:
    remedy = "record one with: python -m benchmarks.gpu --record FILE"
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        why = error.strerror or str(error)
        raise SpecError(f"cannot be read: {why}", where=str(path), remedy=remedy) from error
    header = _line(lines[0], Header, f"{path}:1", remedy)
    if header.harness_gpu_recording != VERSION:
        said = f"is of version {header.harness_gpu_recording}, and {VERSION} is known here"
        raise SpecError(said, where=str(path), remedy=remedy)
    known, readings = {one.uuid for one in header.devices}, []
    if len(known) < len(header.devices):  # its energy would count twice
        raise SpecError("has a device twice", where=f"{path}:1", remedy=remedy)
    last_ns: dict[str, int] = {}
    for number, text in enumerate(lines[1:], 2):
        if not text.strip():
            continue
        one = _line(text, Reading, f"{path}:{number}", remedy)
        if one.uuid not in known:
            raise SpecError("is of a device that line 1 does not have", where=f"{path}:{number}")
        if one.at_ns < last_ns.get(one.uuid, one.at_ns):
            raise SpecError("is earlier than the line before it", where=f"{path}:{number}")
        last_ns[one.uuid] = one.at_ns
        readings.append(one)
    return header, readings


def _line(text: bytes, kind: type[Any], where: str, remedy: str) -> Any:
    try:
        found = msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"is no GPU recording: {error}", where=where, remedy=remedy) from error
    for one in (found, *getattr(found, "devices", ())):
        for name, value in msgspec.structs.asdict(one).items():
            if isinstance(value, int) and abs(value) >= NUMBER_END:
                raise SpecError(f"{name} is no number of NVML's", where=where, remedy=remedy)
    return found
