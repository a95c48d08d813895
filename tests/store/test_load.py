"""load_run: by what one types; torn, corrupt, older, newer."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.engine.summary import derive_summary
from harness.errors import StoreError
from harness.schema import SCHEMA_VERSION, CallRecord, ClosedLoad, LogEntry, PriceRecord
from harness.store import RunWriter, list_runs, load_run
from harness.store.reader import LogReader
from tests.store import builders
from tests.store.test_writer import write_run


def make(root: Path, name: str, run_id: str, started: str) -> Path:
    manifest = builders.manifest(name=name, run_id=run_id, started=started)
    with RunWriter.create(manifest, root=root) as writer:
        writer.append(builders.trial())
        writer.finish("finished", None, started)
    return writer.path


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "runs"
    make(folder, "load", "aaaa1111", "2026-11-20T10:00:00+00:00")
    make(folder, "agent", "bbbb2222", "2026-11-20T12:00:00+00:00")
    make(folder, "load", "cccc3333", "2026-11-20T11:00:00+00:00")
    (folder / "not-a-run").mkdir()
    return folder


@pytest.mark.parametrize(
    ("ref", "run_id"),
    [
        ("latest", "bbbb2222"),
        ("agent", "bbbb2222"),
        ("load-20261120T10", "aaaa1111"),
        ("cccc", "cccc3333"),
    ],
)
def test_a_run_is_found_by_what_one_types(root, ref, run_id):
    assert load_run(ref, root=root).manifest.run_id == run_id


def test_a_run_is_found_by_its_folder_or_manifest(root):
    path = next(root.glob("agent-*"))
    assert load_run(path).manifest.run_id == "bbbb2222"
    assert load_run(str(path / "run.json")).path == path


def test_the_default_root_is_runs_below_the_current_folder(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    assert load_run().manifest.run_id == "bbbb2222"
    assert [run.run_id for run in list_runs()] == ["aaaa1111", "cccc3333", "bbbb2222"]


def test_what_is_not_found_is_one_line_with_a_remedy(root, tmp_path):
    with pytest.raises(StoreError, match="'load' fits several runs: load-20261120T100000Z-"):
        load_run("load", root=root)
    with pytest.raises(StoreError, match=r"no run begins with 'zzz' .*the newest is agent-2026"):
        load_run("zzz", root=root)
    with pytest.raises(StoreError, match=r"there is no run 'x' \(try: harness run SPEC\)"):
        load_run("x", root=tmp_path / "nowhere")
    with pytest.raises(StoreError, match=r"holds no run .*name one of the runs in it"):
        load_run(root)
    with pytest.raises(StoreError, match="there is no run here"):
        load_run(tmp_path / "no" / "such")


def test_a_run_without_manifest_says_so(tmp_path):
    write_run(tmp_path / "out")
    (tmp_path / "out" / "run.json").unlink()
    with pytest.raises(StoreError, match=r"run.json is missing"):
        load_run(tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{broken", "not a manifest"), (b"[]", "does not fit"), (b'{"run_id": 1}', "does not fit")],
)
def test_a_broken_manifest_is_one_line(tmp_path, content, message):
    write_run(tmp_path / "out")
    (tmp_path / "out" / "run.json").write_bytes(content)
    with pytest.raises(StoreError, match=message) as caught:
        load_run(tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_run_under_way_can_be_looked_at(tmp_path):
    with RunWriter.create(builders.manifest(), tmp_path / "out") as writer:
        for record in builders.records()[:4]:
            writer.append(record)
        assert load_run(tmp_path / "out").summary.state == "running"
    assert load_run(tmp_path / "out").summary.state == "interrupted"


def test_a_torn_tail_is_a_note_and_a_warning(tmp_path):
    with RunWriter.create(builders.manifest(), tmp_path / "out") as writer:
        for record in builders.records():
            writer.append(record)
    log = tmp_path / "out" / "records.log"
    log.write_bytes(log.read_bytes()[:-7])
    run = load_run(tmp_path / "out")
    assert list(run.records()) == builders.records()[:-1]
    (caveat,) = (c for c in run.summary.verdict.caveats if c.code == "torn-log")
    assert caveat.severity == "note"
    assert "torn tail (short body)" in run.warnings[0]


def test_a_corrupt_log_can_be_salvaged_and_is_invalid_then(tmp_path):
    write_run(tmp_path / "out")
    offset = flipped(tmp_path / "out", 4)
    with pytest.raises(StoreError, match=f"corrupt at byte {offset}"):
        list(load_run(tmp_path / "out").records())
    run = load_run(tmp_path / "out", salvage=True)
    assert len(list(run.records())) == len(builders.records()) - 1
    assert run.summary.verdict.state == "invalid"
    assert "corrupt-log" in [caveat.code for caveat in run.summary.verdict.caveats]


def flipped(path: Path, record: int) -> int:
    """Flip one byte of that record of the log; its offset."""
    log = path / "records.log"
    offset = [at for at, _ in LogReader(log).bodies()][record]
    data = bytearray(log.read_bytes())
    data[offset + 20] ^= 0xFF
    log.write_bytes(data)
    return offset


def test_a_summary_is_not_shown_beside_a_damaged_log_without_a_word(tmp_path):
    """One flipped byte, long after the run: the figures are those of then, and it says so."""
    summary = write_run(tmp_path / "out")
    offset = flipped(tmp_path / "out", 4)
    run = load_run(tmp_path / "out")
    assert run.summary == summary
    damage, which = run.warnings
    assert f"bytes at byte {offset} cannot be read: corruption (bad checksum)" in damage
    assert "the summary is the one written when the run ended" in which


def test_a_summary_whose_log_is_gone_says_so(tmp_path):
    summary = write_run(tmp_path / "out")
    (tmp_path / "out" / "records.log").unlink()
    run = load_run(tmp_path / "out")
    assert run.summary == summary
    (warning,) = run.warnings
    assert "No such file" in warning


def failed_run(folder: Path, run_id: str, started: str, *records) -> None:
    manifest = builders.manifest(name="broken", run_id=run_id, started=started)
    with RunWriter.create(manifest, root=folder) as writer:
        for record in records:
            writer.append(record)
        writer.finish("failed", None, started, error="no server")


def test_latest_is_not_a_run_that_failed_before_its_first_call(root):
    gone = builders.trial(status="error", error=builders.failed().error)
    failed_run(root, "dddd4444", "2026-11-20T13:00:00+00:00", gone)
    assert load_run("latest", root=root).manifest.run_id == "bbbb2222"
    assert load_run("broken", root=root).manifest.run_id == "dddd4444"
    failed_run(root, "eeee5555", "2026-11-20T14:00:00+00:00", builders.failed(), gone)
    assert load_run("latest", root=root).manifest.run_id == "eeee5555"


def test_latest_is_a_failed_run_where_there_is_no_other(tmp_path):
    failed_run(tmp_path, "dddd4444", "2026-11-20T13:00:00+00:00")
    assert load_run("latest", root=tmp_path).manifest.run_id == "dddd4444"


def test_a_broken_summary_is_derived_again(tmp_path):
    summary = write_run(tmp_path / "out")
    (tmp_path / "out" / "summary.json").write_text("{")
    assert load_run(tmp_path / "out").summary == summary


def test_files_of_a_newer_harness_are_read_and_warned_about(tmp_path):
    """Also within the spec, whose Structs refuse unknown fields when a person wrote them."""
    write_run(tmp_path / "out")
    path = tmp_path / "out" / "run.json"
    raw = msgspec.json.decode(path.read_bytes())
    raw["schema_version"] = SCHEMA_VERSION + 1
    raw["weather"] = "fair"
    price = dict.fromkeys(("input_usd_per_token", "output_usd_per_token"), "1")
    price |= {"backend": "b", "model": "m", "date": "2026-01-01", "source": "s", "tier_usd": "2"}
    raw["prices"] = raw["spec"]["prices"] = [price]
    raw["spec"]["gpu_budget"] = 3
    raw["spec"]["arms"]["baseline"]["colour"] = "red"
    raw["spec"]["load"] = {"mode": "closed", "concurrency": 4, "think_s": 1.0}
    path.write_bytes(msgspec.json.encode(raw))
    run = load_run(tmp_path / "out")
    assert run.manifest.spec.load == ClosedLoad(concurrency=4)
    newer, ignored = run.warnings
    assert f"schema version {SCHEMA_VERSION + 1}, newer than {SCHEMA_VERSION}" in newer
    for field in ("$.weather", "$.spec.gpu_budget", "$.spec.arms.baseline.colour"):
        assert field in ignored
    assert "$.spec.load.think_s" in ignored
    assert "$.prices[0].tier_usd" in ignored and "$.spec.prices[0].tier_usd" in ignored
    assert run.manifest.spec.prices == run.manifest.prices and len(run.manifest.prices) == 1


def test_no_record_of_a_newer_harness_is_refused_for_what_it_has_besides():
    """Nor anything inside of it: else it would be taken for damage, and left out of the figures."""
    kinds, seen = [msgspec.inspect.type_info(LogEntry)], set()
    while kinds:
        kind = kinds.pop()
        if isinstance(kind, msgspec.inspect.StructType):
            if kind.cls not in seen:
                seen.add(kind.cls)
                kinds += [field.type for field in kind.fields]
        elif isinstance(kind, msgspec.inspect.UnionType):
            kinds += kind.types
        else:
            names = ("item_type", "value_type", "key_type")
            kinds += [getattr(kind, name) for name in names if hasattr(kind, name)]
    assert PriceRecord in seen and len(seen) > 15
    assert not [one.__name__ for one in seen if one.__struct_config__.forbid_unknown_fields]


def test_a_newer_manifest_that_cannot_be_read_asks_for_an_upgrade(tmp_path):
    write_run(tmp_path / "out")
    path = tmp_path / "out" / "run.json"
    raw = msgspec.json.decode(path.read_bytes())
    del raw["spec"]
    raw["schema_version"] = SCHEMA_VERSION + 1
    path.write_bytes(msgspec.json.encode(raw))
    with pytest.raises(StoreError, match="pip install --upgrade chimera-harness"):
        load_run(tmp_path / "out")


STORED = sorted((Path(__file__).parents[1] / "data").glob("run_v*"))


def test_every_schema_version_has_a_stored_run():
    assert [folder.name for folder in STORED] == [f"run_v{n + 1}" for n in range(SCHEMA_VERSION)]


@pytest.mark.parametrize("folder", STORED, ids=lambda folder: folder.name)
def test_runs_of_every_past_version_load_for_ever(folder):
    run = load_run(folder)
    assert run.warnings == ()
    assert run.summary.schema_version == int(folder.name.removeprefix("run_v"))
    records = list(run.records())
    kinds = {type(record).__name__ for record in records}
    assert kinds == {"CallRecord", "IterationRecord", "TrialRecord"}
    counts = [sum(arm.calls.values()) for arm in run.summary.arms]
    assert sum(counts) == sum(
        isinstance(record, CallRecord) and record.phase == "measured" for record in records
    )
    # Later rules may find more to doubt, but what was counted stays counted.
    again = derive_summary(run.manifest, records)
    assert [(arm.arm, arm.calls) for arm in again.arms] == [
        (arm.arm, arm.calls) for arm in run.summary.arms
    ]
    for record in records:
        for artifact in getattr(record, "artifacts", ()):
            assert (folder / artifact.path).is_file()
