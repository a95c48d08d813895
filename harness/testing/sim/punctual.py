"""How late the truth server's sends were, and what made them late.

A log may hold many millions of rows, and the server that wrote it must not grow: it is read in
blocks, twice, and what is kept of it is a histogram (bins of 1 %, so that quantiles are off by half
of that; the extremes are exact).

Not all lateness is the server's doing. Where more is due at an instant than one core can send, the
last of it goes out late whoever sends it. So the log's own schedule is run through an ideal sender
that is never interrupted and needs for each send what a send needed here when one followed right on
another (the median). How late that one is, is *forced*; what is more than that is *own*: waiting
for a core, waking up, reading requests in between, and answers that were made too late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from harness.testing.sim.draft import TIMED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.void]

__all__ = ["LATE_NS", "punctuality"]

LATE_NS: Final = 1_000_000
LATE_SHOWN: Final = 100
PER_OCTAVE: Final = 64
OCTAVES: Final = 50
"""Up to 13 days."""
SEND_NS: Final = 5_000
"""Of one send, where none was seen to follow right on another."""


def punctuality(rows: Rows | Callable[[], Iterable[Rows]]) -> dict[str, Any]:
    """Of the sends that a law of time governs; all in ns. `rows`: the log's (log.row_type()), or
    what gives them in blocks, in order, as often as it is called.

    Streams that a client's full socket held up are counted apart, in `held_up`.
    """
    blocks: Callable[[], Iterable[Rows]] = rows if callable(rows) else lambda: (rows,)
    held, step = _first_pass(blocks())
    return _second_pass(blocks(), held, step.quantile(0.5) if step.n else SEND_NS)


def _first_pass(blocks: Iterable[Rows]) -> tuple[NDArray[np.int64], Spectrum]:
    """Requests whose client read too slowly, and how long one send takes behind another."""
    import numpy as np

    held = np.empty(0, np.int64)
    step = Spectrum()
    for rows in blocks:
        held = np.union1d(held, rows["serial"][rows["tries"] > 1])
        behind = rows["due_ns"][1:] <= rows["before_ns"][:-1]
        step.add(np.diff(rows["before_ns"])[behind])
    return held, step


def _second_pass(blocks: Iterable[Rows], held: NDArray[np.int64], send_ns: float) -> dict[str, Any]:
    import numpy as np

    late, forced, own = Spectrum(), Spectrum(), Spectrum()
    held_up = over = forced_over = 0
    shown: list[list[int]] = []
    free_ns = -np.inf
    for rows in blocks:
        rows = rows[np.argsort(rows["due_ns"], kind="stable")]
        began, free_ns = _ideal(rows["due_ns"], send_ns, free_ns)
        timed = np.isin(rows["kind"], TIMED)
        counted = timed & ~np.isin(rows["serial"], held)
        held_up += int(timed.sum() - counted.sum())
        due = rows["due_ns"][counted]
        by = rows["before_ns"][counted] - due
        must = np.minimum(by, began[counted] - due)
        late.add(by)
        forced.add(must)
        own.add(by - must)
        bad = by > LATE_NS
        over += int(bad.sum())
        forced_over += int((must > LATE_NS).sum())
        for row, ns in zip(rows[counted][bad][: LATE_SHOWN - len(shown)], by[bad], strict=False):
            shown.append([int(row["serial"]), int(row["index"]), int(ns)])
    return {
        "sends": late.n,
        "held_up": held_up,
        **late.figures(""),
        "send_ns": round(send_ns),
        **forced.figures("forced_"),
        **own.figures("own_"),
        "late": {"bound_ns": LATE_NS, "sends": over, "forced": forced_over, "first": shown},
    }


def _ideal(
    due_ns: NDArray[np.int64], send_ns: float, free_ns: float
) -> tuple[NDArray[np.float64], float]:
    """When a sender that is never kept from it begins each of these, and when it is done. One
    begins when it is due and the one before it is out."""
    import numpy as np

    if not len(due_ns):
        return np.empty(0), free_ns
    before = send_ns * np.arange(len(due_ns))
    began = np.maximum.accumulate(np.maximum(due_ns, free_ns) - before) + before
    return began, float(began[-1]) + send_ns


class Spectrum:
    """A histogram of times in ns."""

    def __init__(self) -> None:
        import numpy as np

        self.n = 0
        self.max_ns = 0
        self._bins = np.zeros(PER_OCTAVE * OCTAVES, np.int64)

    def add(self, values: NDArray[Any]) -> None:
        import numpy as np

        if not len(values):
            return
        self.n += len(values)
        self.max_ns = max(self.max_ns, round(values.max()))
        at = (PER_OCTAVE * np.log2(np.maximum(values, 1))).astype(np.int64)
        at = np.minimum(at, len(self._bins) - 1)
        self._bins += np.bincount(at, minlength=len(self._bins))

    def quantile(self, q: float) -> float:
        """The middle of its bin. There must be values."""
        import numpy as np

        at = int(np.searchsorted(np.cumsum(self._bins), q * self.n, side="left"))
        return float(min(2 ** ((at + 0.5) / PER_OCTAVE), self.max_ns)) if at else 0.0

    def figures(self, prefix: str) -> dict[str, int]:
        if not self.n:
            return {}
        quantiles = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
        found = {f"{prefix}{name}_ns": round(self.quantile(q)) for name, q in quantiles.items()}
        return found | {f"{prefix}max_ns": self.max_ns}
