"""pytest under a tool that makes all slow: no deadlines, fewer examples, garbage collected by hand.

    python -m tests.native.slowly [pytest options]

The collector walks over all there is whenever it likes, also from within one of our functions; what
a tool has against the interpreter's own objects would then be laid at our door.
"""

from __future__ import annotations

import gc
import sys

import pytest


class Slowly:
    """Sets Hypothesis up; as late as this, because pytest must be there before it is imported."""

    def pytest_configure(self):
        from hypothesis import HealthCheck, settings

        settings.register_profile(
            "slowly", deadline=None, max_examples=20, suppress_health_check=list(HealthCheck)
        )
        settings.load_profile("slowly")


if __name__ == "__main__":
    gc.disable()
    sys.exit(pytest.main(sys.argv[1:], plugins=[Slowly()]))
