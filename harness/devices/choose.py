"""Which provider, and which of its devices a process is to use.

    HARNESS_GPU=nvml              NVML; the default
    HARNESS_GPU=none              as if there were no GPU
    HARNESS_GPU=replay:FILE       a recording
    HARNESS_GPU=synthetic:SPEC    made up (harness.devices.synthetic)

An index in CUDA_VISIBLE_DEVICES counts in CUDA's order, which NVML does not know: it is taken by
PCI address where CUDA_DEVICE_ORDER says so, and else CUDA is asked. Where neither helps, nothing
is guessed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from harness.devices.provider import Clock, Device, NoDevices, Provider
from harness.errors import SpecError

__all__ = ["Used", "check_source", "open_provider", "used_devices"]

VARIABLE: Final = "HARNESS_GPU"
KINDS: Final = ("nvml", "none", "replay", "synthetic")


class Used(Struct, frozen=True, kw_only=True):
    """Devices that a process may use."""

    devices: tuple[Device, ...] = ()
    unknown: str = ""
    """Why they cannot be told; `devices` is empty then."""
    hidden: bool = False
    """There is none to use: that is known."""
    by: str = ""
    """What said so: `all`, `CUDA_VISIBLE_DEVICES`, …"""


def check_source(named: str | None = None) -> None:
    """SpecError for a name (None: HARNESS_GPU) that `open_provider` would refuse, or a file that is
    not there. Opens nothing."""
    kind, rest, where = _parts(named)
    if kind == "synthetic":
        from harness.devices.synthetic import parse_synthetic

        parse_synthetic(rest, where)
    if kind == "replay" and not Path(rest).expanduser().is_file():
        raise SpecError(f"there is no file {rest!r}", where=where, remedy="replay:FILE")


def open_provider(named: str | None = None, *, clock: Clock | None = None) -> Provider:
    """By `named`, or else by HARNESS_GPU. NoDevices where there is none; SpecError for a name that
    means nothing."""
    kind, rest, where = _parts(named)
    if kind == "none":
        raise NoDevices(f"{where}=none")
    if kind == "replay":
        from harness.devices.replay import Replay

        return Replay(Path(rest).expanduser(), clock=clock)
    if kind == "synthetic":
        from harness.devices.synthetic import Synthetic, parse_synthetic

        made = Synthetic(parse_synthetic(rest, where), clock=clock)
        if not made.devices():
            raise NoDevices("synthetic: there is no GPU")
        return made
    from harness.devices.nvml import Nvml

    return Nvml(clock=clock)


def _parts(named: str | None) -> tuple[str, str, str]:
    """(kind, what follows its colon, where it was said)."""
    given = os.environ.get(VARIABLE, "") if named is None else named
    where = VARIABLE if named is None else "source"
    kind, _, rest = given.strip().partition(":")
    kind = kind or "nvml"
    if kind not in KINDS or (kind == "replay" and not rest):
        remedy = "nvml, none, replay:FILE or synthetic:KEY=VALUE,…"
        raise SpecError(f"{given!r} is no source of GPU figures", where=where, remedy=remedy)
    return kind, rest, where


def used_devices(
    provider: Provider,
    visible: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cuda: Callable[[str | None], tuple[tuple[str, ...], str]] | None = None,
) -> Used:
    """Those that a process sees.

    visible     a value of CUDA_VISIBLE_DEVICES; None: what `environ` has
    environ     None: this process's
    cuda        what asks CUDA for its order (harness.devices.cuda); not asked of a GPU that is
                made up
    """
    environ = os.environ if environ is None else environ
    devices = provider.devices()
    visible = environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
    if visible is None:
        return Used(devices=devices, by="all")
    names = [one.strip() for one in visible.split(",")]
    if not visible.strip() or names[0] == "-1":
        return Used(unknown=f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU", hidden=True)
    by = f"CUDA_VISIBLE_DEVICES={visible}"
    if any(one.startswith("MIG-") for one in names):
        return Used(unknown=f"{by} names a slice (MIG), which has no energy and power of its own")
    if all(one.isdecimal() for one in names):
        return _by_index(provider, devices, [int(one) for one in names], visible, environ, cuda)
    found = []
    for name in names:
        same = [one for one in devices if one.uuid.casefold().startswith(name.casefold())]
        if len(same) != 1 or not name.casefold().startswith("gpu-"):
            said = "no GPU" if not same else "no single GPU"
            return Used(unknown=f"{by}: {name!r} is the UUID of {said} here")
        found.append(same[0])
    return Used(devices=_once(found), by=by)


def _by_index(
    provider: Provider,
    devices: Sequence[Device],
    indices: list[int],
    visible: str,
    environ: Mapping[str, str],
    cuda: Callable[[str | None], tuple[tuple[str, ...], str]] | None,
) -> Used:
    by = f"CUDA_VISIBLE_DEVICES={visible}"
    # CUDA stops at the first that is not there; a run that asks for it is wrong, and is told so.
    wrong = [one for one in indices if one >= len(devices)]
    if wrong:
        return Used(unknown=f"{by}: there is no GPU {wrong[0]}, but {len(devices)}")
    in_order = environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or provider.source == "synthetic"
    if in_order or len(set(indices)) == len(devices):
        return Used(devices=_once([devices[one] for one in indices]), by=by)
    if provider.source == "nvml":
        uuids, why = (cuda or _ask_cuda)(visible)
        same = {one.uuid.casefold(): one for one in devices}
        if uuids and all(one.casefold() in same for one in uuids):
            asked = _once([same[one.casefold()] for one in uuids])
            return Used(devices=asked, by=f"{by}, by CUDA's own order")
    else:
        why = "a recording knows no order of CUDA's"
    remedy = "set CUDA_DEVICE_ORDER=PCI_BUS_ID, or give UUIDs"
    return Used(unknown=f"{by}: which GPU that is cannot be told ({why}); {remedy}")


def _ask_cuda(visible: str | None) -> tuple[tuple[str, ...], str]:
    from harness.devices.cuda import cuda_uuids

    return cuda_uuids(visible)


def _once(devices: Sequence[Device]) -> tuple[Device, ...]:
    return tuple({one.uuid: one for one in devices}.values())
