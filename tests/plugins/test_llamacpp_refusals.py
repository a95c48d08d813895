"""Backend `llamacpp`: options that win, options that are refused, and what goes wrong."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from harness_llamacpp import LlamaCppOptions, harness_count_tokens
from harness_llamacpp.backend import LlamaCppBackend

from harness.errors import BackendError, HarnessError, MissingExtra, SpecError
from harness.schema import Decoded
from tests.plugins.llamacpp_kit import make
from tests.plugins.own_server_kit import ask, carry

pytestmark = [pytest.mark.real_model, pytest.mark.usefixtures("cache")]

# ----------------------------------------------------------------------------------------- options


def test_a_calls_own_options_win() -> None:
    it = make(temperature=0.5, extra={"dry_multiplier": 0.1})
    changes = {"temperature": 0, "repeat_penalty": 1.2, "num_ctx": 8192}
    plain, changed = (
        msgspec.json.decode(it.prepare(ask(options=options)).body) for options in ({}, changes)
    )
    assert (plain["temperature"], plain["repeat_penalty"]) == (0.5, 1.0)
    assert (changed["temperature"], changed["repeat_penalty"]) == (0, 1.2)
    assert changed["dry_multiplier"] == plain["dry_multiplier"] == 0.1
    assert plain["cache_prompt"] is False
    assert "num_ctx" not in changed
    same = ("top_p", "top_k", "min_p", "seed", "model", "messages", "max_tokens")
    assert [plain[name] for name in same] == [changed[name] for name in same]


def test_a_seed_among_the_calls_options_wins_over_the_requests() -> None:
    body = make().prepare(ask(seed=5, options={"seed": 11})).body
    assert msgspec.json.decode(body)["seed"] == 11


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"temprature": 1}, "no option 'temprature'.*temperature"),
        ({"num_ctx": 512}, "fixed when the server starts.*-o num_ctx=512"),
        ({"top_p": 2.0}, "top_p"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_a_calls_wrong_option_is_named(options: dict[str, Any], what: str) -> None:
    with pytest.raises(SpecError, match=what) as caught:
        make().prepare(ask(options=options))
    assert "request.options" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"parallel": 0}, {"parallel": 257}, {"num_ctx": 0}, {"flash_attn": "maybe"}, {"n_ctx": 5}],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, LlamaCppOptions)


@pytest.mark.parametrize("extra", [{"n": 2}, {"api_key": "sk-hunter2"}])
def test_what_the_openai_backend_refuses_in_extra_is_a_spec_error(extra: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="`extra`") as caught:
        make(extra=extra)
    assert "hunter2" not in str(caught.value)


def test_an_api_key_in_the_environment_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-this-server")
    exchange = make().prepare(ask())
    assert "not-for-this" not in repr(exchange)


# ---------------------------------------------------------------------------------- what goes wrong


def refusal(runner: asyncio.Runner, backend: LlamaCppBackend) -> HarnessError:
    with pytest.raises(HarnessError) as caught:
        runner.run(backend.open())
    runner.run(backend.close())
    assert "\n" not in str(caught.value)
    return caught.value


def test_an_address_is_not_for_this_backend() -> None:
    with pytest.raises(SpecError, match="--backend openai --url http://there"):
        make(urls=("http://there:1",))


def test_a_missing_file_names_itself_and_the_remedy(runner: asyncio.Runner) -> None:
    error = refusal(runner, make("/no/such/model.gguf"))
    assert isinstance(error, BackendError)
    assert "/no/such/model.gguf" in str(error)
    assert "harness models" in str(error)


def test_a_hostile_name_leaves_no_remnant(runner: asyncio.Runner) -> None:
    error = refusal(runner, make("evil[bold]\x1b[31m<b>"))
    assert "'evil[bold]<b>'" in error.what
    assert "31m" not in str(error)


def test_a_broken_file_gives_the_engines_words(runner: asyncio.Runner, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\x03" + bytes(200))
    error = refusal(runner, make(str(tmp_path / "broken.gguf")))
    assert isinstance(error, BackendError)
    assert "error" in error.what
    assert "broken.gguf" in str(error)


def test_too_slow_a_load_is_ended(runner: asyncio.Runner) -> None:
    it = make(load_timeout_s=1e-6)
    error = refusal(runner, it)
    assert "load_timeout_s" in str(error)
    assert it._process is not None
    assert not it._process.alive()


@pytest.mark.parametrize("missing", ["xllamacpp", "gguf"])
def test_a_missing_package_names_the_extra(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, missing, None)
    error = refusal(runner, make())
    assert isinstance(error, MissingExtra)
    assert f"'{missing}'" in str(error)
    assert "chimera-harness[llamacpp]" in str(error)
    assert not list(tmp_path.rglob("*.part"))


def test_a_server_that_dies_ends_its_calls_and_says_so(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    it = make(num_ctx=32_768, parallel=1)

    async def die() -> list[tuple[Any, Decoded]]:
        await it.open()
        assert it._process is not None
        call = asyncio.ensure_future(carry(it, ask(max_tokens=30_000, ignore_eos=True)))
        async with httpx.AsyncClient() as client:
            address = it.urls[0].removesuffix("/v1")
            while not (await client.get(f"{address}/slots")).json()[0]["is_processing"]:
                assert not call.done()
        os.kill(it._process.pid, signal.SIGKILL)
        torn = await call
        # The kernel may close the port after the streams.
        await asyncio.to_thread(it._process._child.wait)
        return torn + await carry(it, ask())

    with caplog.at_level(logging.ERROR, "harness.llamacpp"):
        (torn, half), (refused, none) = runner.run(die())
        runner.run(it.close())
    assert torn.outcome in ("eof", "reset")
    assert half.end is None
    assert refused.outcome == "connect"
    for read in (half, none):
        assert read.error is not None
        assert read.error.message.startswith("the embedded server died: ")
        assert "killed by SIGKILL" in read.error.message
    assert "killed by SIGKILL" in caplog.text
    assert harness_count_tokens("tiny", "the") is None
