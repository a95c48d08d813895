"""What a run ends with: the commands that come next, as they can be typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.cli.shown import following
from tests.report.sweeps import sweep_run
from tests.store.builders import toy_run


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        (toy_run().summary, ["compare", "export"]),
        (sweep_run(trials=2, calls=1, arms=("only",)).summary, ["compare", "export"]),
        (sweep_run(trials=1, calls=1).summary, ["export"]),
        (replace(toy_run().summary, arms=toy_run().summary.arms[:1]), ["export"]),
        (replace(toy_run().summary, state="interrupted"), ["run"]),
    ],
    ids=["arms", "cells", "one trial each", "one arm", "cut short"],
)
def test_what_comes_next(summary, expected):
    said = list(following(summary, Path("runs/of mine")))
    assert [line.split()[0] for line in said] == expected
    assert all("'runs/of mine'" in line for line in said)
