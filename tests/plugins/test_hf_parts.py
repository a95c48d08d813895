"""Backend `hf` without torch: files, names, text, lines, predictions, refusals."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from harness_hf import HfOptions, models, tensors, tiny
from harness_hf.backend import _read_back, _said
from harness_hf.footprint import device_of, predict
from harness_hf.jobs import Ask, Job, Jobs
from harness_hf.memory import taken_bytes
from harness_hf.models import Found
from harness_hf.pieces import Pieces
from harness_llamacpp.tiny import VOCABULARY
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import cli
from harness.devices import GpuProcess, Processes
from harness.errors import BackendError, HarnessError, MissingExtra, SpecError
from harness.schema import ChunkKind
from harness.testing import respond
from harness.testing.wire import record_from
from tests.plugins.hf_kit import make, stamps_of, tokens_of
from tests.plugins.own_server_kit import ask

CONTENT_DIGEST = "5295fdae097d0aa8902703764eb9ada15f9949def5be12c561cf20cdb611debf"
"""Of the folder `tiny`, file by file."""
OURS = GpuProcess(pid=os.getpid(), used_bytes=3)
UNTOLD = GpuProcess(pid=os.getpid())
OTHER = GpuProcess(pid=1, used_bytes=100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    it = tmp_path_factory.mktemp("hf") / "tiny"
    tiny.write(it)
    return it


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


# ----------------------------------------------------------------------------- tiny, and its files


def test_tiny_has_the_same_bytes_everywhere(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    seen = hashlib.sha256()
    for name in names:
        seen.update(name.encode() + hashlib.sha256((folder / name).read_bytes()).digest())
    assert seen.hexdigest() == CONTENT_DIGEST, "raise GENERATOR_VERSION if this was meant"
    assert models.random_weights(folder)


def test_files_that_are_nested_without_end_are_read_as_none(tmp_path: Path) -> None:
    deep = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    (tmp_path / "config.json").write_bytes(deep)
    (tmp_path / "model.safetensors").write_bytes(len(deep).to_bytes(8, "little") + deep)
    assert models.config(tmp_path) == {}
    assert "weights_bytes" in predict(Found(folder=tmp_path), HfOptions()).unknown


def test_tiny_is_what_its_headers_say(folder: Path) -> None:
    found = tensors.headers(models.weight_files(folder))
    config = models.config(folder)
    assert sum(one.numbers for one in found.values()) == config["parameters"] == 647_488
    assert {one.dtype for one in found.values()} == {"F32"}
    assert found["model.embed_tokens.weight"].shape == (4096, 64)
    assert len(found) == 2 * 9 + 3


def test_its_tokenizer_counts_and_gives_the_text_back(folder: Path) -> None:
    from tokenizers import Tokenizer

    it = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words = "the median latency of the server: 12 ms, Zürich → 東京 🙂"
    ids = it.encode(words).ids
    assert ids[0] == 0, "a begin mark"
    assert it.decode(ids) == words
    assert len(it.encode("the the the", add_special_tokens=False).ids) == 3


def test_sizes_differ_and_a_seed_makes_other_numbers(tmp_path: Path) -> None:
    shapes = [*tiny.SHAPES.values()]
    numbers = []
    for shape in shapes[:2]:
        tiny.write(tmp_path / shape.name, shape, dtype="bfloat16")
        numbers.append(models.config(tmp_path / shape.name)["parameters"])
    assert numbers == sorted(numbers)
    assert len(tiny.SHAPES) >= 3
    other = msgspec.structs.replace(shapes[0], seed=3)
    tiny.write(tmp_path / "other", other, dtype="bfloat16")
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("tiny", "other"))
    assert len(one) == len(two)
    assert one != two


def test_what_is_there_is_left_as_it_is(folder: Path) -> None:
    before = (folder / "config.json").stat()
    tiny.write(folder)
    assert (folder / "config.json").stat().st_mtime_ns == before.st_mtime_ns
    assert [path for path in folder.parent.iterdir() if path.name.startswith(".")] == []


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_bfloat16_is_the_nearest_there_is(values: list[float]) -> None:
    numbers = np.array(values, "f4")
    bits = np.frombuffer(tensors._numbers(numbers, "bfloat16"), "<u2").astype("<u4") << 16
    back = bits.view("<f4").astype("f8")
    step = np.maximum(np.abs(numbers.astype("f8")) * 2.0**-8, 2.0**-134)
    finite = np.isfinite(back)
    assert (np.abs(back - numbers)[finite] <= step[finite]).all()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        b"\xff" * 16,
        (100).to_bytes(8, "little") + b"{}",
        b"\x02" + bytes(7) + b"[]",
    ],
)
def test_a_file_that_is_none_is_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(tensors.BadHeaderError, match=r"model\.safetensors"):
        tensors.headers([tmp_path / "model.safetensors"])


# ------------------------------------------------------------------------------------------- names


def test_a_name_is_ours_a_folder_or_of_the_hub(home: Path, folder: Path) -> None:
    made = models.find("tiny")
    assert made is not None
    assert made.folder == home / "cache" / "models" / "hf" / "tiny-v1"
    own = models.find(str(folder))
    assert own is not None
    assert own.folder == folder.resolve()
    (home / "cache" / "models" / "hf" / "mine").symlink_to(folder)
    named = models.find("mine")
    assert named is not None
    assert named.folder == folder.resolve()
    assert [info.name for info in models.known_models()][: len(tiny.SHAPES) + 1] == [
        *tiny.SHAPES,
        "mine",
    ]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("org/none", r"not in the hub's cache, and the hub is not to be asked.*hf download"),
        ("/no/such/folder", "does not exist.*harness models --backend hf"),
        ("~", "without a config.json"),
        ("evil[bold]\x1b[31m<b>", "neither a folder nor the name of a hub repository"),
        ("a/b/c", "does not exist"),
    ],
)
def test_a_model_that_is_not_there_says_where_and_what_to_do(home, name: str, what: str) -> None:
    with pytest.raises(BackendError, match=what) as caught:
        models.find(name)
    assert "\x1b" not in str(caught.value)
    assert caught.value.where
    assert caught.value.remedy


def test_the_digest_is_of_every_file_that_matters(tmp_path: Path) -> None:
    it = tmp_path / "one"
    tiny.write(it)
    first = models.digest(it)
    assert first == models.digest(it)
    size = models.disk_bytes(it)
    assert size == sum(path.stat().st_size for path in it.iterdir())
    (it / "chat_template.jinja").write_text("{{ 1 }}", "utf-8")
    assert models.digest(it) != first


# -------------------------------------------------------------------------------------------- text


def decode_bytes(ids: list[int]) -> str:
    """A tokenizer whose tokens are bytes: the hardest there is."""
    return bytes(ids).decode("utf-8", "replace")


@given(st.text(), st.lists(st.integers(1, 5)))
def test_pieces_are_the_text_however_many_tokens_come_at_once(text: str, sizes: list[int]) -> None:
    ids = list(text.encode())
    pieces, out = Pieces(decode_bytes), []
    sizes = [*sizes, *[1] * len(ids)]
    while ids:
        count = sizes.pop(0)
        out.append(pieces.add(ids[:count]))
        del ids[:count]
    assert "\ufffd" not in "".join(out) or "\ufffd" in text
    assert "".join(out) + pieces.rest() == text


def test_half_a_character_comes_with_its_other_half_or_at_the_end() -> None:
    pieces = Pieces(decode_bytes)
    assert [pieces.add([one]) for one in "é!".encode()] == ["", "é", "!"]
    assert pieces.add([0xF0, 0x9F]) == ""
    assert pieces.rest() == "\ufffd"


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_a_reply_stops_before_the_first_stop_string(text: str, stop: list[str]) -> None:
    pieces = Pieces(decode_bytes, stop)
    said = "".join(pieces.add([one]) for one in text.encode())
    found = [end for one in stop if (end := text.find(one)) >= 0]
    if found:
        assert pieces.stopped
        # Of those that end first: the one that was whole first.
        whole = min(text.find(one) + len(one) for one in stop if one in text)
        assert (
            said + pieces.rest()
            == text[: min(text[:whole].find(one) for one in stop if one in text[:whole])]
        )
    else:
        assert not pieces.stopped
        assert said + pieces.rest() == text


# ------------------------------------------------------------------------------------------- lines


def read(*lines: str, **how):
    backend = make()
    pieces = respond([f"{line}\n".encode() for line in lines], content_type="application/x-ndjson")
    record = record_from(pieces, framing_hint="ndjson", **how)
    return record, backend.decode(ask(), record)


def test_a_token_without_text_is_counted_and_is_no_first_token() -> None:
    """Two tokens make the first character, and two the second: each is a step of its own."""
    _, found = read(
        '{"t":1,"n":1,"text":""}',
        '{"t":2,"n":1,"text":"é"}',
        '{"t":3,"n":1,"text":""}',
        '{"t":4,"n":1,"text":"é"}',
        '{"t":4,"done":true,"finish_reason":"stop","usage":{"output_tokens":4}}',
    )
    nothing, answer = ChunkKind.EMPTY, ChunkKind.ANSWER
    assert list(found.kinds) == [nothing, answer, answer, answer, nothing]
    assert tokens_of(found) == [1, 1, 1, 1, 0]
    assert stamps_of(found).tolist() == [1, 2, 3, 4, 4]
    assert (found.text, found.end, found.error) == ("éé", 4, None)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"error":{"code":"out_of_memory","message":"no room"}}', "out_of_memory"),
        ('{"error":{}}', "stream"),
        ('{"t":"soon"}', "protocol"),
        ("[1]", "protocol"),
    ],
)
def test_an_error_in_the_stream_is_the_calls(line: str, code: str) -> None:
    _, found = read('{"t":1,"n":1,"text":"a"}', line)
    assert found.error is not None
    assert found.error.code == code
    assert found.end is None


def test_numbers_beyond_their_columns_are_none() -> None:
    _, found = read(f'{{"t":{2**70},"n":{2**40},"text":"a"}}', '{"t":-1,"n":-1,"text":"b"}')
    assert stamps_of(found).tolist() == [0, 0]
    assert tokens_of(found) == [0, 0]


# ------------------------------------------------------------------------------ requests that wait


def job(**how) -> Job:
    return Job(Ask(prompt="x", **how), SimpleNamespace())  # type: ignore[arg-type]


def test_a_batch_is_of_those_that_wait_and_want_the_same() -> None:
    jobs = Jobs(batch=3, wait_ms=0)
    given_ = [job(), job(temperature=1.0), job(max_tokens=3), job(seed=4), job()]
    for one in given_:
        jobs.put(one)
    taken = [jobs.take() for _ in range(3)]
    places = [[given_.index(one) for one in batch] for batch in taken]  # type: ignore[union-attr]
    assert places == [[0, 2, 3], [1], [4]]


def test_alone_is_alone() -> None:
    jobs = Jobs(batch=1, wait_ms=1000)
    first, second = job(), job()
    jobs.put(first)
    jobs.put(second)
    assert [jobs.take(), jobs.take()] == [[first], [second]]


# ------------------------------------------------------------------------------------- predictions


def test_weights_and_keys_follow_the_options(folder: Path) -> None:
    def total(**options) -> tuple[int | None, int | None]:
        said = predict(Found(folder=folder), msgspec.convert(options, HfOptions))
        return said.weights_bytes, said.kv_bytes

    weights, keys = total(num_ctx=1000)
    assert weights == 4 * 647_488
    assert keys == 2 * 2 * 1 * 64 * 4 * 1000
    assert total(num_ctx=1000, batch=4) == (weights, 4 * keys)
    assert total(num_ctx=1000, dtype="bfloat16") == (weights // 2, keys // 2)
    # The library makes matrices of layers smaller, and neither embeddings nor the output's head.
    width = tiny.SHAPES["tiny"].width
    whole = 2 * VOCABULARY * width + (2 * tiny.SHAPES["tiny"].layers + 1) * width
    assert total(quantization="bnb-nf4")[0] == 4 * whole + (647_488 - whole) // 2
    assert total(num_ctx=10**9)[1] == 2 * 2 * 64 * 4 * 32_768, "no more than the model's own"


def test_what_cannot_be_predicted_says_why(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"n_layer": "many"}', "utf-8")
    said = predict(Found(folder=tmp_path), HfOptions())
    assert said.total_bytes is None
    assert set(said.unknown) == {"weights_bytes", "kv_bytes"}
    gone = predict(None, HfOptions())
    assert "not on this disk" in gone.unknown["weights_bytes"]


@pytest.mark.parametrize(
    ("by_device", "taken"),
    [
        ([Processes(listed=(OURS, OTHER)), Processes(listed=(OURS,))], 6),
        ([Processes(listed=(OURS,)), Processes(listed=(OTHER,))], 3),
        ([Processes(listed=(OTHER,)), Processes()], None),
        ([Processes(listed=(OURS,)), Processes(unknown="Not Supported")], None),
        ([Processes(listed=(OURS,)), Processes(listed=(UNTOLD,))], None),
    ],
)
def test_what_a_process_takes_of_gpus_is_all_of_it_or_unknown(by_device, taken) -> None:
    each = dict(zip("ab", by_device, strict=True))
    driver = SimpleNamespace(
        devices=lambda: [SimpleNamespace(uuid=uuid) for uuid in each], processes=each.__getitem__
    )
    assert taken_bytes(driver) == taken


def test_which_memory_is_told_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device_of(HfOptions()) == "host"
    assert device_of(HfOptions(device="cuda:1")) == "gpu"
    assert device_of(HfOptions(device="cpu")) == "host"


# ---------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"compile": True}, "cache: static"),
        ({"loop": "own", "prompt_lookup": 3}, "guesses nothing ahead"),
        ({"assistant": "tiny", "batch": 2}, "batch: 1"),
        ({"device": "cuda", "device_map": "auto"}, "choose one"),
        ({"dtype": "int3"}, "dtype"),
        ({"batch": 0}, "batch"),
        ({"temperature": -1}, "temperature"),
        ({"quantisation": "none"}, "quantisation"),
    ],
)
def test_wrong_options_are_refused(options: dict, what: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=what):
        msgspec.convert(options, HfOptions)


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (ask(options={"temprature": 1}), "no option 'temprature'.*temperature"),
        (ask(options={"dtype": "float16"}), "fixed when the model is loaded.*-o dtype=float16"),
        (ask(options={"top_p": 2.0}), "top_p"),
        (ask(format="json"), "no `format`"),
        (ask(tools=({"name": "x"},)), "no `tools`"),
    ],
)
def test_a_calls_wrong_option_is_named(request_, what: str) -> None:
    with pytest.raises(SpecError, match=what):
        make().prepare(request_)


def test_a_calls_own_options_win() -> None:
    it = make(temperature=0.5, stop=("x",))
    plain = msgspec.json.decode(it.prepare(ask()).body)
    changed = msgspec.json.decode(
        it.prepare(ask(options={"temperature": 0, "seed": 4}, seed=9, stop=("y",))).body
    )
    assert (plain["temperature"], plain["seed"], plain["stop"]) == (0.5, 11, ["x"])
    assert (changed["temperature"], changed["seed"], changed["stop"]) == (0, 4, ["y"])


def test_an_address_is_not_for_this_backend() -> None:
    with pytest.raises(SpecError, match="--backend openai --url http://there"):
        make(urls=("http://there:1",))


def refusal(backend) -> HarnessError:
    async def run() -> HarnessError:
        with pytest.raises(HarnessError) as caught:
            await backend.open()
        await backend.close()
        return caught.value

    return asyncio.run(run())


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_a_missing_package_names_the_extra(missing: str, home, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    error = refusal(make())
    assert isinstance(error, MissingExtra)
    assert f"'{missing}'" in str(error)
    assert "chimera-harness[hf]" in str(error)


def test_a_quantisation_that_is_not_there_is_refused_before_anything_is_started(home) -> None:
    error = refusal(make(quantization="bnb-int8"))
    assert "pip install bitsandbytes" in str(error)


def test_too_slow_a_load_is_ended(home) -> None:
    it = make(load_timeout_s=1e-6)
    assert "load_timeout_s" in str(refusal(it))
    assert it._process is not None
    assert not it._process.alive()


@pytest.mark.parametrize(
    ("words", "what", "remedy"),
    [
        ("the server ended with status 2; error: x: bad (try: y)", "x: bad", "y"),
        ("the server ended with status 3; error: OSError: no", "OSError: no", "harness doctor"),
        ("…; error: ValueError: needs trust_remote_code", "ValueError", "trust_remote_code=true"),
        ("…; error: OutOfMemoryError: no", "OutOfMemoryError", "a smaller model"),
        ("the server was killed by SIGKILL", "killed by SIGKILL", "harness doctor"),
    ],
)
def test_what_the_worker_said_has_its_remedy(words: str, what: str, remedy: str) -> None:
    found = _said(words)
    assert what in found[0]
    assert remedy in found[1]


def test_what_runs_otherwise_than_asked_is_said() -> None:
    ready = {
        "dtype": "float32",
        "quantization": None,
        "attention": "sdpa",
        "num_thread": 4,
        "devices": ["cpu"],
        "context_length": 512,
    }
    options = HfOptions(
        dtype="bfloat16", quantization="bnb-nf4", attention="eager", device="cuda", num_ctx=9000
    )
    _, wrong = _read_back(msgspec.structs.replace(options, quantization="none"), ready)
    assert wrong == {
        "dtype": "asked bfloat16, runs float32",
        "attention": "asked eager, runs sdpa",
        "num_ctx": "asked 9000, runs 512",
        "device": "asked cuda, runs cpu",
    }
    _, wrong = _read_back(options, ready)
    assert wrong["quantization"] == "asked bnb-nf4, runs none"
    assert _read_back(HfOptions(device="cuda"), ready | {"devices": ["cuda:0"]})[1] == {}


# ------------------------------------------------------------------------- the plugin, the command


def test_importing_the_plugin_is_cheap() -> None:
    code = (
        "import sys, harness_hf, harness_hf.backend; print({'numpy', 'torch', 'transformers', "
        "'huggingface_hub', 'tokenizers', 'psutil'} & set(sys.modules))"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_models_tiny_hf_writes_one_and_lists_it(home: Path) -> None:
    runner = CliRunner()
    written = runner.invoke(cli, ["models", "tiny-hf", "--layers", "3", "--hidden", "128"])
    assert written.exit_code == 0, written.output
    assert "parameters" in written.stdout
    assert "harness run load --backend hf --model tiny-3x128" in written.stderr
    listed = runner.invoke(cli, ["models", "--backend", "hf", "--json"])
    found = {one["name"]: one for one in json.loads(listed.stdout)}
    assert {"tiny", "tiny-5M", "tiny-22M", "tiny-3x128"} <= set(found)
    assert found["tiny-3x128"]["size_bytes"] > 4 * 2 * 4096 * 128
    assert found["tiny"]["size_bytes"] is None, "not made yet"
    out = runner.invoke(cli, ["models", "tiny-hf", "--out", str(home / "here")])
    assert out.exit_code == 0
    assert (home / "here" / "model.safetensors").is_file()
    again = runner.invoke(cli, ["models", "tiny-hf", "--out", str(home / "here")])
    assert isinstance(again.exception, SpecError)
    narrow = runner.invoke(cli, ["models", "tiny-hf", "--hidden", "100"])
    assert "no multiple of 64" in str(narrow.exception)
