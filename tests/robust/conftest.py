"""One truth server for all tests that only need somebody to answer."""

from __future__ import annotations

import sys

import pytest

from tests.sim.servers import sim

collect_ignore = ["stranger"]


def pytest_collection_modifyitems(items):
    if not sys.platform.startswith("linux"):
        for item in items:
            item.add_marker(pytest.mark.skip(reason="watches processes by pidfd: run on Linux"))


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with sim(tmp_path_factory.mktemp("sim") / "log", "--ttft", "2", "--gap", "1") as running:
        yield running
