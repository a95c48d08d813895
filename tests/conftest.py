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
    names = ("HARNESS_STATE_DIR", "HARNESS_CONFIG_DIR")
    before = {name: os.environ.pop(name, None) for name in (*names, "HARNESS_PRICES")}
    for name in names:
        os.environ[name] = str(tmp_path_factory.mktemp(name.lower()))
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
