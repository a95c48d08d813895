"""`harness agents build`: what it says where a machine cannot; and nothing is done twice.

What cargo would need minutes for is played by a script in its place; its refusals are its own."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from harness_agents import rust
from harness_agents.build import build
from harness_agents.cargo import find_cargo

from harness.errors import BackendError

COMPILE_ERROR = """\
   Compiling agent-core v0.1.0 (/somewhere)
error[E0432]: unresolved import `tokio::nothing`
error: could not compile `agent-tokio` (bin "agent-tokio") due to 1 previous error
"""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Builds go to a folder of the test's own."""
    monkeypatch.setattr(rust, "target_folder", lambda: tmp_path / "target")
    return tmp_path / "target"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Puts programs, each a script, onto a PATH that has nothing else of cargo's."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def put(**scripts):
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)

    monkeypatch.setenv("PATH", f"{folder}:{without_cargo(tmp_path)}")
    monkeypatch.setenv("CARGO_HOME", str(tmp_path / "no_cargo_home"))
    return put


def without_cargo(tmp_path):
    """A folder with what the scripts need."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("cat", "mkdir", "cp", "sh"):
        (tools / name).symlink_to(shutil.which(name))
    return tools


def run(*words):
    result = CliRunner().invoke(build, list(words))
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_no_cargo(machine):
    with pytest.raises(BackendError, match=r"there is no cargo.*rustup\.rs.*apt-get install cargo"):
        run()


def test_cargo_without_a_compiler(machine):
    machine(cargo="echo cargo 1.99.0")
    with pytest.raises(BackendError, match="has no rustc"):
        run()


@pytest.mark.parametrize(
    ("said", "fits"),
    [("rustc 1.84.1 (abc)", False), ("rustc 1.85.0", True), ("rustc 2.0.0", True), ("?", False)],
)
def test_the_oldest_compiler_is_that_of_the_workspace(machine, said, fits):
    machine(cargo="echo cargo 1.99.0", rustc=f"echo '{said}'")
    if fits:
        assert find_cargo().rustc == said
    else:
        with pytest.raises(BackendError, match=r"too old: it takes 1\.85 or later.*rustup update"):
            find_cargo()


def test_what_can_be_built_is_built_and_the_rest_is_named(machine, elsewhere, tmp_path):
    (tmp_path / "said").write_text(COMPILE_ERROR)
    make = 'mkdir -p "$CARGO_TARGET_DIR/release"; echo x > "$CARGO_TARGET_DIR/release/agent-smol"'
    machine(rustc="echo rustc 1.99.0", cargo=f"{make}; cat {tmp_path}/said >&2; exit 101")
    result = run("--runtime", "rust-smol", "--runtime", "rust-tokio")
    assert result.exit_code == 1
    shown = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert shown["rust-smol"].endswith("smol, one thread")
    assert shown["rust-tokio"].startswith("not built")
    assert "unresolved import" in result.stderr
    assert "Compiling" not in result.stderr
    assert rust.binary("rust-smol") == elsewhere / "release" / "agent-smol"
    with pytest.raises(BackendError, match=r"rust-tokio: is not built \(try: harness agents build"):
        rust.binary("rust-tokio")


def test_cargo_is_asked_for_what_was_asked_for(machine, elsewhere, tmp_path, monkeypatch):
    monkeypatch.setenv("CARGO_PROFILE_RELEASE_LTO", "off")
    heard = tmp_path / "heard"
    machine(
        rustc="echo rustc 1.99.0",
        cargo=f'echo "$@" >> {heard}; echo "$CARGO_PROFILE_RELEASE_LTO" >> {heard}',
    )
    assert run("--runtime", "rust-smol-1kb", "--offline", "--force").exit_code == 1
    clean, _, made, profile = heard.read_text().splitlines()
    assert clean.startswith("clean --release -p agent-core -p agent-smol --locked")
    assert made.startswith("build --release --keep-going --workspace --bin agent-smol-1kb")
    assert "--offline" in made.split()
    assert profile == "", "the profile is that of Cargo.toml"


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("error: linker `cc` not found", "build-essential"),
        ("error: No space left on device (os error 28)", "is full"),
        ("error: failed to download from `https://…`", "cargo fetch --locked"),
    ],
)
def test_a_remedy_for_what_is_known(machine, elsewhere, said, remedy):
    machine(rustc="echo rustc 1.99.0", cargo=f"echo '{said}' >&2; exit 101")
    result = run()
    assert result.exit_code == 1
    assert said in result.stderr
    assert remedy in result.stderr.splitlines()[-1]


@pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo: https://rustup.rs")
def test_no_crates_and_no_network_in_cargos_own_words(elsewhere, tmp_path, monkeypatch):
    home = os.environ.get("RUSTUP_HOME") or os.path.expanduser("~/.rustup")  # noqa: PTH111
    monkeypatch.setenv("RUSTUP_HOME", home)
    monkeypatch.setenv("CARGO_HOME", str(tmp_path / "empty"))
    result = run("--offline")
    assert result.exit_code == 1
    assert "the crates are not on this machine" in result.stderr.splitlines()[-1]


def test_binaries_of_other_sources_are_not_used(elsewhere):
    release = elsewhere / "release"
    release.mkdir(parents=True)
    (release / "agent-smol").write_text("")
    with pytest.raises(BackendError, match="built of other sources"):
        rust.binary("rust-smol")
    now = rust.Built(sources=rust.sources_digest(), at="2026-01-01T00:00:00+00:00")
    rust.write_notes({"rust-smol": now})
    assert rust.binary("rust-smol").name == "agent-smol"
    rust.write_notes({"rust-smol": rust.Built(sources="other", at=now.at)})
    with pytest.raises(BackendError, match="built of other sources"):
        rust.binary("rust-smol")


def test_a_name_that_there_is_not():
    with pytest.raises(BackendError, match="one of rust-tokio, "):
        rust.binary("rust-monoio")


def test_outside_of_a_checkout_the_users_cache_has_them(monkeypatch, tmp_path):
    monkeypatch.setattr(rust, "WORKSPACE", tmp_path / "site-packages" / "harness_agents" / "rust")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert rust.target_folder().parent == tmp_path / "cache" / "harness" / "rust"


def test_what_is_up_to_date_is_not_built_again():
    try:
        find_cargo()
        rust.binary("rust-tokio")
    except BackendError as error:
        pytest.skip(f"{error}")
    result = run("--offline")
    assert result.exit_code == 0, result.stderr
    assert "all up to date" in result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(rust.RUNTIMES)


def test_all_are_registered():
    from harness_agents.agents import offered

    found = {name: summary for name, _, summary in offered() if name.startswith("rust-")}
    assert found == {name: f"agent in Rust: {one.summary}" for name, one in rust.RUNTIMES.items()}


def test_the_page_lists_what_there_is():
    page = (Path(__file__).parents[2] / "docs" / "rust-agents.md").read_text("utf-8")
    assert re.findall(r"^\| `(rust-\S+)` \|", page, re.M) == list(rust.RUNTIMES)
    manifest = (rust.WORKSPACE / "Cargo.toml").read_text("utf-8")
    (oldest,) = re.findall(r'^rust-version = "(\S+)"', manifest, re.M)
    assert f"rustc {oldest} or later" in page
