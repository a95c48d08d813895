"""What an Ollama server tells of a model's size, and what memory follows from it."""

from __future__ import annotations

import pytest
from harness_ollama.footprint import footprint, parameters_of, quantization_of, taken
from harness_ollama.options import OllamaOptions

GIB = 2**30
HERE = "http://127.0.0.1:11434"
SHOWN = {
    "details": {"parameter_size": "7.6B", "quantization_level": "Q4_K_M"},
    "model_info": {
        "general.architecture": "qwen2",
        "general.parameter_count": 7_615_616_512,
        "qwen2.block_count": 28,
        "qwen2.attention.head_count": 28,
        "qwen2.attention.head_count_kv": 4,
        "qwen2.embedding_length": 3584,
        "qwen2.context_length": 32768,
    },
}
ENTRY = {"name": "qwen2.5:7b", "size": 4 * GIB}


def predicted(running=(), url=HERE, version="0.30.1", shown=SHOWN, entry=ENTRY, **options):
    return footprint(url, version, entry, shown, list(running), OllamaOptions(**options))


def test_weights_and_keys():
    found = predicted(num_ctx=8192)
    assert found.weights_bytes == 4 * GIB
    assert found.kv_bytes == 28 * 8192 * 4 * (128 + 128) * 2
    assert (found.device, found.parameters) == ("gpu", 7_615_616_512)
    assert predicted(num_ctx=10**6).context_length == 32768
    assert predicted(num_gpu=0).device == "host"


def test_what_is_loaded_gives_way():
    on_gpu = {"name": "a", "size": 3 * GIB, "size_vram": 2 * GIB}
    on_cpu = {"name": "b", "size": GIB}
    assert predicted([on_gpu, on_cpu]).reclaimable_bytes == 2 * GIB
    assert predicted([on_gpu, on_cpu], num_gpu=0).reclaimable_bytes == 2 * GIB
    assert predicted([on_cpu]).reclaimable_bytes == GIB, "it may have no GPU at all"


@pytest.mark.parametrize("url", ["http://192.168.1.7:11434", "http://gpu.example:11434"])
def test_another_machine_has_memory_of_its_own(url):
    assert "device" in predicted(url=url).unknown
    assert "device" not in predicted(url="http://localhost:11434").unknown


def test_a_simulation_loads_nothing():
    assert predicted(version="harness-sim/1").total_bytes is None


def test_what_it_does_not_tell_is_unknown():
    found = predicted(shown={}, entry={})
    assert found.total_bytes is None
    assert set(found.unknown) == {"weights_bytes", "kv_bytes"}
    assert parameters_of({}) is None and quantization_of({}) is None
    assert parameters_of({"details": {"parameter_size": "many"}}) is None


def test_parameters_exactly_or_to_their_digits():
    assert parameters_of(SHOWN) == 7_615_616_512
    assert parameters_of({"details": SHOWN["details"]}) == 7_600_000_000
    assert quantization_of(SHOWN) == "Q4_K_M"


def test_what_was_taken():
    assert taken({"size": 5, "size_vram": 3})["memory_process_peak_bytes"] == 3
    assert taken({"size": 5})["memory_process_of"] == "size of /api/ps"
    assert taken({}) == {}
