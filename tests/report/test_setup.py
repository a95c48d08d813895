"""The configuration: what differs first, what changes by itself apart, the rest once."""

from __future__ import annotations

import msgspec

from tests.report.rendering import document, markdown
from tests.store import builders
from tests.store.builders import FakeRun, manifest


def test_the_configuration_shows_first_what_the_arms_differ_in():
    effective = msgspec.structs.replace(builders.trial().effective, size_vram_bytes=0)
    found = {
        0: effective,
        1: msgspec.structs.replace(effective, context_length=4096, options={"num_ctx": 4096}),
        2: msgspec.structs.replace(effective, unknown={"layers_on_gpu": "not told"}),
        3: msgspec.structs.replace(effective, context_length=8192, options={"num_ctx": 4096}),
    }
    records = [
        msgspec.structs.replace(r, effective=found[r.trial]) if hasattr(r, "effective") else r
        for r in builders.records()
    ]
    differ, _, alike = markdown(FakeRun(manifest(state="finished"), records)).partition(
        "### What they have in common"
    )
    assert "| `options.num_ctx` | `512` | `4096` |" in differ
    assert "| `context_length` | `512` | `4096` (trial 1); `8192` (trial 3) |" in differ
    assert "| `layers_on_gpu` | — (trial 0); unknown: not told (trial 2) | — |" in differ
    assert '| `server_version` | `"1.2"` |' in alike
    assert "| `size_vram_bytes` | `0` |" in alike


def with_details(*details: dict) -> FakeRun:
    """The toy run, with these details in its four trials."""
    effective = builders.trial().effective
    records = [
        msgspec.structs.replace(
            r, effective=msgspec.structs.replace(effective, details=details[r.trial])
        )
        if hasattr(r, "effective")
        else r
        for r in builders.records()
    ]
    return FakeRun(manifest(state="finished"), records)


def test_what_changes_from_launch_to_launch_stands_apart_and_the_rest_once():
    same = {"meta": {"n_ctx_train": 4096, "licence": "x" * 500}, "threads": 2}
    run = with_details(*({**same, "load_s": s, "pid": int(s * 10)} for s in (0.1, 0.2, 0.3, 0.4)))
    text = markdown(run).partition("## Configuration")[2].partition("## How it was")[0]
    differ, launch, alike = text.split("### ")[1:]
    assert "Nothing: the arms had the same effective configuration." in differ
    assert "| `details.load_s` | `0.1` (trial 0); `0.3` (trial 2) | `0.2` (trial 1);" in launch
    assert "| `details.pid` |" in launch
    assert alike.count("`details.threads` | `2`") == 1
    assert "| `details.meta.n_ctx_train` | `4096` |" in alike
    assert "licence" not in text
    assert "1 more details of the server are in metrics.json." in alike
    document_ = document(run)["arms"][0]["effective_configurations"]
    assert [len(one["details"]["meta"]["licence"]) for one in document_] == [500, 500]


def test_details_that_differ_are_shown_whatever_they_are_called():
    run = with_details(*({"licence": x} for x in "abab"))
    assert '| `details.licence` | `"a"` | `"b"` |' in markdown(run)


def test_many_launches_are_a_range():
    arms = ("only",)
    plan = tuple(("only", "base", n) for n in range(5))
    effective = builders.trial().effective
    records = []
    for n in range(5):
        calls = [builders.call(arm="only", trial=n, sent_ms=1000.0 * (n + 1))]
        own = msgspec.structs.replace(effective, details={"load_s": 1.5 + n})
        records += [*calls, builders.iteration(calls), builders.trial("only", n, effective=own)]
    text = markdown(FakeRun(manifest(arms, state="finished", plan=plan), records))
    assert "| `details.load_s` | `1.5` … `5.5` over 5 trials |" in text
