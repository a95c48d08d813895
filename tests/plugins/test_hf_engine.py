"""The engine of backend `hf`: every way to generate, with real torch on the CPU.

torch is imported in a process of its own (hf_variants.py), which does everything once; the tests
look at what came of it. Greedy replies of one model are the same by whatever way they are made.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness_hf import tiny

pytestmark = pytest.mark.real_model

SCRIPT = Path(__file__).with_name("hf_variants.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("hf") / "tiny"
    tiny.write(folder)
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "HF_HOME": str(folder.parent / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",  # what is shown here is the CPU's
    }
    words = [sys.executable, str(SCRIPT), str(folder)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def text(lines: list[Any]) -> str:
    return "".join(one.get("text", "") for one in lines if isinstance(one, dict))


def tokens(lines: list[Any]) -> list[int]:
    return [one["n"] for one in lines if "n" in one and isinstance(one, dict)]


def last(lines: list[Any]) -> dict[str, Any]:
    assert lines[-1] == "end"
    assert lines[-2]["done"] is True
    return lines[-2]


def test_one_line_a_token_stamped_in_order_and_a_last_one(found):
    (lines,) = found["greedy"]
    assert tokens(lines) == [1] * 24
    at = [one["t"] for one in lines[:-1]]
    assert at == sorted(at)
    assert len(set(at[:-1])) == 24
    assert at[-1] == at[-2], "the reply ends with its last token"
    done = last(lines)
    assert done["finish_reason"] == "length"
    assert done["usage"] == {"prompt_tokens": 11, "output_tokens": 24}
    server = done["server"]
    assert server["decode_ns"] == at[-1] - at[0]
    assert server["prefill_ns"] > 0
    assert min(server["queue_ns"], server["prepare_ns"]) >= 0
    assert (server["batch_size"], server["steps"], server["generated_tokens"]) == (1, 24, 24)
    assert server["memory_process_peak_bytes"] > 100 << 20
    assert server["memory_process_of"] == "rss"
    assert "prefill_cuda_ms" not in server, "there is no GPU, and no figure of one"


@pytest.mark.parametrize("way", ["again", "own", "assistant", "static"])
def test_greedy_replies_are_the_same_by_every_way(found, way):
    assert text(found[way][0]) == text(found["greedy"][0])


def test_samples_follow_their_seed(found):
    one, same, other = map(text, found["sampled"])
    assert one == same != other
    assert one != text(found["greedy"][0])
    assert last(found["own sampled"][0])["usage"]["output_tokens"] == 24
    assert text(found["penalty"][0]) != text(found["greedy"][0])


def test_several_tokens_in_one_step_are_one_line_that_says_how_many(found):
    (guessed,) = found["assistant"]
    assert max(tokens(guessed)) > 1, "the model agrees with itself"
    (lookup,) = found["lookup"]
    assert max(tokens(lookup)) > 1
    assert sum(tokens(lookup)) == 60 == last(lookup)["usage"]["output_tokens"]
    assert last(lookup)["server"]["steps"] == len(tokens(lookup)) < 60
    assert text(lookup) == text(found["long"][0])


@pytest.mark.parametrize("way", ["batch", "own batch"])
def test_a_batch_gives_each_what_it_gets_alone(found, way):
    assert [text(lines) for lines in found[way]] == [text(lines) for lines in found["alone"]]
    ends = [last(lines) for lines in found[way]]
    assert [end["usage"]["output_tokens"] for end in ends] == [5, 9, 3]
    assert {end["server"]["batch_size"] for end in ends} == {3}
    first, longest, shortest = ([one["t"] for one in lines[:-1]] for lines in found[way])
    assert first[:3] == longest[:3] == shortest[:3], "a step is one instant, whoever it is of"
    assert shortest[-1] < first[-1] < longest[-1], "each ends by itself"


@pytest.mark.parametrize("way", ["generate", "own"])
def test_the_end_token_ends_a_reply_and_is_none_of_it(found, way):
    at = found["end at"]
    (ended,) = found[f"ended {way}"]
    whole = found["greedy"][0]
    assert text(ended) == text(whole[:at])
    done = last(ended)
    assert (done["finish_reason"], done["usage"]["output_tokens"]) == ("stop", at)
    assert done["server"]["generated_tokens"] == at + 1
    (ignored,) = found[f"ignored {way}"]
    assert last(ignored)["finish_reason"] == "length"
    assert last(ignored)["usage"]["output_tokens"] == 24
    assert whole[at]["text"] not in [one.get("text") for one in ignored[:-1]]


def test_a_stop_string_is_not_in_the_text(found):
    (lines,) = found["stop string"]
    whole = text(found["greedy"][0])
    assert last(lines)["finish_reason"] == "stop"
    assert text(lines) == whole[: whole.index(whole[20:24])]


def test_the_context_bounds_a_reply_and_says_so(found):
    assert found["narrow facts"]["context_length"] == 32
    (lines,) = found["narrow"]
    done = last(lines)
    assert done["usage"] == {"prompt_tokens": 11, "output_tokens": 21}
    assert done["server"]["context_full"] is True
    assert "context_full" not in last(found["greedy"][0])["server"]


def test_what_cannot_be_computed_is_refused(found):
    ((beyond, end),) = found["beyond"]
    assert (beyond["refused"], end) == (400, "end")
    assert "42 tokens, and the context holds 32 (nothing is cut" in beyond["message"]
    assert "the prompt is empty" in found["empty"][0][0]["message"]
    assert "the chat template refuses this: only pairs" in found["broken template"][0][0]["message"]


def test_templates(found):
    prompts = {way: last(found[way][0])["usage"]["prompt_tokens"] for way in ("bare", "off")}
    assert prompts == {"bare": 1 + 3, "off": 6}
    # "Compare the two arms. the", with no mark but the one at the beginning.
    assert last(found["own template"][0])["usage"]["prompt_tokens"] == 6


def test_what_is_loaded_is_read_back_from_the_model_itself(found):
    facts, narrow = found["facts"], found["narrow facts"]
    assert facts["parameters"] == narrow["parameters"] == 647_488
    assert (facts["dtype"], narrow["dtype"]) == ("float32", "bfloat16")
    assert facts["memory_bytes"] > 1.9 * narrow["memory_bytes"] > 0
    assert (facts["attention"], narrow["attention"]) == ("sdpa", "eager")
    assert (facts["devices"], facts["quantization"], facts["layers"]) == (["cpu"], None, 2)
    assert facts["load_ms"] > 0
    assert len(facts["warmup_ms"]) == 1


def test_nothing_is_replaced_in_silence(found):
    said = found["refused"]
    assert "device toaster" in said["no device"].replace("'", "")
    assert "sees 0 of its kind" in said["cuda"]
    assert "'bitsandbytes', which is not installed (try: pip install bitsandbytes)" in said["bnb"]
    assert "cannot be read" in said["template"]
    assert "trust_remote_code" in said.pop("remote code")
    assert all(words.startswith("BackendError: ") for words in said.values())


def test_out_of_memory_ends_the_call_and_not_the_worker(found):
    (sent,) = found["out of memory"]
    assert '"code":"out_of_memory"' in sent
    assert "Tried to allocate 3.00 GiB" in sent


def test_what_was_unloaded_is_loaded_by_the_next_request(found):
    server = last(found["unloaded"][0])["server"]
    assert server["load_ns"] > 0
    assert server["prepare_ns"] >= 0
    assert "load_ns" not in last(found["greedy"][0])["server"]
