"""What a tool said afterwards: each request's TTFT, where it put the first token, and its doubts.

Only the tools' own exports are read, never our idea of what they should have measured:

ours      the run folder: `first_token_ns − sent_ns` of each measured call that is ok
aiperf    profile_export.jsonl: the metric time_to_first_token; the first token is at
          `request_start_ns` (wall clock) + TTFT, because no other absolute instant is exported
guidellm  the JSON report: time_to_first_token_ms; `first_token_iteration` (time.time())
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Reported", "Said", "alike", "read", "read_aiperf", "read_guidellm"]

NOTICED_MAX = 6


class Reported(NamedTuple):
    """One request as a tool reports it."""

    key: str
    """How it is called in the server's log: `BOOT-SERIAL`, or its X-Request-ID."""
    ttft_ns: float
    first_token_ns: int | None
    """CLOCK_MONOTONIC, or CLOCK_REALTIME where `Said.realtime`."""


class Said(NamedTuple):
    requests: list[Reported]
    realtime: bool
    """Whether the instants are of the wall clock."""
    failed: int
    ttft_p50_ns: float | None
    """As the tool's own summary has it."""
    noticed: list[str]
    """Its own warnings."""


def read(tool: str, folder: Path) -> Said | None:
    """None: it left nothing that can be read, or it is the bare loop, which reports nothing."""
    try:
        if tool == "ours":
            return _read_ours(folder / "run")
        if tool == "aiperf":
            return read_aiperf(folder / "artifacts", _text(folder / "said.txt"))
        if tool == "guidellm":
            return read_guidellm(json.loads(_text(folder / "report.json")))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    return None


def _read_ours(folder: Path) -> Said:
    from harness.errors import HarnessError
    from harness.schema import CallRecord
    from harness.store import load_run

    try:
        run = load_run(folder)
    except HarnessError as error:
        raise ValueError(str(error)) from None
    found, failed = [], 0
    for call in run.records():
        if not isinstance(call, CallRecord) or call.phase != "measured":
            continue
        at = call.instants
        if call.status != "ok" or at.first_token_ns is None or at.sent_ns is None:
            failed += 1
            continue
        name = str(call.server.get("id", "")).partition("-sim-")[2]
        found.append(Reported(name, at.first_token_ns - at.sent_ns, at.first_token_ns))
    summary = json.loads(_text(folder / "summary.json"))
    caveats = summary["verdict"]["caveats"]
    # `simulated` and `single-launch` are said of what was asked for, not of how it went.
    of_plan = ("simulated", "single-launch", "no-selfcheck")
    noticed = [f"{c['code']}: {c['message']}" for c in caveats if c["code"] not in of_plan]
    return Said(found, False, failed, _our_median_ns(summary), _few(noticed))


def _our_median_ns(summary: dict[str, Any]) -> float | None:
    found = (m for arm in summary["arms"] for m in arm["metrics"] if m["name"] == "ttft_ms")
    median_ms = next((metric["median"] for metric in found), None)
    return None if median_ms is None else float(median_ms) * 1e6


def read_aiperf(folder: Path, said: str) -> Said:
    """From its artifact directory and what it printed. Raises OSError, ValueError, KeyError."""
    found, failed = [], 0
    for line in _text(folder / "profile_export.jsonl").splitlines():
        record = json.loads(line)
        about, metrics = record["metadata"], record["metrics"]
        if about["benchmark_phase"] != "profiling":
            continue
        if record.get("error") or "time_to_first_token" not in metrics:
            failed += 1
            continue
        ttft_ns = _ns(metrics["time_to_first_token"])
        at_ns = int(about["request_start_ns"]) + round(ttft_ns)
        found.append(Reported(about["x_request_id"], ttft_ns, at_ns))
    summary = json.loads(_text(folder / "profile_export_aiperf.json"))
    ttft = summary.get("time_to_first_token")
    median_ns = _ns({"value": ttft["p50"], "unit": ttft["unit"]}) if ttft else None
    titles = re.findall(r"^╭─+ ([^─╭]*Warning[^─╭]*) ─+╮\s*$", said, re.MULTILINE)
    logged = re.findall(r" WARNING +(.*)$", said, re.MULTILINE)
    return Said(found, True, failed, median_ns, _few([*titles, *logged]))


def _ns(metric: dict[str, Any]) -> float:
    scale = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9, "sec": 1e9}[metric["unit"]]
    return float(metric["value"]) * scale


def read_guidellm(report: dict[str, Any]) -> Said:
    """Raises KeyError, TypeError, IndexError where it is not such a report."""
    benchmark = report["benchmarks"][0]
    requests = benchmark["requests"]
    found, failed = [], len(requests.get("errored") or ()) + len(requests.get("incomplete") or ())
    ttft = benchmark["metrics"]["time_to_first_token_ms"]["successful"]
    count = (ttft or {}).get("count") or 0
    # The list holds the warm-up as well, and does not say which they are: the first that began.
    by_start = sorted(requests["successful"], key=lambda one: one["request_start_time"])
    for one in by_start[len(by_start) - count :]:
        at_s = one["info"]["timings"]["first_token_iteration"]
        if one["time_to_first_token_ms"] is None or at_s is None:
            failed += 1
            continue
        name = str(one["response_id"] or "").partition("-sim-")[2]
        found.append(Reported(name, one["time_to_first_token_ms"] * 1e6, round(at_s * 1e9)))
    median_ns = ttft["median"] * 1e6 if count else None
    noticed = [f"{one['code']}: {one['message']}" for one in benchmark.get("warnings") or ()]
    return Said(found, True, failed, median_ns, _few(noticed))


def _few(lines: Iterable[str]) -> list[str]:
    """Each once, printable and short."""
    seen: dict[str, str] = {}
    for line in lines:
        said = " ".join("".join(c if c.isprintable() else " " for c in line).split())
        seen.setdefault(alike(said), said)
    return [line[:160] for line in seen.values() if line][:NOTICED_MAX]


def alike(said: str) -> str:
    """The same for two sayings that differ in numbers and names alone."""
    return re.sub(r"\w*\d[\w.,]*", "#", said)


def _text(path: Path) -> str:
    return path.read_text(errors="replace")
