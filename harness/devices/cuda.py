"""What CUDA itself says is behind an index: asked of the driver, in a process of its own.

CUDA numbers devices by speed unless CUDA_DEVICE_ORDER says otherwise, NVML by PCI address, and
only CUDA knows its own order. cuDeviceGetUuid makes no context and takes no memory. A process of
its own, because CUDA reads CUDA_VISIBLE_DEVICES once, when it begins.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import Any, Final

__all__ = ["cuda_uuids"]

WITHIN_S: Final = 20.0


def cuda_uuids(visible: str | None) -> tuple[tuple[str, ...], str]:
    """(UUID of each device, in CUDA's order, with CUDA_VISIBLE_DEVICES as given; why there are
    none). Takes a second where there is a driver."""
    env = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    if visible is not None:
        env["CUDA_VISIBLE_DEVICES"] = visible
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"from {__name__} import said; said()"],
            env=env,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return (), f"CUDA could not be asked: {type(error).__name__}"
    lines = done.stdout.split()
    if done.returncode == 0 and lines and lines[0] == "cuda":
        return tuple(lines[1:]), ""
    return (), done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "CUDA said nothing"


def listed(library: Any) -> tuple[str, ...]:
    """By libcuda. RuntimeError for a call that failed."""
    _check("cuInit", library.cuInit(0))
    count = ctypes.c_int()
    _check("cuDeviceGetCount", library.cuDeviceGetCount(ctypes.byref(count)))
    # The second version gives a MIG slice its own UUID; drivers before 11.4 have the first alone.
    ask = getattr(library, "cuDeviceGetUuid_v2", None) or library.cuDeviceGetUuid
    found = []
    for ordinal in range(count.value):
        device, uuid = ctypes.c_int(), (ctypes.c_ubyte * 16)()
        _check("cuDeviceGet", library.cuDeviceGet(ctypes.byref(device), ordinal))
        _check("cuDeviceGetUuid", ask(ctypes.byref(uuid), device))
        text = bytes(uuid).hex()
        parts = (text[:8], text[8:12], text[12:16], text[16:20], text[20:])
        found.append("GPU-" + "-".join(parts))
    return tuple(found)


def said() -> None:
    """In the process of its own: `cuda` and the UUIDs, or an error."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        text = " ".join(("cuda", *listed(ctypes.CDLL(name))))
    except (OSError, RuntimeError) as error:
        raise SystemExit(f"CUDA: {error}") from None
    sys.stdout.write(text)


def _check(call: str, code: int) -> None:
    if code != 0:
        raise RuntimeError(f"{call} gave {code}")
