"""What backends read back of the options they were given, and which prompts are said to be new."""

from __future__ import annotations

import asyncio

import pytest
from harness_load.options import LoadOptions
from harness_ollama.options import OllamaOptions
from harness_ollama.readback import ALL, read_back
from harness_openai.backend import OpenAIBackend
from harness_openai.options import OpenAIOptions
from harness_single_agent.options import SingleAgentOptions
from harness_single_agent.prompts import request
from hypothesis import given
from hypothesis import strategies as st

from harness.protocols import BackendConfig, ScenarioConfig
from harness.schema import Effective, TimeoutsSpec
from tests.sim.servers import inline_sim

LAYERS = 35


def ollama(*, context=4096, size=1000, vram=1000, version="0.33.0", **options):
    read = Effective(
        server_version=version, context_length=context, size_bytes=size, size_vram_bytes=vram
    )
    return read_back(OllamaOptions(**options), read, LAYERS)


@pytest.mark.parametrize(
    ("asked", "runs", "version", "value", "wrong"),
    [
        (4096, 4096, "0.33.0", 4096, None),
        (8192, 4096, "0.33.0", 4096, "asked 8192, runs 4096"),
        (500, 512, "0.33.0", 512, None),  # llama.cpp rounds up
        (500, 756, "0.33.0", 756, "asked 500, runs 756"),
        (2048, 8192, "0.33.0", 8192, "asked 2048, runs 8192"),
        (2048, 8192, "0.11.4", 2048, None),  # four slots together
        (2048, 8192, "harness-sim 0", 8192, "asked 2048, runs 8192"),
    ],
)
def test_context_of_ollama(asked, runs, version, value, wrong):
    values, found = ollama(num_ctx=asked, context=runs, version=version)
    assert values["num_ctx"] == value
    assert found.get("num_ctx") == wrong


@pytest.mark.parametrize(
    ("asked", "vram", "value", "wrong"),
    [
        (-1, 0, 0, False),  # the server's own choice
        (-1, 400, None, False),
        (0, 0, 0, False),
        (0, 400, None, False),  # buffers of computation
        (0, 600, None, True),
        (10, 300, None, False),
        (10, 0, 0, True),
        (99, 1000, ALL, False),
        (99, 900, None, False),  # all layers, and buffers beside them
        (LAYERS, 400, None, True),
        (LAYERS - 1, 400, None, False),
    ],
)
def test_layers_of_ollama(asked, vram, value, wrong):
    values, found = ollama(num_gpu=asked, vram=vram)
    assert values.get("num_gpu") == value
    assert ("num_gpu" in found) == wrong


def test_what_ollama_does_not_tell_is_neither_known_nor_wrong():
    nothing = ({}, {})
    assert ollama(context=None, vram=None, num_gpu=99) == nothing
    assert ollama(context=None, size=None, num_gpu=99) == nothing
    assert ollama(context=None, size=0, vram=0, num_gpu=99) == nothing


@given(st.integers(1, 200_000), st.integers(-1, 100), st.integers(0, 2000))
def test_a_server_that_obeys_is_never_wrong(asked, layers, vram):
    assert ollama(num_ctx=asked, context=asked)[1] == {}
    assert ollama(vram=vram)[1] == {}
    assert ollama(num_gpu=layers, vram=1000 if layers else 0)[1] == {}


@pytest.mark.parametrize("wanted", [True, "auto"])
def test_counts_with_each_chunk_that_were_asked_for_and_do_not_come(tmp_path, wanted):
    """The `openai` dialect takes the field and ignores it, as many servers do."""
    with inline_sim(tmp_path, {"ttft": 0, "gap": 0}) as server:
        config = BackendConfig(
            model=None,
            urls=(server.url,),
            options=OpenAIOptions(continuous_usage=wanted),
            timeouts=TimeoutsSpec(),
            seed=0,
        )
        backend = OpenAIBackend(config)

        async def opened():
            await backend.open()
            return await backend.effective()

        found = asyncio.run(opened()).not_effective
    why = "asked true, runs without: its chunks carry no token counts"
    assert found == ({"continuous_usage": why} if wanted is True else {})


@pytest.mark.parametrize("unique", [True, False])
def test_salted_prompts_say_so(unique, tmp_path):
    from harness_load import load

    class Ctx:
        seed, salt, phase = 1, "salt", "measured"

        def count_tokens(self, text):
            return None

    lines = tmp_path / "prompts.jsonl"
    lines.write_text('{"prompt": "one"}\n')
    for more in ({}, {"prompts": str(lines)}):
        options = LoadOptions(unique_prefix=unique, **more)
        config = ScenarioConfig(options=options, seed=1, arm="a", cell="")
        assert next(load(config).requests(Ctx())).cold is unique
    asked = SingleAgentOptions(unique_prefix=unique)
    assert request("analysis", "text", asked, seed=1, salt="s").cold is unique
