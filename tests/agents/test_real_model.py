"""Agents in every language beside a real llama.cpp, through the tap, by the scenario `agent`."""

from __future__ import annotations

import shutil

import pytest
from harness_agents import rust

from harness.errors import BackendError
from harness.testing import run_in_memory

pytestmark = pytest.mark.real_model


def programs() -> dict[str, str]:
    """Arm → agent, of those that this machine has; the Rust ones are where they were built."""
    found = {"python": "python", "within": "in_process"}
    if shutil.which("node"):
        found["node"] = "node"
    for name in rust.RUNTIMES:
        try:
            rust.binary(name)
        except BackendError:
            continue
        found[name] = name
    return found


def test_the_same_words_whoever_asks():
    arms = programs()
    ran = run_in_memory(
        {
            "backend": {
                "name": "llamacpp",
                "model": "tiny",
                "tap": True,
                "options": {"temperature": 0.0},
            },
            "scenario": {
                "name": "agent",
                "options": {"prompt": "Compare.", "max_tokens": 8, "unique_prefix": False},
            },
            "arms": {arm: {"scenario": {"options": {"agent": name}}} for arm, name in arms.items()},
            "iterations": {"warmup": 0},
        }
    )
    assert ran.error is None
    calls = {call.arm: call for call in ran.calls}
    assert set(calls) == set(arms)
    assert {call.status for call in calls.values()} == {"ok"}
    assert len({(call.text, call.usage.output_tokens) for call in calls.values()}) == 1
    assert {call.prompt_digest for call in calls.values()} == {calls["within"].prompt_digest}
    for arm, call in calls.items():
        if arm == "within":
            assert (call.tap, call.reported) == (None, None)
            continue
        assert call.reported is not None and call.tap is not None
        assert call.instants.first_token_ns is not None
        if arm == "rust-smol-1kb":
            assert call.reported.first_token_ns is None and call.reported.unknown
        else:
            assert call.reported.first_token_ns > call.instants.first_token_ns
