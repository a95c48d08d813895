"""Names, numbers and counts as a figure shows them.

Names come from specs, servers and plugins. Here they lose what no font can draw and get line
breaks; that nothing in them is taken for markup is style.py's and svg.py's concern.
"""

from __future__ import annotations

import functools
import math
import re
import textwrap
from collections.abc import Sequence
from typing import Final

from harness.report.figures import number
from harness.text import one_line

__all__ = ["counted", "drawable", "fold", "metric_label", "plural", "spread", "tick"]

_MISSING: Final = "□"
_NAMES: Final = {
    "ttft_ms": "TTFT",
    "ttft_from_due_ms": "TTFT from due",
    "ttfa_ms": "time to first answer token",
    "e2e_ms": "E2E latency",
    "e2e_from_due_ms": "E2E latency from due",
    "tpot_ms": "TPOT",
    "throughput_tok_s": "throughput",
    "held_throughput_tok_s": "held throughput",
    "requests_per_s": "requests completed",
    "wall_ms": "wall time of an iteration",
    "decode_rate_client_tok_s": "decode rate (client)",
    "decode_rate_server_tok_s": "decode rate (server's)",
    "prefill_rate_tok_s": "prefill rate (server's)",
    "send_lag_ms": "send lag",
    "output_tokens": "output tokens of an iteration",
    "speedup": "speed-up",
    "efficiency": "parallel efficiency",
    "agents_wall_ms": "wall time, agents at once",
    "solo_wall_ms": "wall time, one after another",
    "slowdown_max": "slowdown of the slowest agent",
    "slowdown_mean": "mean slowdown of the agents",
    "jain": "Jain's fairness index",
    "load_balance_ratio": "load-balance ratio",
    "agents_throughput_tok_s": "throughput, agents at once",
    "solo_throughput_tok_s": "throughput, one after another",
    "queue_excess_ms": "queue residual, together − alone",
    "cost_usd": "cost of a call",
    "iteration_cost_usd": "cost of an iteration",
    "cost_usd_per_1k_output_tokens": "cost of 1,000 output tokens",
    "gpu_energy_j_per_request": "GPU energy of a request",
    "gpu_energy_j_per_token": "GPU energy of a token",
    "gpu_energy_j_per_correct": "GPU energy of a right answer",
    "cpu_energy_j_per_request": "CPU energy of a request",
    "cpu_energy_j_per_token": "CPU energy of a token",
    "cpu_energy_j_per_correct": "CPU energy of a right answer",
}


def metric_label(name: str, unit: str) -> str:
    """`TTFT, ms`: what the field calls it, with its unit; our own name where it has none."""
    said = _NAMES.get(name)
    if said is None:
        said = name.removesuffix(f"_{unit}").replace("_", " ") if unit else name
    unit = "µs" if unit == "us" else "" if unit == "1" else unit
    return drawable(f"{said}, {unit}" if unit else said)


def fold(text: str, width: int = 26, lines: int = 3) -> str:
    """In at most `lines` lines of `width`, broken where a name has joints, cut with an ellipsis."""
    line = drawable(one_line(text, 400))
    found: list[str] = [""]
    for piece in _pieces(line, width):
        if len(found[-1]) + len(piece.rstrip()) > width and found[-1]:
            found.append("")
        found[-1] += piece
        if len(found[-1].rstrip()) > width:
            found[-1:] = textwrap.wrap(found[-1], width) or [""]
    found = [one.strip() for one in found]
    if len(found) > lines:
        found = found[:lines]
        found[-1] = found[-1][: width - 1].rstrip() + "…"
    return "\n".join(found)


def _pieces(line: str, width: int) -> list[str]:
    """At blanks, commas and slashes; what is still too long, at any joint that it has."""
    pieces = re.findall(r"[^,/ ]*[,/ ]?", line)
    return [
        part
        for piece in pieces
        for part in ([piece] if len(piece) <= width else re.findall(r"[^=_:.-]*[=_:.-]?", piece))
        if part
    ]


def drawable(text: str) -> str:
    """With a box in place of what our font lacks: matplotlib would warn, and draw one too."""
    if text.isascii():
        return text
    known = _charmap()
    return "".join(c if c == "\n" or ord(c) in known else _MISSING for c in text)


@functools.cache
def _charmap() -> frozenset[int]:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    from harness.report.plots.style import FONT

    return frozenset(FT2Font(findfont(FONT)).get_charmap())


def tick(value: float, _: object = None) -> str:
    """A number on an axis: `0.05`, `1,500`, `2.5M`; no exponents, no mathematics."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else ""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:,.6g}M".replace("-", "−")
    if size >= 1e-4:
        text = f"{value:,.10g}"
    elif size >= 1e-9:
        text = f"{value:.{3 - math.floor(math.log10(size))}f}".rstrip("0")
    else:
        text = f"{value:.3g}"
    return text.replace("-", "−")


def plural(n: int, unit: str) -> str:
    """`1 call`, `64 calls`."""
    return f"{n:,} {unit}{'' if n == 1 else 's'}"


def counted(n: int, unit: str, trials: int) -> str:
    """`n = 64 calls of 2 trials`."""
    return f"n = {plural(n, unit)} of {plural(trials, 'trial')}"


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels on a line: as near to those wanted as a distance of `gap` between any two
    allows, within low … high where there is room for them all. In the order given."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    if len(order) > 1:
        gap = min(gap, (high - low) / (len(order) - 1))
    groups: list[tuple[float, int]] = []  # (mean of what its members want, how many)
    for index in order:
        centre, size = wanted[index], 1
        while groups and centre - gap * (size - 1) / 2 < (
            groups[-1][0] + gap * (groups[-1][1] - 1) / 2 + gap
        ):
            other, count = groups.pop()
            centre = (centre * size + other * count) / (size + count)
            size += count
        groups.append((centre, size))
    placed = [centre + gap * (i - (size - 1) / 2) for centre, size in groups for i in range(size)]
    if placed and placed[0] < low:
        placed = [max(at, low + gap * i) for i, at in enumerate(placed)]
    if placed and placed[-1] > high:
        count = len(placed)
        placed = [min(at, high - gap * (count - 1 - i)) for i, at in enumerate(placed)]
    found = [0.0] * len(wanted)
    for place, index in zip(placed, order, strict=True):
        found[index] = place
    return found


def shown(value: float | None, unit: str) -> str:
    """A figure with its unit, for a label."""
    return f"{number(value)} {'µs' if unit == 'us' else unit}".strip()
