"""`cprofile`: every call of a Python function, counted and timed, in an iteration of its own.

Only the thread that runs the scenario is seen: the reactor is a native thread, whose work shows as
time in which the event loop waits. Profiling makes Python calls several times dearer, so the
figures say where time goes, and never how much it is without the profiler.
"""

from __future__ import annotations

import cProfile
import io
import marshal
import pstats
from typing import Any

from harness.protocols import Observation
from harness.schema import MetricValue
from harness_instruments.options import CProfileOptions

__all__ = ["CProfile"]


class CProfile:
    """The instrument `cprofile`."""

    perturbing = True

    def __init__(self, options: CProfileOptions) -> None:
        self._options = options
        self._profile: cProfile.Profile | None = None

    def open(self) -> None:
        pass

    def start(self) -> None:
        self._profile = cProfile.Profile()
        self._profile.enable()

    def stop(self) -> Observation:
        profile, self._profile = self._profile, None
        if profile is None:
            return Observation(unknown={"cprofile": "stopped without having been started"})
        profile.disable()
        text = io.StringIO()
        stats: Any = pstats.Stats(profile, stream=text)
        whole = marshal.dumps(stats.stats)
        # The table is for reading, perhaps by others: without our folders' names.
        stats.strip_dirs().sort_stats(self._options.sort).print_stats(self._options.top)
        return Observation(
            metrics=(
                MetricValue(name="cprofile.calls", value=stats.total_calls, unit="calls"),
                MetricValue(name="cprofile.functions", value=len(stats.stats), unit="functions"),
                MetricValue(name="cprofile.total_ms", value=stats.total_tt * 1e3, unit="ms"),
            ),
            artifacts=(
                ("profile.pstats", whole),
                ("profile.txt", text.getvalue().lstrip()),
            ),
        )

    def close(self) -> None:
        if self._profile is not None:
            self._profile.disable()
            self._profile = None
