"""The embedded server as a process: what it answers, and that it ends whenever it should."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from harness_llamacpp import models
from harness_llamacpp.process import EngineProcess

from harness.serverprocess import ServerGoneError

pytestmark = pytest.mark.real_model

PATIENCE_S = 30.0
"""A bound for what should take milliseconds; only a failing test ever waits for it."""

linux_only = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="watches processes by pidfd: run on Linux 5.3 or later"
)


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield models.find("tiny")


@pytest.fixture(scope="module")
def server(tiny_file: Path) -> Iterator[EngineProcess]:
    process = EngineProcess(
        ["--model", str(tiny_file), "--alias", "tiny", "--num-ctx", "512", "--parallel", "2"]
    )
    yield process
    process.close()


@pytest.fixture(scope="module")
def url(server: EngineProcess) -> str:
    return str(server.ready.result(PATIENCE_S)["url"])


class Process:
    """A process that need not be our child, watched by pidfd: no polling, no mistaken identity."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def ended(self, within_s: float = PATIENCE_S) -> bool:
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        return bool(poller.poll(within_s * 1000))

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.ended(0):
            os.kill(self.pid, signal.SIGKILL)
        os.close(self._descriptor)


def events(response: httpx.Response) -> list[dict]:
    lines = response.text.split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def chat(url: str, **body) -> httpx.Response:
    message = {"role": "user", "content": "Compare the two arms of this benchmark."}
    asked = {"model": "tiny", "messages": [message], "stream": True, **body}
    return httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=PATIENCE_S)


# ------------------------------------------------------------------------------------ what it says


def test_ready_line_says_what_runs(server: EngineProcess, url: str, tiny_file: Path) -> None:
    ready = server.ready.result(PATIENCE_S)
    assert url.startswith("http://127.0.0.1:")
    assert ready["pid"] == server.pid
    assert ready["model_path"] == str(tiny_file)
    assert ready["load_s"] > 0
    assert ready["num_thread"] >= 1
    assert ready["devices"]
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}


def test_stream_has_tokens_usage_and_timings(url: str) -> None:
    response = chat(url, max_tokens=24, stream_options={"include_usage": True})
    found = events(response)
    texts = [c["delta"].get("content") for e in found for c in e["choices"]]
    assert sum(bool(text) for text in texts) == 24, "one chunk a token"
    assert [c["finish_reason"] for e in found for c in e["choices"]][-1] == "length"
    assert found[-1]["usage"]["completion_tokens"] == 24
    assert found[-1]["timings"]["predicted_n"] == 24
    assert found[-1]["timings"]["cache_n"] == 0
    assert found[-1]["model"] == "tiny"


def test_tiny_runs_to_the_bound_in_printable_text(url: str) -> None:
    """No end token in 400, at a temperature that tries everything, without ignore_eos."""
    response = chat(url, max_tokens=400, temperature=2.0, top_k=0, top_p=1, min_p=0, seed=7)
    found = events(response)
    text = "".join(c["delta"].get("content") or "" for e in found for c in e["choices"])
    assert found[-1]["timings"]["predicted_n"] == 400
    assert text.replace("\n", "").isascii()
    assert text.replace("\n", "").isprintable()


def test_english_is_split_into_words_not_bytes(url: str) -> None:
    text = "The median latency of the server was 12 ms, and the mean throughput did not change."
    found = httpx.post(f"{url}/tokenize", json={"content": text}).json()["tokens"]
    assert len(found) < len(text) / 3
    pieces = httpx.post(f"{url}/detokenize", json={"tokens": found}).json()["content"]
    assert pieces == text


def test_template_marks_roles(url: str) -> None:
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    found = httpx.post(f"{url}/apply-template", json={"messages": messages}).json()["prompt"]
    assert found == "<|system|>\nS<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\n"


def test_prompts_are_cold_by_default(url: str) -> None:
    for _ in range(3):
        found = events(chat(url, max_tokens=1))
        assert found[-1]["timings"]["cache_n"] == 0
        assert found[-1]["timings"]["prompt_n"] > 10


def test_context_is_per_slot_and_too_long_a_prompt_is_refused(url: str) -> None:
    slots = httpx.get(f"{url}/slots").json()
    assert [slot["n_ctx"] for slot in slots] == [512, 512]
    message = {"role": "user", "content": "the " * 600}
    response = chat(url, messages=[message], max_tokens=1)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "exceed_context_size_error"


def test_pages_of_other_sites_may_not_read_answers(url: str) -> None:
    response = httpx.get(f"{url}/health", headers={"Origin": "https://example.org"})
    assert response.headers.get("access-control-allow-origin", "") in ("", "null")


def test_two_servers_side_by_side(url: str, tiny_file: Path) -> None:
    other = EngineProcess(["--model", str(tiny_file), "--alias", "other", "--parallel", "1"])
    try:
        second = other.ready.result(PATIENCE_S)["url"]
        assert second != url
        names = [httpx.get(f"{u}/v1/models").json()["data"][0]["id"] for u in (url, second)]
        assert names == ["tiny", "other"]
    finally:
        other.close()


# ------------------------------------------------------------------------------------- how it ends


@linux_only
def test_close_ends_and_reaps_it(tiny_file: Path) -> None:
    process = EngineProcess(["--model", str(tiny_file)])
    process.ready.result(PATIENCE_S)
    assert process.alive()
    process.close()
    assert not process.alive()
    assert process.last_words() == "the server ended with status 0"
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    process.close()


def test_close_while_it_loads(tiny_file: Path) -> None:
    process = EngineProcess(["--model", str(tiny_file)])
    process.close()
    assert not process.alive()
    assert process.ready.done()


def test_a_file_that_is_no_model_ends_with_the_engines_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    process = EngineProcess(["--model", str(broken)])
    with pytest.raises(ServerGoneError, match=r"status 3; error: gguf_init.*"):
        process.ready.result(PATIENCE_S)
    process.close()


def test_a_killed_server_says_by_what(tiny_file: Path) -> None:
    process = EngineProcess(["--model", str(tiny_file)])
    process.ready.result(PATIENCE_S)
    os.kill(process.pid, signal.SIGKILL)
    process.close()
    assert process.last_words() == "the server was killed by SIGKILL"


_PARENT = """
import os, sys
from harness_llamacpp.process import EngineProcess
process = EngineProcess(["--model", sys.argv[1]])
process.ready.result()
if sys.argv[2] == "fork" and os.fork() == 0:
    # Holds a copy of the pipe's other end; the test closes our stdin to end it.
    sys.stdin.read()
    os._exit(0)
print(process.pid, flush=True)
if sys.argv[2] == "exit":
    os._exit(0)
if sys.argv[2] == "raise":
    raise SystemExit("a crash with a traceback")
sys.stdin.read()
"""


@linux_only
@pytest.mark.parametrize("death", ["kill -9", "fork", "exit", "raise"])
def test_server_dies_with_its_parent(tiny_file: Path, death: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tiny_file), death],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert parent.stdin and parent.stdout
    with parent.stdin, parent.stdout, Process(int(parent.stdout.readline())) as child:
        if death in ("kill -9", "fork"):
            parent.kill()
        assert child.ended(), "the server outlived its parent"
    parent.wait(PATIENCE_S)


@linux_only
def test_kernel_kills_it_while_python_cannot_look() -> None:
    """During the load: the engine holds the interpreter lock, so only the kernel can act."""
    middle = """
import os, subprocess, sys
code = ("import os, signal, sys; from harness import lifeline; "
        "lifeline.die_with_parent(os.getppid()); print(os.getpid(), flush=True); signal.pause()")
subprocess.Popen([sys.executable, "-c", code])
sys.stdin.read()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", middle],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert parent.stdin and parent.stdout
    with parent.stdin, parent.stdout, Process(int(parent.stdout.readline())) as child:
        parent.kill()
        assert child.ended()
    parent.wait(PATIENCE_S)


def test_server_outlives_the_thread_that_started_it(tiny_file: Path) -> None:
    started: list[EngineProcess] = []

    def start() -> None:
        started.append(EngineProcess(["--model", str(tiny_file)]))
        started[0].ready.result(PATIENCE_S)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    try:
        address = started[0].ready.result(PATIENCE_S)["url"]
        assert httpx.get(f"{address}/health").status_code == 200
        assert started[0].alive()
    finally:
        started[0].close()


# -------------------------------------------------------------------------------------- standalone


def standalone(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness_llamacpp.server", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


def test_command_prints_one_line_and_ends_with_its_input(tiny_file: Path) -> None:
    process = standalone("--model", str(tiny_file), "--parallel", "3", "--num-ctx", "256")
    assert process.stdin and process.stdout and process.stderr
    ready = json.loads(process.stdout.readline())
    slots = httpx.get(f"{ready['url']}/slots").json()
    assert [slot["n_ctx"] for slot in slots] == [256] * 3
    rest, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, rest, said) == (0, b"", b"")


def test_forever_ends_by_a_signal_only(tiny_file: Path) -> None:
    process = standalone("--model", str(tiny_file), "--forever")
    assert process.stdin and process.stdout and process.stderr
    ready = json.loads(process.stdout.readline())
    process.stdin.close()
    assert httpx.get(f"{ready['url']}/health").status_code == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0
    process.stdout.close()
    process.stderr.close()


def test_command_with_a_wrong_model_is_one_line(tmp_path: Path) -> None:
    process = standalone("--model", str(tmp_path / "none.gguf"))
    out, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (2, b"")
    assert said.startswith(b"error: ")
    assert said.count(b"\n") == 1
