"""For every test: nothing of the developer's own is read or written, nothing has a deadline."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A slow machine is no failure.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory):
    """A folder of the session's own for what outlives a run, also for the processes that tests
    start. It has no self-check."""
    before = os.environ.get("HARNESS_STATE_DIR")
    os.environ["HARNESS_STATE_DIR"] = str(tmp_path_factory.mktemp("state"))
    yield
    if before is None:
        del os.environ["HARNESS_STATE_DIR"]
    else:
        os.environ["HARNESS_STATE_DIR"] = before
