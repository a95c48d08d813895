"""One browser for all tests of a session; a page of its own for each."""

from __future__ import annotations

import os

import pytest

from tests.browser.devtools import MISSING, Browser, Tab, find


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    binary = find()
    if binary is None and os.environ.get("CI"):
        pytest.fail(MISSING)
    if binary is None:
        pytest.skip(MISSING)
    made = Browser(binary, tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


@pytest.fixture
def tab(browser):
    made = Tab(browser)
    yield made
    made.close()
