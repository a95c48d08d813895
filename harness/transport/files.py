"""How many connections there is room for, so that sockets do not take the last open file.

The rest of the process needs some too, in the middle of a run: the log, artifacts, a module that is
imported late, whatever a plugin opens. Without a bound, an open loop that meets a slow server would
take them all, and what then fails first is not a call.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["RESERVE", "connections_max", "open_files"]

RESERVE: Final = 32
"""Left for others once the transport is open. A run of each shipped spec was seen to open at most
20 from its start to its end, connections apart."""


def connections_max() -> int:
    """From now on, for one transport; 0 where the system sets no limit."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 0
    return max(1, soft - open_files() - RESERVE)


def open_files() -> int:
    """Descriptors of this process; a guess where it cannot be told."""
    try:
        return len(list(Path("/dev/fd").iterdir()))
    except OSError:
        return 16
