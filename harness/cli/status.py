"""What `harness` exits with: listed in docs/cli.md; what leads to which, in docs/robustness.md."""

from __future__ import annotations

import signal
from typing import Final

__all__ = ["BUG", "DONE", "INVALID", "MEANINGS", "MISTAKE", "after_signal"]

DONE: Final = 0
BUG: Final = 1
MISTAKE: Final = 2
INVALID: Final = 4


def after_signal(number: int) -> int:
    """What a shell reports of a program that this signal ended: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number


MEANINGS: Final = {
    DONE: "done, also with a warning, and when whoever reads our output has read enough",
    BUG: "a bug of ours or of a plugin",
    MISTAKE: "a mistake, or a refusal of the system's, that the message explains",
    INVALID: "the run's verdict is invalid",
    129: "hung up (SIGHUP)",
    after_signal(signal.SIGINT): "interrupted (Ctrl-C)",
    after_signal(signal.SIGTERM): "terminated (SIGTERM)",
}
"""In the order in which they are listed."""
