"""Headers of GGUF files, and the memory that is predicted from them."""

from __future__ import annotations

import struct

import pytest
from harness_llamacpp import memory, tiny
from harness_llamacpp.header import BadHeaderError, parts, read_header
from harness_llamacpp.options import LlamaCppOptions
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    tiny.write(path)
    return path


def test_a_header_tells_shape_and_parameters(tiny_file):
    header = read_header(tiny_file)
    assert header.architecture == "llama"
    assert header.parameters == tiny.TINY.parameters == 647488
    assert header.entries["llama.block_count"] == tiny.TINY.layers
    assert header.entries["tokenizer.ggml.tokens.length"] == tiny.VOCABULARY
    assert "tokenizer.ggml.tokens" not in header.entries, "a vocabulary is not kept"


def test_the_prediction_is_of_the_context_that_runs(tiny_file):
    found = memory.footprint(tiny_file, LlamaCppOptions(num_ctx=1000, parallel=3))
    assert found.context_length == 1024, "rounded up as the engine does"
    assert found.kv_bytes == tiny.TINY.layers * 3 * 1024 * 2 * tiny.HEAD_DIM * 2
    assert found.weights_bytes == tiny_file.stat().st_size
    most = memory.footprint(tiny_file, LlamaCppOptions(num_ctx=10**6))
    assert most.context_length == tiny.CONTEXT_LENGTH, "cut to what it was trained for"


@pytest.mark.parametrize("shape", tiny.SHAPES.values(), ids=lambda shape: shape.name)
def test_before_its_file_is_made_the_prediction_is_the_same(shape, tmp_path):
    if shape is tiny.SHAPES["tiny-22M"]:
        expected = 22_288_896
        assert shape.parameters == expected
        return  # its file takes a while
    path = tmp_path / "model.gguf"
    tiny.write(path, shape)
    options = LlamaCppOptions()
    before, after = memory.footprint_of(shape, options), memory.footprint(path, options)
    for name in ("parameters", "kv_bytes", "overhead_bytes", "context_length", "device"):
        assert getattr(before, name) == getattr(after, name)
    assert before.weights_bytes == pytest.approx(after.weights_bytes, abs=200_000)


def test_layers_may_differ_and_heads_may_be_shared():
    own = {"block_count": 3, "embedding_length": 64, "attention.head_count": 4}
    assert memory.kv_bytes(own, 10) == 3 * 10 * 4 * (16 + 16) * 2
    assert memory.kv_bytes({**own, "attention.head_count_kv": 1}, 10) == 3 * 10 * (16 + 16) * 2
    shared = {**own, "attention.head_count_kv": [4, 0, 2]}
    assert memory.kv_bytes(shared, 10) == 6 * 10 * (16 + 16) * 2
    assert memory.kv_bytes({}, 10) is None
    assert memory.kv_bytes({**own, "block_count": "3"}, 10) is None


def test_a_split_model_is_all_of_its_parts(tmp_path):
    names = [one.name for one in parts(tmp_path / "m-00001-of-00003.gguf")]
    assert names == [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert parts(tmp_path / "m.gguf") == [tmp_path / "m.gguf"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"GGML" + bytes(40),
        b"GGUF" + struct.pack("<IQQ", 9, 0, 0) + bytes(8),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**60),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + bytes(3) + b"\xff",
        b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 8, 2**62),
    ],
)
def test_what_is_no_header_is_refused_and_nothing_is_predicted(content, tmp_path):
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(BadHeaderError):
        read_header(path)
    found = memory.footprint(path, LlamaCppOptions())
    assert found.total_bytes is None and "header" in found.unknown["weights_bytes"]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_torn_or_changed_header_raises_nothing_else(data, tiny_file, tmp_path_factory):
    good = tiny_file.read_bytes()[:4000]
    cut = data.draw(st.integers(0, len(good)))
    torn = bytearray(good[:cut])
    for _ in range(data.draw(st.integers(0, 4))):
        if torn:
            torn[data.draw(st.integers(0, len(torn) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "torn.gguf"
    path.write_bytes(torn)
    with pytest.raises(BadHeaderError):
        read_header(path)
