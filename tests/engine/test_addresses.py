"""Addresses in a spec are checked before anything is written: they end up in every record."""

from __future__ import annotations

import pytest

from harness.engine import spec_from
from harness.engine.plan import make_plan
from harness.errors import SpecError

SECRET = "http://me:hunter2@127.0.0.1:1"
GOOD = "http://127.0.0.1:1"


def spec(url=None, **arms):
    raw = {"backend": {"name": "scripted"}, "scenario": {"name": "asking"}}
    if url is not None:
        raw["backend"]["url"] = url
    if arms:
        raw["arms"] = {name: {"backend": {"url": its}} for name, its in arms.items()}
    return spec_from(raw)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        (spec(SECRET), "$.backend.url"),
        (spec([GOOD, SECRET]), "$.backend.url[1]"),
        (spec(f"{GOOD}/?key=hunter2"), "$.backend.url"),
        (spec(GOOD, a=GOOD, b=SECRET), "$.arms.b.backend.url"),
        (spec(SECRET, a=GOOD, b=GOOD), "$.backend.url"),
        (spec("http://127.0.0.1:99999"), "$.backend.url"),
        (spec("ftp://hunter2"), "$.backend.url"),
    ],
)
def test_an_address_that_cannot_be_recorded_is_refused(wrong, where, host):
    with pytest.raises(SpecError) as caught:
        make_plan(wrong, host)
    assert caught.value.where == where
    assert "hunter2" not in str(caught.value)


def test_nothing_is_written_before_the_refusal(execute):
    with pytest.raises(SpecError, match="no credentials"):
        execute({"backend": {"name": "scripted", "url": SECRET}})


def test_a_backend_is_given_whole_addresses(host):
    plan = make_plan(spec(["127.0.0.1:1", "https://h/v1/"]), host)
    assert plan.trials[0].arm.backend_config.urls == ("http://127.0.0.1:1", "https://h/v1")
