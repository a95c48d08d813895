"""What a latency's distribution is drawn from: its values, arm by arm; their cumulative shares; and
bins for their histogram. TTFT, and the gaps between tokens where every one of them is known to be
one; otherwise of the gaps between chunks, and called so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness.metrics import CALL_METRICS, call_metric
from harness.report.plots.layout import PANELS_MAX
from harness.report.plots.source import Key, Sample, Source
from harness.report.plots.words import counted, metric_label, plural
from harness.statistics import NEEDED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "QUANTILES",
    "Bars",
    "Curve",
    "Quantity",
    "Values",
    "bars",
    "caption_of",
    "ecdf",
    "is_wide",
    "quantities",
    "short_name",
]

STEPS_MAX: Final = 400
TAIL_STEPS: Final = 60
WIDE: Final = 25.0
"""Largest value / median from which on an axis is logarithmic."""
BINS_MAX: Final = 48
QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class Values(Struct, frozen=True, kw_only=True):
    """One latency of one arm and cell."""

    key: Key
    values: Any
    """float64, in the order of the records."""
    trials: dict[int, Any]
    calls: int
    unit: str
    """Of n: `calls`, `gaps`."""

    @property
    def n_said(self) -> str:
        said = counted(len(self.values), self.unit, len(self.trials) or 1)
        return said if self.unit == "call" else f"n = {plural(len(self.values), self.unit)}"


class Curve(Struct, frozen=True, kw_only=True):
    """An ECDF as it is drawn: at `x` it rises to `share`."""

    x: Any
    share: Any
    marks: dict[str, float]
    """Percentile → where it is; only those that n carries."""


class Bars(Struct, frozen=True, kw_only=True):
    """Histograms of several samples over the same bins."""

    edges: Any
    counts: tuple[Any, ...]
    beyond: tuple[int, ...]
    """Values of each above the last edge."""
    log: bool


def ecdf(values: NDArray[np.float64]) -> Curve:
    """Shares of (n,) values at or below each. Of many, every k-th step and all of both tails."""
    import numpy as np

    from harness._native import kernels

    x = np.sort(np.asarray(values, dtype=np.float64))
    share = np.arange(1, x.size + 1) / x.size
    given = {name: q for name, q in QUANTILES.items() if x.size >= NEEDED.get(name, 2)}
    found = kernels.quantiles(x, np.array(list(given.values()))) if given else np.zeros(0)
    kept = _kept(x.size)
    return Curve(x=x[kept], share=share[kept], marks=dict(zip(given, found.tolist(), strict=True)))


def _kept(n: int) -> NDArray[np.int64]:
    import numpy as np

    if n <= STEPS_MAX:
        return np.arange(n)
    middle = np.linspace(0, n - 1, STEPS_MAX - 2 * TAIL_STEPS).round().astype(np.int64)
    ends = np.concatenate((np.arange(TAIL_STEPS), np.arange(n - TAIL_STEPS, n)))
    return np.unique(np.concatenate((middle, ends)))


def is_wide(parts: Sequence[NDArray[np.float64]]) -> bool:
    """Whether only a logarithmic axis shows body and tail together."""
    import numpy as np

    both = np.concatenate([np.asarray(part) for part in parts])
    if both.size == 0 or both.min() <= 0:
        return False
    middle = np.median(both)
    return bool(both.max() > WIDE * middle or middle > WIDE * both.min())


def bars(parts: Sequence[NDArray[np.float64]]) -> Bars:
    """Bins of Freedman and Diaconis for all of them together, of equal width (logarithmic: of equal
    ratio), up to where 0.5 % of the values lie beyond, which are counted apart."""
    import numpy as np

    both = np.sort(np.concatenate([np.asarray(part, dtype=np.float64) for part in parts]))
    log = is_wide(parts)
    scaled = np.log(both) if log else both
    low, high = scaled[0], scaled[-1]
    cut = scaled[min(int(0.995 * scaled.size), scaled.size - 1)]
    capped = scaled.size >= 200 and not log and high - low > 1.5 * (cut - low)
    high = cut if capped else high
    quarter, three = np.quantile(scaled, [0.25, 0.75])
    width = 2 * (three - quarter) / scaled.size ** (1 / 3)
    count = 1 if width <= 0 else BINS_MAX
    if width * BINS_MAX > high - low:  # a width of next to nothing would overflow the ratio
        count = max(int(np.ceil((high - low) / width)), 1)
    if high <= low:  # all of them equal
        pad = max(abs(low), 1.0) * 0.05
        low, high, count = low - pad, high + pad, 3
    edges = np.linspace(low, high, count + 1)
    edges = np.exp(edges) if log else edges
    # The ends are the extremes themselves: no rounding may put a value outside.
    edges[0] = min(edges[0], both[0])
    edges[-1] = edges[-1] if capped else max(edges[-1], both[-1])
    counts = tuple(np.histogram(part, bins=edges)[0] for part in parts)
    beyond = tuple(int((np.asarray(part) > edges[-1]).sum()) for part in parts)
    return Bars(edges=edges, counts=counts, beyond=beyond, log=log)


class Quantity(Struct, frozen=True, kw_only=True):
    """What is distributed."""

    name: str
    label: str
    words: str
    note: str
    found: dict[Key, Values]


def _of_calls(source: Source, name: str) -> Quantity:
    import numpy as np

    found = {}
    for key, sample in source.samples.items():
        series = sample.series.get(name)
        if series is not None and len(series.values) > 1:
            by_trial = {t: np.array(v) for t, v in series.by_trial().items()}
            values = np.array(series.values)
            found[key] = Values(
                key=key, values=values, trials=by_trial, calls=len(values), unit="call"
            )
    label = metric_label(name, call_metric(name).unit)
    return Quantity(
        name=name, label=label, words=label.rpartition(",")[0] or label, note="", found=found
    )


def _of_gaps(source: Source) -> Quantity:
    samples = {k: s for k, s in source.samples.items() if len(s.gaps_ms) > 1}
    unknown = {k: s for k, s in samples.items() if s.itl_unknown}
    found = {
        key: Values(
            key=key, values=sample.gaps_ms.astype("f8"), trials={},
            calls=sample.calls_with_gaps, unit="gap",
        )
        for key, sample in samples.items()
    }  # fmt: skip
    zeros = _zeros(found)
    if not unknown:
        return Quantity(
            name="itl", label="inter-token latency (ITL), ms", words="ITL",
            note=f" Each content chunk is known to hold one token.{zeros}", found=found,
        )  # fmt: skip
    return Quantity(
        name="inter_chunk", label="inter-chunk latency, ms", words="Inter-chunk latency",
        note=f" Gaps between chunks, and not between tokens: {_why(unknown)}.{zeros}", found=found,
    )  # fmt: skip


def _zeros(found: dict[Key, Values]) -> str:
    total = sum(len(one.values) for one in found.values())
    zeros = sum(int((one.values == 0).sum()) for one in found.values())
    if not zeros:
        return ""
    return f" {zeros:,} of {total:,} are 0: chunks that came in one read share its stamp."


def _why(unknown: dict[Key, Sample]) -> str:
    reasons: dict[str, int] = {}
    for sample in unknown.values():
        for reason, count in sample.itl_unknown.items():
            reasons[reason] = reasons.get(reason, 0) + count
    worst = max(reasons, key=lambda reason: reasons[reason])
    return f"of {plural(sum(reasons.values()), 'call')} that is not known (such as: {worst})"


def quantities(source: Source) -> Iterator[Quantity]:
    ours = {metric.name for metric in CALL_METRICS}
    wanted = [name for name in source.wanted if name in ours] if source.wanted else [source.first]
    for name in wanted:
        yield _of_calls(source, name)
    if not source.wanted:
        yield _of_gaps(source)


def short_name(name: str) -> str:
    return {"ttft_ms": "ttft", "ttft_from_due_ms": "ttft"}.get(name, name)


def caption_of(source: Source, of: Quantity, what: str, more: str) -> str:
    parts = [
        f"{source.label(key)}: n = {plural(len(one.values), one.unit)}"
        + (f" of {plural(one.calls, 'call')}" if one.unit == "gap" else "")
        for key, one in list(of.found.items())[:PANELS_MAX]
    ]
    rest = ", …" if len(of.found) > PANELS_MAX else ""
    return (
        f"{what} of {of.words} in ms, over measured calls that are ok. {'; '.join(parts)}{rest}."
        f"{more}{of.note}"
    )
