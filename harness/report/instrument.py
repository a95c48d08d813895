"""The instrument's own error, in one line, from the self-check that the run found."""

from __future__ import annotations

from harness.report.figures import number
from harness.schema import ClosedLoad, Manifest, SelfCheckLoad

__all__ = ["instrument_line"]


def instrument_line(manifest: Manifest) -> str | None:
    """None where there is no check, or where it does not speak of this run: it is made through the
    native transport."""
    found, spec = manifest.environment.selfcheck, manifest.spec
    if found is None or spec.transport == "portable":
        return None
    streams = spec.load.concurrency if isinstance(spec.load, ClosedLoad) else 1
    known = [one for one in found.loads if one.rate_tok_s and one.first_token_p99_ns is not None]
    if not known:
        return None
    one = _nearest(known, streams)
    error_us = number((one.first_token_p99_ns or 0.0) / 1e3, 2)
    plural = "" if one.streams == 1 else "s"
    return (
        f"instrument: first-token stamp error p99 {error_us} µs at {one.streams} stream{plural} "
        f"(selfcheck {found.at[:10]}, {found.mode}{'' if one.held else ', not held'})"
    )


def _nearest(known: list[SelfCheckLoad], streams: int) -> SelfCheckLoad:
    """The smallest load that is no smaller than the run's, else the largest: the error grows with
    the number of streams, and the line must not flatter."""
    ordered = sorted(known, key=lambda one: one.streams)
    return next((one for one in ordered if one.streams >= streams), ordered[-1])
