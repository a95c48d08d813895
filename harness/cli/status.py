"""What `harness` exits with: listed in docs/cli.md; what leads to which, in docs/robustness.md."""

from __future__ import annotations

import signal
from typing import Final

__all__ = [
    "BUG",
    "DONE",
    "FOUND",
    "GATE_BUG",
    "GATE_MEANINGS",
    "GATE_MISTAKE",
    "INVALID",
    "MEANINGS",
    "MISTAKE",
    "SPENT",
    "after_signal",
]

DONE: Final = 0
BUG: Final = 1
FOUND: Final = 1
"""Of commands that were asked to look for something: it is there."""
MISTAKE: Final = 2
INVALID: Final = 4
SPENT: Final = 5
GATE_MISTAKE: Final = 64
GATE_BUG: Final = 70


def after_signal(number: int) -> int:
    """What a shell reports of a program that this signal ended: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number


MEANINGS: Final = {
    DONE: "done, also with a warning, and when whoever reads our output has read enough",
    BUG: "a bug of ours or of a plugin; or `audit`, `history --fail-on-step`, `prices --check` "
    "found something",
    MISTAKE: "a mistake, or a refusal of the system's, that the message explains",
    INVALID: "the run's verdict is invalid",
    SPENT: "the budget ended the run (`--budget-usd`): what was measured until then is kept",
    129: "hung up (SIGHUP)",
    after_signal(signal.SIGINT): "interrupted (Ctrl-C)",
    after_signal(signal.SIGTERM): "terminated (SIGTERM)",
}
"""In the order in which they are listed."""

GATE_MEANINGS: Final = {
    0: "comparable; with `--gate`, no regression",
    1: "regression: a metric became worse by its margin",
    2: "not enough data: neither a loss of the margin nor its absence is shown",
    3: "not comparable: the message names the conditions",
    GATE_MISTAKE: "a mistake, or a refusal of the system's",
    GATE_BUG: "a bug of ours or of a plugin",
}
"""Of `harness compare`, whose first four statuses are answers."""
