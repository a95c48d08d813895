"""The guard: whether a model is going to fit into memory, asked before it is loaded.

    needed = what the backend predicts: weights, keys and values, an allowance
    limit  = share_max x (what is free of the memory that it goes to + what its server gives up)

Too large: the trial is not begun, and says so with the numbers. What cannot be predicted, or of
which nobody knows the free memory, is begun. What the model then took is recorded beside what was
predicted, so that whoever reads the run can see what the guard is worth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from harness.errors import HarnessError
from harness.protocols import Backend, Footprints
from harness.schema import CallRecord, Effective, Fit, Footprint, GuardSpec
from harness.text import one_line, whole_number

if TYPE_CHECKING:
    from harness.devices import DeviceMemory

__all__ = ["DOES_NOT_FIT", "DoesNotFitError", "Free", "Taken", "amount", "fit_of", "foresee"]

DOES_NOT_FIT: Final = "does_not_fit"
"""Code of the error of a trial that was skipped for that."""

BYTES_END: Final = 2**60
PEAKS: Final = (
    ("memory_process_peak_bytes", "the process"),
    ("memory_reserved_peak_bytes", "what the allocator reserved"),
    ("memory_allocated_peak_bytes", "what the allocator handed out"),
)
"""Figures of a server's own, the most inclusive first: only that of the process holds what the
prediction does."""


class DoesNotFitError(HarnessError):
    """`fit` is why. No failure: the trial is skipped."""

    def __init__(self, fit: Fit, model: str | None) -> None:
        super().__init__(f"{one_line(model or 'the model', 80)} does not fit: {fit.reason}")
        self.fit = fit


class Free(Struct, frozen=True, kw_only=True):
    """Of one memory."""

    device: str
    """A GPU's UUID (several: with commas), `host`, or `declared`."""
    bytes_: int | None
    note: str = ""
    """Why it is not known, or why it is another memory than was asked for."""


Ask: TypeAlias = Callable[[Footprint], Free]
"""What is free of the memory that such a model goes to."""


async def foresee(backend: Backend, guard: GuardSpec, *, ask: Ask | None = None) -> Fit | None:
    """What is to be expected of `backend`, which is not open yet; None where it predicts nothing.
    May raise what `open` may."""
    if not isinstance(backend, Footprints):
        return None
    predicted = _believable(await backend.footprint())
    return fit_of(predicted, guard, ask or free_memory)


def fit_of(predicted: Footprint, guard: GuardSpec, ask: Ask) -> Fit:
    """The decision."""
    if guard.memory == "off":
        return Fit(predicted=predicted, decision="unguarded", reason="guard.memory is off")
    needed = predicted.total_bytes
    if needed is None:
        why = next(iter(predicted.unknown.values()), "the backend does not tell")
        return Fit(predicted=predicted, reason=f"nothing is predicted: {one_line(why, 200)}")
    free = _free(predicted, guard, ask)
    if free.bytes_ is None:
        why = f"{amount(needed)} needed; what is free is not known: {one_line(free.note, 200)}"
        return Fit(predicted=predicted, device=free.device, reason=why)
    there = free.bytes_ + predicted.reclaimable_bytes
    limit = int(guard.share_max * there)
    reason = (
        f"needs {amount(needed)} ({_parts(predicted)}); {guard.share_max:.0%} of "
        f"{amount(there)} free ({_where(free)}) is {amount(limit)}"
    )
    return Fit(
        predicted=predicted,
        free_bytes=free.bytes_,
        limit_bytes=limit,
        device=free.device,
        decision="fits" if needed <= limit else "too_large",
        reason=reason,
    )


def _believable(predicted: Footprint) -> Footprint:
    """A model's files may say any number; what no machine has is none, and no record holds it."""
    numbers = msgspec.structs.asdict(predicted).items()
    wild = [name for name, n in numbers if isinstance(n, int) and not 0 <= n < BYTES_END]
    unknown = predicted.unknown | dict.fromkeys(wild, "its files say a number that cannot be")
    return replace(
        predicted,
        **{name: 0 if name == "reclaimable_bytes" else None for name in wild},
        unknown=unknown,
    )


class Taken:
    """The most that a trial's model took in fact, from what its server said of it."""

    def __init__(self) -> None:
        self._most: dict[str, tuple[int, str]] = {}

    def see(self, call: CallRecord) -> None:
        self._note(call.server)

    def beside(self, fit: Fit | None, effective: Effective) -> Fit | None:
        """`fit` with the outcome, where anything is known of it."""
        self._note(effective.details)
        if fit is None or not self._most:
            return fit
        name = next(name for name, _ in PEAKS if name in self._most)
        peak, of = self._most[name]
        return replace(fit, peak_bytes=peak, peak_of=of)

    def _note(self, said: dict[str, Any]) -> None:
        for name, what in PEAKS:
            found = whole_number(said.get(name))
            if found and found > self._most.get(name, (0, ""))[0]:
                by = said.get("memory_process_of") if "process" in name else None
                of = f"{what} ({one_line(by, 60)})" if isinstance(by, str) else what
                self._most[name] = found, of


def free_memory(predicted: Footprint) -> Free:
    """Of the GPUs that this process may use, or of the machine. Without a GPU a model goes into the
    machine's memory, whatever it would rather have."""
    from harness.devices import free_memory as all_memory
    from harness.devices import host_memory

    if predicted.device == "host":
        return _of_host(host_memory())
    *gpus, host = all_memory()
    if not gpus:
        return _of_host(host, "no GPU is to be had")
    used = gpus if predicted.spread else gpus[:1]
    known = [one.free_bytes for one in used]
    made_up = [f"{one.source}, not measured" for one in used if one.source != "nvml"]
    return Free(
        device=",".join(one.device for one in used),
        bytes_=None if None in known else sum(size or 0 for size in known),
        note="; ".join([*made_up[:1], *filter(None, (one.reason for one in used))]),
    )


def _of_host(host: DeviceMemory, note: str = "") -> Free:
    limited = "as a cgroup allows" if host.source == "cgroup" else ""
    return Free(device="host", bytes_=host.free_bytes, note=note or limited or host.reason)


def amount(size_bytes: int | float) -> str:
    """`14.9 GiB`, `74.6 MiB`."""
    for unit, factor in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if abs(size_bytes) >= factor:
            return f"{_digits(size_bytes / factor)} {unit}"
    return f"{_digits(size_bytes / 2**10)} KiB"


def _digits(value: float) -> str:
    """Three of them, and never an exponent: 1010 of a unit are fewer than one of the next."""
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def _free(predicted: Footprint, guard: GuardSpec, ask: Ask) -> Free:
    if guard.free_bytes is not None:
        return Free(device="declared", bytes_=guard.free_bytes)
    if why := predicted.unknown.get("device"):
        return Free(device="", bytes_=None, note=why)
    return ask(predicted)


def _parts(predicted: Footprint) -> str:
    named = {
        "weights": predicted.weights_bytes,
        "keys and values": predicted.kv_bytes,
        "allowance": predicted.overhead_bytes,
    }
    return ", ".join(f"{name} {amount(size)}" for name, size in named.items() if size)


def _where(free: Free) -> str:
    words = {"host": "memory of the machine", "declared": "declared by guard.free_bytes"}
    where = words.get(free.device, free.device)
    return f"{where}; {free.note}" if free.note else where
