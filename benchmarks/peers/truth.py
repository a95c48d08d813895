"""The server's log, and a tool's report beside it.

True TTFT = the instant right before the first send with content − the arrival of the request by the
kernel's stamp. Stamp error = where the tool put the first token − that same instant, both on
CLOCK_MONOTONIC; wall-clock stamps are mapped by the offset that the server logged.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.peers.read import Said

if TYPE_CHECKING:
    from harness.testing.sim.log import SimLog

__all__ = ["Answer", "Joined", "Truth", "join", "read_truth", "truth_of"]

CONTENT = (2, 3)
"""Kinds of sends: reasoning, content."""


class Answer(NamedTuple):
    serial: int
    arrived_ns: int
    first_content_ns: int
    tokens: int


class Truth(NamedTuple):
    answers: dict[str, Answer]
    """By every name that a client may know: BOOT-SERIAL, and X-Request-ID."""
    arrivals: list[tuple[int, int | None]]
    """When each request of any kind arrived, and how many tokens it got; None: not for text."""
    chunks: int
    """Content chunks sent, to anybody."""
    offset_ns: int
    """CLOCK_REALTIME − CLOCK_MONOTONIC."""
    stepped: bool
    """The wall clock was set meanwhile: its stamps cannot be mapped."""
    lateness_p99_ns: float | None
    late_share: float | None
    """Of sends that began more than 1 ms after they were due."""
    realtime: bool
    """Its sending thread had real-time priority."""
    held_up: int
    """Sends that a full socket held up: the client did not read."""


class Joined(NamedTuple):
    reported_ns: list[float]
    true_ns: list[float]
    stamp_error_ns: list[float]
    """Empty where the tool exports no instants, or they cannot be mapped."""
    unmatched: int


def read_truth(folder: Path) -> Truth:
    """Raises StoreError if there is no log."""
    from harness.testing.sim.log import REQUESTS, read_log

    lines = (folder / REQUESTS).read_bytes().split(b"\n")[:-1]
    clocks = [found for found in map(json.loads, lines) if found["t"] == "clock"]
    return truth_of(read_log(folder), clocks)


def truth_of(log: SimLog, clocks: list[dict[str, Any]]) -> Truth:
    import numpy as np

    from harness.testing.sim.log import punctuality

    offset_ns = log.server["realtime_offset_ns"]
    rows = log.rows[np.isin(log.rows["kind"], CONTENT)]
    rows = rows[np.argsort(rows["before_ns"], kind="stable")]
    serials, first = np.unique(rows["serial"], return_index=True)
    begun = dict(zip(serials.tolist(), rows["before_ns"][first].tolist(), strict=True))
    answers = {}
    for serial, request in log.requests.items():
        if serial not in begun:
            continue
        tokens = request.get("output_tokens", 0)
        answer = Answer(serial, request["arrived_ns"], begun[serial], tokens)
        answers[f"{log.boot}-{serial}"] = answer
        if request.get("request_id"):
            answers[request["request_id"]] = answer
    arrivals = [(r["arrived_ns"], r.get("output_tokens")) for r in log.requests.values()]
    said = (log.end or {}).get("punctuality") or punctuality(log.rows)
    late = said["late"]["sends"] / said["sends"] if said["sends"] else None
    return Truth(
        answers=answers,
        arrivals=sorted(arrivals, key=lambda one: one[0]),
        chunks=len(rows),
        offset_ns=offset_ns,
        stepped=any(abs(c["realtime_offset_ns"] - offset_ns) > 10_000 for c in clocks),
        lateness_p99_ns=said.get("p99_ns"),
        late_share=late,
        realtime=bool(((log.end or {}).get("sender") or {}).get("realtime")),
        held_up=said["held_up"],
    )


def join(said: Said, truth: Truth) -> Joined:
    reported, true, errors = [], [], []
    mapped = not (said.realtime and truth.stepped)
    for request in said.requests:
        answer = truth.answers.get(request.key)
        if answer is None:
            continue
        reported.append(float(request.ttft_ns))
        true.append(float(answer.first_content_ns - answer.arrived_ns))
        if mapped and request.first_token_ns is not None:
            at_ns = request.first_token_ns - (truth.offset_ns if said.realtime else 0)
            errors.append(float(at_ns - answer.first_content_ns))
    return Joined(reported, true, errors, len(said.requests) - len(reported))
