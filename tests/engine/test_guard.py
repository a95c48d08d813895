"""Models that fit and models that do not: what is decided before one is loaded, and recorded."""

from __future__ import annotations

import types
from typing import ClassVar

import msgspec
import pytest
from msgspec.structs import replace

import harness
from harness.engine.guard import DOES_NOT_FIT, Free, amount, fit_of
from harness.engine.summary import derive_summary
from harness.errors import BackendError, SpecError
from harness.schema import Footprint, GuardSpec, TrialRecord
from harness.testing import ScriptedBackend
from tests.engine.conftest import Options

GIB = 2**30
SIZES = {"small": GIB, "large": 40 * GIB, "wild": 10**30, "negative": -1}


class Foreseeing(ScriptedBackend):
    """A backend that knows what its models take; `opened` has those that were loaded."""

    opened: ClassVar[list[str]] = []

    async def footprint(self):
        if self.config.model not in SIZES:
            return Footprint(unknown={"weights_bytes": "nobody knows it"})
        size = SIZES[self.config.model]
        return Footprint(weights_bytes=size, kv_bytes=GIB, parameters=size, device="host")

    async def open(self):
        if self.config.model == "broken":
            raise BackendError("there is no such model", where="here")
        Foreseeing.opened.append(self.config.model)
        await super().open()


@pytest.fixture
def measured(execute, host):
    """measured(model, …) → (sink, outcome): one launch of each, in this process."""

    @harness.hookimpl
    def harness_register_backends(registry):
        registry.add("foreseeing", Foreseeing, options=Options)

    module = types.ModuleType("guard_test")
    module.harness_register_backends = harness_register_backends
    assert host.add("guard_test", module)
    Foreseeing.opened.clear()

    def do(*models, guard=None, **more):
        raw = {
            "backend": {"name": "foreseeing"},
            "load": {"requests": 2},
            "sweep": {"axes": {"backend.model": list(models)}},
            "order": "sequential",
            "guard": {"free_bytes": 20 * GIB, **(guard or {})},
            **more,
        }
        outcome, sink, _ = execute(raw, [ScriptedBackend.answer(["a ", "b "]) for _ in range(20)])
        return sink, outcome

    return do


def trials(sink):
    return [record for record in sink.records if isinstance(record, TrialRecord)]


def test_a_model_that_does_not_fit_is_skipped_even_first_and_the_run_goes_on(measured):
    sink, outcome = measured("large", "small")
    large, small = trials(sink)
    assert Foreseeing.opened == ["small"]
    assert outcome.manifest.state == "finished" and outcome.error is None
    assert (large.status, large.error.code) == ("skipped", DOES_NOT_FIT)
    assert "large does not fit: needs 41 GiB" in large.error.message
    assert large.fit.decision == "too_large"
    assert large.fit.limit_bytes == int(0.95 * 20 * GIB)
    assert (small.status, small.fit.decision) == ("ok", "fits")


def test_nothing_of_it_counts_as_failed(measured):
    sink, outcome = measured("large", "small")
    summary = derive_summary(outcome.manifest, sink.records)
    codes = {caveat.code: caveat.severity for caveat in summary.verdict.caveats}
    assert codes["skipped-models"] == "note"
    assert not {"failures", "empty-workload", "unbalanced", "incomplete"} & codes.keys()
    assert summary.arms[0].skipped == 1 and summary.arms[0].trials == 0


def test_a_run_of_nothing_that_fits_is_no_valid_one(measured):
    sink, outcome = measured("large")
    summary = derive_summary(outcome.manifest, sink.records)
    assert summary.verdict.state == "invalid"
    assert "empty-workload" in {caveat.code for caveat in summary.verdict.caveats}


def test_what_cannot_be_predicted_is_begun(measured):
    sink, _ = measured("unheard-of")
    (trial,) = trials(sink)
    assert trial.status == "ok"
    assert trial.fit.decision == "unknown" and "nobody knows it" in trial.fit.reason


@pytest.mark.parametrize("model", ["wild", "negative"])
def test_a_number_that_cannot_be_is_no_prediction(measured, model):
    """The files of a model may say anything; a record holds 64 bits."""
    sink, _ = measured(model)
    (trial,) = trials(sink)
    assert trial.status == "ok" and trial.fit.decision == "unknown"
    assert trial.fit.predicted.weights_bytes is None and trial.fit.predicted.parameters is None
    assert "cannot be" in trial.fit.reason
    msgspec.msgpack.encode(trial)


def test_without_the_guard_the_prediction_is_recorded_all_the_same(measured):
    sink, _ = measured("large", guard={"memory": "off"})
    (trial,) = trials(sink)
    assert (trial.status, trial.fit.decision) == ("ok", "unguarded")
    assert trial.fit.predicted.total_bytes == 41 * GIB


def test_adaptive_stopping_does_not_wait_for_what_does_not_fit(measured):
    stop = {"metric": "e2e_ms", "trials_max": 3, "relative_width_max": 1000.0}
    sink, outcome = measured("large", "small", stop=stop, trials=2)
    summary = derive_summary(outcome.manifest, sink.records)
    assert outcome.manifest.state == "finished"
    assert len(trials(sink)) == len(outcome.manifest.plan)
    assert "unbalanced" not in {caveat.code for caveat in summary.verdict.caveats}


def test_the_first_model_that_fails_is_not_the_end_of_the_others(measured):
    sink, outcome = measured("broken", "small")
    assert [trial.status for trial in trials(sink)] == ["error", "ok"]
    assert outcome.manifest.state == "finished"


def told(free_bytes, note=""):
    return lambda predicted: Free(device="GPU-1", bytes_=free_bytes, note=note)


NEEDS = Footprint(weights_bytes=8 * GIB, kv_bytes=GIB, overhead_bytes=GIB)


@pytest.mark.parametrize(
    ("guard", "free", "decision"),
    [
        (GuardSpec(), 11 * GIB, "fits"),
        (GuardSpec(), 10 * GIB, "too_large"),
        (GuardSpec(share_max=1.0), 10 * GIB, "fits"),
        (GuardSpec(), None, "unknown"),
        (GuardSpec(free_bytes=5 * GIB), 80 * GIB, "too_large"),
        (GuardSpec(memory="off"), 1, "unguarded"),
    ],
)
def test_the_decision(guard, free, decision):
    assert fit_of(NEEDS, guard, told(free)).decision == decision


def test_what_a_server_gives_up_counts_as_free():
    held = replace(NEEDS, reclaimable_bytes=9 * GIB)
    fit = fit_of(held, GuardSpec(), told(2 * GIB))
    assert (fit.decision, fit.free_bytes) == ("fits", 2 * GIB)


def test_memory_of_another_machine_is_not_that_of_this_one():
    away = Footprint(
        weights_bytes=8 * GIB, kv_bytes=GIB, unknown={"device": "the server is on another machine"}
    )
    fit = fit_of(away, GuardSpec(), told(1))
    assert fit.decision == "unknown" and "another machine" in fit.reason


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(1010 << 20, "1010 MiB"), (1023.7 * 2**20, "1024 MiB"), (GIB, "1 GiB"), (2**50, "1024 TiB"),
     (300, "0.293 KiB")],
)  # fmt: skip
def test_amounts_have_no_exponent(size_bytes, words):
    assert amount(size_bytes) == words


@pytest.mark.parametrize(
    ("guard", "path"),
    [({"share_max": 0}, "share_max"), ({"share_max": 1.5}, "share_max"),
     ({"free_bytes": -1}, "free_bytes")],
)  # fmt: skip
def test_bounds(measured, guard, path):
    with pytest.raises(SpecError, match=rf"\$\.guard\.{path}"):
        measured("small", guard=guard)
