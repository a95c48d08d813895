"""`tiny` and the names of models: what is written, where, and what is refused."""

from __future__ import annotations

import hashlib
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from harness_llamacpp import models, tiny, vocabulary

from harness.cache import cache_dir
from harness.errors import BackendError

# Of everything in the file that is ours: the same on every machine, whatever the gguf package.
CONTENT_DIGEST = "4472d1e3e4b7270967e4f161aca76349b3b37f537a8f52284efd5c43e95c1cf5"


@pytest.fixture(scope="module")
def content() -> tuple[list[str], list[str], dict[str, np.ndarray]]:
    tokens, merges = tiny.tokens_and_merges()
    return tokens, merges, tiny.weights(tokens)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_content_is_the_same_everywhere(content) -> None:
    tokens, merges, tensors = content
    seen = hashlib.sha256("\n".join([*tokens, *merges]).encode())
    for name, tensor in tensors.items():
        seen.update(name.encode() + tensor.astype("<f4").tobytes())
    assert seen.hexdigest() == CONTENT_DIGEST, "raise GENERATOR_VERSION if this was meant"


def test_two_files_are_equal_byte_for_byte(tmp_path: Path) -> None:
    tiny.write(tmp_path / "a.gguf")
    tiny.write(tmp_path / "b.gguf")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gguf", "b.gguf"]


def test_vocabulary_is_sound(content) -> None:
    tokens, merges, _ = content
    assert len(tokens) == len(set(tokens)) == tiny.VOCABULARY
    known = set(vocabulary.byte_alphabet())
    for merge in merges:
        left, right = merge.split(" ")
        assert {left, right} <= known, "a merge uses what is only made later"
        known.add(left + right)
    assert known < set(tokens)


def test_byte_alphabet_is_gpt2s() -> None:
    alphabet = vocabulary.byte_alphabet()
    assert len(set(alphabet)) == 256
    assert alphabet[ord("A")] == "A"
    assert alphabet[ord(" ")] == "Ġ"
    assert alphabet[ord("\n")] == "Ċ"
    assert alphabet[0xFF] == "ÿ"
    assert all(len(sign) == 1 and not sign.isspace() for sign in alphabet)


def test_bias_channel_is_constant_and_only_hidden_tokens_use_it(content) -> None:
    tokens, _, tensors = content
    embedding, output = tensors["token_embd.weight"], tensors["output.weight"]
    assert len(set(embedding[:, 0].tolist())) == 1
    for name, tensor in tensors.items():
        if name.endswith(("attn_output.weight", "ffn_down.weight")):
            assert not tensor[0].any(), name
    pushed = {token for token, row in zip(tokens, output, strict=True) if row[0] < 0}
    assert {"<|end|>", "<|begin|>", "<|user|>", "ĉ", "ÿ"} <= pushed
    assert not {"a", "Ġthe", "Ċ", "}"} & pushed


def test_find_makes_tiny_once(cache: Path) -> None:
    path = models.find("tiny")
    assert path == cache / "models" / f"tiny-v{tiny.GENERATOR_VERSION}.gguf"
    before = path.stat().st_mtime_ns
    assert models.find("tiny") == path
    assert path.stat().st_mtime_ns == before
    assert models.digest(path) == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_many_makers_at_once_leave_one_whole_file(cache: Path) -> None:
    makers = [threading.Thread(target=models.find, args=("tiny",)) for _ in range(4)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert [path.name for path in (cache / "models").iterdir()] == [models.tiny_path().name]
    assert models.tiny_path().stat().st_size > 1_000_000


def test_a_copy_under_another_name_is_known_for_noise(cache: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model.gguf"
    shutil.copy(models.find("tiny"), copy)
    assert models.random_weights(copy)
    copy.write_bytes(b"GGUF" + bytes(100))
    assert not models.random_weights(copy)


def test_digest_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF one")
    first = models.digest(path)
    path.write_bytes(b"GGUF two!")
    assert models.digest(path) != first


def test_known_models_lists_tiny_and_the_cache(cache: Path) -> None:
    ours = ["tiny", "tiny-5M", "tiny-22M"]
    offered = [(info.name, info.size_bytes) for info in models.known_models()]
    assert offered == [(name, None) for name in ours]
    tiny_file = models.find("tiny")
    shutil.copy(tiny_file, tiny_file.with_name("mine.gguf"))
    listed = models.known_models()
    assert [info.name for info in listed] == [*ours, "mine"]
    assert listed[0].size_bytes == listed[-1].size_bytes == tiny_file.stat().st_size
    assert models.find("mine") == tiny_file.with_name("mine.gguf").resolve()


@pytest.mark.parametrize(
    ("model", "what"),
    [
        ("nowhere/at/all.gguf", "does not exist"),
        ("llama3.2:1b", "does not exist"),
        ("{tmp}/folder.gguf", "is a folder"),
        ("{tmp}/text.gguf", "not a GGUF file"),
        ("{tmp}/empty.gguf", "not a GGUF file"),
    ],
)
def test_bad_models_are_one_line_with_a_remedy(
    model: str, what: str, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "text.gguf").write_text("# hello")
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(BackendError, match=what) as caught:
        models.find(model.format(tmp=tmp_path))
    assert "harness models" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unwritable_cache_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(BackendError, match="HARNESS_CACHE_DIR"):
        models.find("tiny")


def test_cache_dir_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HARNESS_CACHE_DIR", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "chimera-harness"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "chimera-harness"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_dir() == Path.home() / "Library" / "Caches" / "chimera-harness"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_dir() == tmp_path / "local" / "chimera-harness"
