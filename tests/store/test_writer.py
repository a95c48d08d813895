"""RunWriter: records, artifacts, the end of a run, and the end of its disk."""

from __future__ import annotations

import resource

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engine.summary import derive_summary
from harness.errors import StoreError
from harness.schema import Summary
from harness.store import RunWriter, load_run
from tests.store import builders

ENDED = "2026-11-20T21:18:00+00:00"


def write_run(out, state="finished", records=None):
    records = builders.records() if records is None else records
    with RunWriter.create(builders.manifest(), out) as writer:
        for record in records:
            writer.append(record)
        summary = derive_summary(writer.manifest, records, state=state)
        writer.finish(state, summary, ENDED)
    return summary


def test_a_finished_run_comes_back_as_it_was(tmp_path):
    summary = write_run(tmp_path / "out")
    run = load_run(tmp_path / "out")
    assert run.summary == summary
    assert list(run.records()) == builders.records()
    assert (run.manifest.state, run.manifest.ended) == ("finished", ENDED)
    assert run.warnings == ()


def test_the_summary_derived_again_equals_the_one_written(tmp_path):
    write_run(tmp_path / "out")
    written = (tmp_path / "out" / "summary.json").read_bytes()
    (tmp_path / "out" / "summary.json").unlink()
    derived = load_run(tmp_path / "out").summary
    assert derived == msgspec.json.decode(written, type=Summary)


def test_a_failed_run_keeps_its_reason(tmp_path):
    with RunWriter.create(builders.manifest(), tmp_path / "out") as writer:
        writer.finish("failed", None, ENDED, error="no server at http://127.0.0.1:1")
    run = load_run(tmp_path / "out")
    assert run.manifest.error == "no server at http://127.0.0.1:1"
    assert run.summary.state == "failed"
    assert run.summary.verdict.state == "invalid"


def test_artifacts_have_safe_unique_names_inside_the_folder(tmp_path):
    with RunWriter.create(builders.manifest(), tmp_path / "out") as writer:
        paths = [writer.artifact(3, "report.md", text) for text in ("one", "two", "three")]
        paths.append(writer.artifact(3, "../../../evil\x1b[31m", b"\x00\xff"))
    assert paths == [
        "artifacts/0003/report.md",
        "artifacts/0003/report-2.md",
        "artifacts/0003/report-3.md",
        "artifacts/0003/evil_31m",
    ]
    assert (tmp_path / "out" / paths[2]).read_text() == "three"
    assert (tmp_path / "out" / paths[3]).read_bytes() == b"\x00\xff"


@given(name=st.text())
def test_no_artifact_leaves_the_folder(tmp_path_factory, name):
    out = tmp_path_factory.mktemp("artifact") / "out"
    with RunWriter.create(builders.manifest(), out) as writer:
        path = out / writer.artifact(0, name, "text")
    assert path.resolve().parent == (out / "artifacts" / "0000").resolve()
    assert path.read_text() == "text"


def test_nothing_can_be_appended_to_a_finished_run(tmp_path):
    write_run(tmp_path / "out")
    with RunWriter.create(builders.manifest(), tmp_path / "two") as writer:
        writer.finish("finished", None, ENDED)
        with pytest.raises(StoreError, match="the record log is closed"):
            writer.append(builders.trial())


def test_a_full_disk_leaves_a_run_that_loads(tmp_path):
    records = builders.records()
    with RunWriter.create(builders.manifest(), tmp_path / "out") as writer:
        for record in records[:3]:
            writer.append(record)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = (tmp_path / "out" / "records.log").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
        try:
            with pytest.raises(StoreError, match="the first 3 records"):
                writer.append(records[3])
            with pytest.raises(StoreError, match="cannot keep the artifact big"):
                writer.artifact(0, "big", bytes(size + 100))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "out" / "artifacts").rglob("big")) == []
    run = load_run(tmp_path / "out")
    assert list(run.records()) == records[:3]
    assert run.summary.state == "interrupted"


def test_reports_has_its_own_folder(tmp_path):
    with RunWriter.create(builders.manifest(), tmp_path / "out") as writer:
        writer.report("one.txt", lambda out: out.write(b"one"), "--format one")
        assert (tmp_path / "out" / "reports" / "one.txt").read_bytes() == b"one"
        with pytest.raises(ZeroDivisionError):
            writer.report("two.txt", lambda out: out.write(b"half") / 0, "--format two")
        assert [path.name for path in (tmp_path / "out" / "reports").iterdir()] == ["one.txt"]
        (tmp_path / "out" / "reports" / "three.txt").mkdir()
        with pytest.raises(StoreError, match="cannot write this report"):
            writer.report("three.txt", lambda out: None, "--format three")
