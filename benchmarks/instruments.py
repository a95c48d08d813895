"""What our own instruments cost the work that they observe.

    python benchmarks/instruments.py [PAIRS]

A Python function that keeps one core busy is run in pairs, with the instrument and without, in
turns; printed are the median of the pairs' ratios of wall time (1.00: costs nothing) and of the
middle half of them, and the CPU time that the instrument says it took itself. Two kinds of work:
one that holds the interpreter's lock all the time, and one that calls a million small functions,
which is the worst that a tracing profiler can meet.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median, quantiles

from harness.host import Host
from harness.protocols import Instrument, InstrumentConfig

TRIED = [
    ("timing", {}),
    ("psutil", {}),
    ("psutil", {"interval_ms": 10}),
    ("sampler", {}),
    ("sampler", {"interval_ms": 1}),
    ("pyspy", {"nonblocking": True}),
    ("pyspy", {}),
    ("cprofile", {}),
]


def busy() -> int:
    total = 0
    for number in range(1_500_000):
        total += number & 7
    return total


def small(number: int) -> int:
    return number & 7


def calls() -> int:
    return sum(map(small, range(600_000)))


def made(host: Host, name: str, options: dict[str, object]) -> Instrument:
    entry = host.instruments.get(name)
    decoded = entry.decode_options(options, "$")
    return entry.factory(InstrumentConfig(options=decoded, arm="a", cell="base", trial=0, urls=()))


def timed(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def ratios(one: Instrument, work: Callable[[], object], pairs: int) -> tuple[list[float], float]:
    """Of wall times with / without; the median of what it says it used of a core."""
    found, shares = [], []
    one.open()
    for index in range(pairs):
        without_s = timed(work) if index % 2 else None
        one.start()
        with_s = timed(work)
        seen = one.stop()
        found.append(with_s / (without_s or timed(work)))
        shares += [m.value for m in seen.metrics if m.name.endswith(".sampling_cpu_share")]
    one.close()
    return found, median(shares) if shares else float("nan")


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    host = Host.load()
    print(f"{pairs} pairs each; ratio of wall time with / without, median (middle half)")
    print(f"{'instrument':<32} {'busy loop':>20} {'small calls':>20}  own share of a core")
    for name, options in TRIED:
        cells = []
        for work in (busy, calls):
            found, share = ratios(made(host, name, options), work, pairs)
            low, _, high = quantiles(found, n=4)
            cells.append(f"{median(found):.3f} ({low:.2f}–{high:.2f})")
        said = ", ".join(f"{key}={value}" for key, value in options.items())
        print(f"{f'{name} {said}':<32} {cells[0]:>20} {cells[1]:>20}  {share:.4f}", flush=True)


if __name__ == "__main__":
    main()
