"""The run folder: its name, where it may be made, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StoreError
from harness.schema import Manifest
from harness.store import RunWriter, folder
from tests.store import builders


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("load", "load"),
        ("toy run/α β", "toy_run_α_β"),
        ("../../etc/passwd", "etc_passwd"),
        ("..", "run"),
        ("", "run"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("con.txt", "x_con.txt"),
        ("a\x00b\nc", "a_b_c"),
        ("x" * 200 + ".json", "x" * 75 + ".json"),
        ("half\ud800", "half"),
        ("trailing. ", "trailing"),
    ],
)
def test_safe_name(text, expected):
    assert folder.safe_name(text) == expected


@given(st.text())
def test_safe_names_are_one_component(text):
    name = folder.safe_name(text)
    assert name
    assert len(name.encode()) <= 82
    assert not re.search(r'[\x00-\x1f/\\:*?"<>|]', name)
    assert name[0] not in ".-"
    assert name[-1] not in ". "


def test_a_run_folder_is_named_by_name_time_and_id(tmp_path):
    with RunWriter.create(builders.manifest(), root=tmp_path / "runs") as writer:
        assert writer.path == tmp_path / "runs" / "toy_run-20261120T211700Z-c0ffee12"
    with RunWriter.create(builders.manifest(), root=tmp_path / "runs") as again:
        assert again.path.name == "toy_run-20261120T211700Z-c0ffee12-2"


def test_local_times_become_utc(tmp_path):
    manifest = builders.manifest(started="2026-11-20T23:17:00+02:00")
    with RunWriter.create(manifest, root=tmp_path) as writer:
        assert "-20261120T211700Z-" in writer.path.name


def test_the_default_is_runs_below_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunWriter.create(builders.manifest()) as writer:
        assert writer.path.resolve().parent == tmp_path / "runs"


def test_the_manifest_is_there_before_the_first_record(tmp_path):
    import msgspec

    with RunWriter.create(builders.manifest(), tmp_path / "out") as writer:
        written = msgspec.json.decode((writer.path / "run.json").read_bytes(), type=Manifest)
    assert written == builders.manifest()


def test_out_is_exactly_that_folder_even_if_it_exists_and_is_empty(tmp_path):
    for out in (tmp_path / "deep" / "out", tmp_path / "empty"):
        if out.name == "empty":
            out.mkdir()
        with RunWriter.create(builders.manifest(), out) as writer:
            assert writer.path == out
        assert folder.is_run(out)


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    RunWriter.create(builders.manifest(), tmp_path / "out").close()
    before = (tmp_path / "out" / "run.json").read_bytes()
    with pytest.raises(StoreError, match=r"already holds a run \(try: another --out\)"):
        RunWriter.create(builders.manifest(run_id="other"), tmp_path / "out")
    assert (tmp_path / "out" / "run.json").read_bytes() == before


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="not empty, and what is in it is not a run"):
        RunWriter.create(builders.manifest(), tmp_path)
    with pytest.raises(StoreError, match="a file, not a folder"):
        RunWriter.create(builders.manifest(), tmp_path / "thesis.tex")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        RunWriter.create(builders.manifest(), tmp_path / "file" / "out")
    text = str(caught.value)
    assert "cannot make the run folder: Not a directory (try: --out FOLDER)" in text
    assert "\n" not in text


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    folder.write_atomic(path, b"old")

    def refuse(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(StoreError, match=r"summary.json: cannot write: No space left on device"):
        folder.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]
