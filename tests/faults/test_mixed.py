"""Every fault of the truth server at once, over hundreds of calls, through the real command.

What each request met is in the server's log; what each call became is in the run. A stream that
both have is told by its prompt: call n has n + 1 words, and the log counts them. Of requests that
got no stream the log knows no prompt, so those are held against the calls that remain, by kind.

The mix is drawn from SEED, or from HARNESS_TEST_SEED; a failure names it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest

from harness import load_run
from harness.schema import CallRecord
from harness.testing.sim import FAULTS
from tests.sim.servers import RUN, sim
from tests.sim.test_faults import CLEAN, LOADING, TIMEOUTS, TOKENS, expected

SEED = int(os.environ.get("HARNESS_TEST_SEED", "20261120"))
CALLS = 260
TAIL = 40
"""The last calls: nobody begins after them who could be held up."""
HANG_S = 150  # against hanging only

NO_STREAM = {
    "refuse": {"reset", "connect", "send"},
    "reset_before": {"reset"},
    "stall_before": {"timeout.first_byte"},
    "http_400": {"http.400"},
    "http_429": {"http.429"},
    "http_500": {"http.500"},
    "http_503": {"http.503"},
    "http_status": {"http.502"},
}
CONTENT_AND_END = (2, 3, 4)


class Mix(NamedTuple):
    transport: str
    dialect: str
    load: list[str]
    faults: list[dict]

    @property
    def name(self):
        return f"{self.transport}-{self.dialect}-{self.load[0].removeprefix('--')}-seed-{SEED}"


def by_number(name, per_kind):
    """Each kind `per_kind` times, among the first requests. Not `refuse`: a closed loop would run
    through all its calls while nothing listens."""
    rng = random.Random(f"{SEED}/{name}")
    kinds = [kind for kind in FAULTS if kind != "refuse"]
    turns = rng.sample(range(3, CALLS - TAIL), per_kind * len(kinds))
    rng.shuffle(turns)
    found = []
    for index, kind in enumerate(kinds):
        count = 1 if kind == "long_line" else per_kind
        mine = turns[index * per_kind :][:count]
        found.append({"kind": kind, "requests": sorted(mine), "at": round(rng.random() * 0.9, 2)})
    return found


def by_rate(share):
    """As above by chance, and one refusal."""
    found = [{"kind": "refuse", "requests": [CALLS // 2], "for_ms": 50}]
    kinds = [kind for kind in FAULTS if kind not in ("refuse", "long_line")]
    return [*found, *({"kind": kind, "rate": share} for kind in kinds)]


MIXES = [
    Mix("native", "vllm", ["--concurrency", "64"], by_number("a", 3)),
    Mix("portable", "ollama_api", ["--concurrency", "16"], by_number("b", 3)),
    Mix("native", "ollama_api", ["--rate", "100", "--concurrency", "32"], by_rate(0.015)),
    Mix("portable", "sglang", ["--rate", "100", "--concurrency", "32"], by_rate(0.015)),
]


class Played(NamedTuple):
    run: object
    calls: dict[int, CallRecord]
    """By the number of words of their prompt."""
    asked: list[dict]
    """Requests of the calls, from the server's log."""
    log: object


def play(root, mix):
    folder = root / mix.name
    folder.mkdir()
    spec = {"ttft": 30, "gap": 2, "seed": SEED, "faults": mix.faults}
    if mix.dialect != "ollama_api":
        spec["dialect"] = mix.dialect
    (folder / "sim.json").write_text(json.dumps(spec))
    prompts = folder / "prompts.jsonl"
    prompts.write_text(
        "".join(json.dumps({"prompt": "word " * (n + 1)}) + "\n" for n in range(CALLS))
    )
    with sim(folder / "log", folder / "sim.json") as server:
        words = ["load", "--url", server.url, "--model", "sim", "--out", folder / "run", "--json"]
        words += ["--backend", "ollama" if mix.dialect == "ollama_api" else "openai"]
        words += ["--requests", CALLS, *mix.load, "--warmup", 0, "--max-tokens", TOKENS]
        words += ["-o", f"prompts={prompts}", "-o", "api=chat", "-o", "unique_prefix=false"]
        words += ["--set", f"transport={mix.transport}"]
        if mix.dialect != "ollama_api":
            words += ["-o", "probe=false"]
        for name, value in TIMEOUTS.items():
            words += ["--set", f"timeouts.{name}={value}"]
        done = subprocess.run(
            [*RUN, *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=HANG_S
        )
        assert done.returncode == 4, (mix.name, done.stderr)  # calls failed: the run is invalid
        log = server.stop()
    with LOADING:
        run = load_run(folder / "run")
        calls = [record for record in run.records() if isinstance(record, CallRecord)]
    ordered = sorted(calls, key=lambda call: call.call_id)
    assert len(ordered) == len({call.call_id for call in ordered}) == CALLS
    asked = [line for line in log.requests.values() if line["ordinal"] is not None]
    asked = [line for line in asked if line.get("prompt_tokens") != 0]
    return Played(run, {n + 1: call for n, call in enumerate(ordered)}, asked, log)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixed")
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda mix: play(root, mix), MIXES)
        return dict(zip((mix.name for mix in MIXES), done, strict=True))


every_mix = pytest.mark.parametrize("mix", MIXES, ids=[mix.name for mix in MIXES])


def streams(found):
    """(call, request) of those that got a stream; the last request, where it was sent again."""
    last = {line["prompt_tokens"]: line for line in found.asked if line["fault"] not in NO_STREAM}
    return [(found.calls[words], line) for words, line in last.items()]


@every_mix
def test_every_call_has_one_status_and_it_is_the_right_one(played, mix):
    found = played[mix.name]
    wrong = {}
    for call, line in streams(found):
        status = expected(line["fault"] or CLEAN, mix.dialect)
        if call.status != status:
            wrong[call.call_id] = (line["fault"], call.status, call.error)
    assert wrong == {}
    met = {line["fault"] for line in found.asked}
    if "--rate" not in mix.load:
        assert met - {None} == {fault["kind"] for fault in mix.faults}, "each one happened"
    assert len(met) > len(FAULTS) // 2


@every_mix
def test_calls_without_a_stream_balance_too(played, mix):
    """What the log gave no stream to, and what never reached the server."""
    found = played[mix.name]
    streamed = {call.call_id for call, _ in streams(found)}
    rest = [call for call in found.calls.values() if call.call_id not in streamed]
    assert {call.status for call in rest} <= {"error", "timeout"}
    codes = Counter(call.error.code for call in rest)
    faults = Counter(line["fault"] for line in found.asked if line["fault"] in NO_STREAM)
    again = sum(call.reconnected for call in found.calls.values())
    for fault, ends in NO_STREAM.items():
        if fault in ("refuse", "reset_before"):
            continue
        assert sum(codes[code] for code in ends) == faults[fault], fault
    assert set(codes) <= set().union(*NO_STREAM.values())
    # A request that was reset on a kept connection is sent again, and the log has it twice (once,
    # if the server never read the first). Those that wait to be accepted when the listener goes
    # are reset, and the log has none of them.
    resets = faults["reset_before"] + faults["refuse"]
    unread = codes["connect"] + (codes["reset"] + codes["send"] if faults["refuse"] else 0)
    assert resets - again <= codes["reset"]
    assert codes["reset"] <= resets or faults["refuse"]
    assert codes["connect"] == 0 or faults["refuse"]
    assert CALLS - unread <= len(found.asked) <= CALLS - codes["connect"] + again


@every_mix
def test_the_others_are_whole(played, mix):
    for call, line in streams(played[mix.name]):
        if line["fault"] is None:
            assert len(call.text.split()) == TOKENS
            assert call.usage.output_tokens == TOKENS
            assert call.usage.prompt_tokens == line["prompt_tokens"]


@every_mix
def test_the_others_are_not_held_up(played, mix):
    """Against the server's own instants: nobody waits for somebody else's stalled stream."""
    found = played[mix.name]
    rows = found.log.rows
    rows = rows[np.isin(rows["kind"], CONTENT_AND_END)]
    last_ns = {
        int(serial): int(at) for serial, at in zip(rows["serial"], rows["before_ns"], strict=True)
    }
    clean = [pair for pair in streams(found) if pair[1]["fault"] is None]
    delays_ns = [
        (call.instants.end_ns - call.instants.sent_ns)
        - (last_ns[line["serial"]] - line["arrived_ns"])
        for call, line in clean
    ]
    assert len(delays_ns) > CALLS // 3
    assert max(delays_ns) < TIMEOUTS["between_payloads_s"] * 1e9
    # And while a stream said nothing, the others went on, from beginning to end.
    deaf = [
        call
        for number, call in found.calls.items()
        if call.status == "timeout" and number < CALLS - TAIL
    ]
    assert deaf
    for silent in deaf:
        begun, ended = silent.instants.sent_ns, silent.instants.closed_ns
        assert any(
            begun < call.instants.sent_ns and call.instants.end_ns < ended for call, _ in clean
        ), silent.call_id


@every_mix
def test_the_verdict_counts_them_all(played, mix):
    found = played[mix.name]
    (arm,) = found.run.summary.arms
    assert arm.planned == sum(arm.calls.values()) == CALLS
    assert Counter(arm.calls) == Counter(call.status for call in found.calls.values())
    codes = {caveat.code for caveat in found.run.summary.verdict.caveats}
    assert "errors" in codes
    assert not codes & {"unbalanced", "incomplete"}
