"""The audit: a real run is clean; whatever is changed in it afterwards is found."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.compare.audit import audit_run, below
from harness.compare.audit.documents import differences
from harness.compare.audit.stamps import call_oddities
from harness.report import comparison, csv_calls, metrics_json
from harness.schema import CallRecord, IterationRecord, SessionRecord, TrialRecord
from harness.store import load_run
from harness.store.log import FRAME, HEADER, checksum
from tests.sim.servers import sim
from tests.store import builders

EXPORTERS = {
    "metrics.json": metrics_json.write,
    "comparison_report.md": comparison.write,
    "calls.csv": csv_calls.write,
}


def harness(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Two arms, two launches each, with a warm-up, measured on the truth server by the command."""
    folder = tmp_path_factory.mktemp("audit")
    spec = {
        "backend": {"name": "openai", "model": "sim"},
        "scenario": {"name": "load", "options": {"max_tokens": 4, "prompt_tokens": 8}},
        "load": {"concurrency": 2, "requests": 6},
        "arms": {"baseline": {}, "other": {"scenario": {"options": {"max_tokens": 5}}}},
        "trials": 2,
        "isolation": "inline",
    }
    with sim(folder / "log", "--ttft", "5", "--gap", "1") as server:
        spec["backend"]["url"] = server.url
        (folder / "spec.json").write_text(json.dumps(spec))
        done = harness("run", "spec.json", "--out", "run", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture
def copy(real, tmp_path):
    return shutil.copytree(real, tmp_path / "run")


def codes(run, *severities):
    found = audit_run(run, exporters=EXPORTERS).findings
    return {f.code for f in found if not severities or f.severity in severities}


def test_an_untouched_run_is_clean(real):
    audit = audit_run(real, exporters=EXPORTERS)
    assert audit.findings == ()
    assert audit.is_clean
    assert audit.state == "finished"


# ---- what a hand can do to it


def edit(path, *steps):
    """Change a JSON file: (path…, function of the value)."""
    *where, change = steps
    document = json.loads(path.read_text())
    here = document
    for part in where[:-1]:
        here = here[part]
    here[where[-1]] = change(here[where[-1]])
    path.write_text(json.dumps(document, indent=2))


def bodies(run):
    raw = (run / "records.log").read_bytes()[len(HEADER) :]
    found = []
    while raw:
        length, _ = FRAME.unpack(raw[: FRAME.size])
        found.append(raw[FRAME.size : FRAME.size + length])
        raw = raw[FRAME.size + length :]
    return found


def rewrite(run, change):
    """The log with `change` made to its records, every checksum right."""
    records = [msgspec.msgpack.decode(body) for body in bodies(run)]
    encoded = [msgspec.msgpack.encode(record) for record in change(records)]
    framed = (FRAME.pack(len(body), checksum(body)) + body for body in encoded)
    (run / "records.log").write_bytes(HEADER + b"".join(framed))


def without(kind, phase=None, nth=0):
    def change(records):
        places = [
            at for at, r in enumerate(records) if r["t"] == kind and phase in (None, r.get("phase"))
        ]
        return [r for at, r in enumerate(records) if at != places[nth]]

    return lambda run: rewrite(run, change)


def twice(kind):
    def change(records):
        first = next(r for r in records if r["t"] == kind)
        return [*records, first]

    return lambda run: rewrite(run, change)


def every(kind, change):
    def changed(records):
        for record in records:
            if record["t"] == kind and record.get("phase", "measured") == "measured":
                change(record)
        return records

    return lambda run: rewrite(run, changed)


def first_call(change):
    def changed(records):
        change(next(r for r in records if r["t"] == "call" and r["phase"] == "measured"))
        return records

    return lambda run: rewrite(run, changed)


def swap_arms(record):
    record["arm"] = {"baseline": "other", "other": "baseline"}[record["arm"]]


def set_in(*where, value):
    def change(record):
        for part in where[:-1]:
            record = record[part]
        record[where[-1]] = value(record) if callable(value) else value

    return change


def of_file(name, *steps):
    return lambda run: edit(run / name, *steps)


def replace_text(name, old, new):
    def change(run):
        path = run / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


TAMPERED = {
    "a mean in summary.json": (
        of_file("summary.json", "arms", 0, "metrics", 0, "mean", lambda x: x * 1.01),
        "summary-differs",
    ),
    "a count in summary.json": (
        of_file("summary.json", "arms", 0, "calls", "ok", lambda n: n + 1),
        "summary-differs",
    ),
    "a better verdict": (
        of_file("summary.json", "verdict", "state", lambda _: "valid"),
        "summary-differs",
    ),
    "a caveat taken out": (
        of_file("summary.json", "verdict", "caveats", lambda found: found[1:]),
        "summary-incomplete",
    ),
    "a metric taken out": (
        of_file("summary.json", "arms", 0, "metrics", lambda found: found[1:]),
        "summary-incomplete",
    ),
    "arms swapped in summary.json": (
        of_file("summary.json", "arms", lambda arms: [
            arms[0] | {"arm": "other"}, arms[1] | {"arm": "baseline"}]),
        "summary-differs",
    ),
    "a figure in metrics.json": (
        of_file("reports/metrics.json", "arms", 0, "aggregate_metrics", "ttft_ms", "median",
                lambda x: x / 2),
        "report-differs",
    ),
    "a figure in the report": (
        replace_text("reports/comparison_report.md", "measured", "imagined"), "report-differs"),
    "a row of calls.csv": (replace_text("reports/calls.csv", ",ok,", ",error,"), "report-differs"),
    "the spec": (of_file("run.json", "spec", "trials", lambda n: n + 1), "spec-edited"),
    "the plan": (of_file("run.json", "plan", lambda plan: plan[1:]), "not-in-plan"),
    "the end": (of_file("run.json", "ended", lambda _: "2001-01-01T00:00:00+00:00"),
                "impossible-time"),
    "a measured call is gone": (without("call", "measured"), "unbalanced"),
    "a warm-up call is gone": (without("call", "warmup"), "unbalanced"),
    "an iteration is gone": (without("iteration", "measured"), "missing-iterations"),
    "a warm-up is gone": (without("iteration", "warmup"), "missing-iterations"),
    "a trial is gone": (without("trial"), "missing-trials"),
    "a call is there twice": (twice("call"), "duplicate-records"),
    "an iteration is there twice": (twice("iteration"), "duplicate-records"),
    "a trial is there twice": (twice("trial"), "duplicate-records"),
    "arms swapped in the records": (every("call", swap_arms), "not-in-plan"),
    "a call moved to another trial": (
        first_call(set_in("trial", value=lambda r: (r["trial"] + 1) % 4)), "moved-call"),
    "fewer calls planned": (every("iteration", set_in("planned_calls", value=5)), "unbalanced"),
    "first token before the request": (
        first_call(set_in("instants", "first_token_ns", value=lambda i: i["sent_ns"] - 10**8)),
        "impossible-stamps"),
    "end before the last token": (
        first_call(set_in("instants", "end_ns", value=lambda i: i["first_token_ns"] - 10**7)),
        "impossible-stamps"),
    "no tokens": (first_call(set_in("usage", "output_tokens", value=0)), "zero-tokens"),
    "more tokens than allowed": (
        first_call(set_in("usage", "output_tokens", value=4000)), "beyond-bound"),
    "more content than chunks": (first_call(set_in("content_chunks", value=99)),
                                 "impossible-chunks"),
    "the server worked longer than the call took": (
        first_call(set_in("server", value={"prompt_eval_duration": 10**12})), "server-account"),
    "a longer trial": (
        every("trial", set_in("end_ns", value=lambda r: r["start_ns"] - 1)), "impossible-stamps"),
    "another server version": (
        lambda run: rewrite(run, lambda records: [
            r if r["t"] != "trial" else r | {"effective": r["effective"] | {
                "server_version": f"1.{r['trial']}"}} for r in records]),
        "server-changed"),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_changed_is_found(copy, what):
    change, code = TAMPERED[what]
    change(copy)
    assert code in codes(copy)


def without_field(summary):
    """As a version wrote it that had no bands, and other intervals."""
    for arm in summary["arms"]:
        for metric in arm["metrics"]:
            del metric["band"]
            metric["ci_low"] = metric["ci_high"] = metric["mean"]
    return summary


def test_a_summary_of_an_older_version_is_compared_in_what_it_has(copy):
    path = copy / "summary.json"
    path.write_text(json.dumps(without_field(json.loads(path.read_text()))))
    found = {one.code: one for one in audit_run(copy, exporters=EXPORTERS).findings}
    assert "summary-differs" not in found
    older = found["summary-of-other-version"]
    assert (older.severity, found["summary-incomplete"].severity) == ("note", "note")
    assert "another version (0.1.0), which had no band yet" in older.message
    of_file("summary.json", "arms", 0, "metrics", 0, "mean", lambda x: x * 1.01)(copy)
    found = {one.code: one for one in audit_run(copy, exporters=EXPORTERS).findings}
    assert found["summary-differs"].severity == "wrong"
    assert found["summary-differs"].evidence["count"] == 1


def test_one_entry_without_a_field_is_no_other_version(copy):
    drop = of_file("summary.json", "arms", 0, "metrics", 0, lambda one: one | {"ci_low": 1.0})
    drop(copy)
    summary = json.loads((copy / "summary.json").read_text())
    del summary["arms"][0]["metrics"][0]["band"]
    (copy / "summary.json").write_text(json.dumps(summary))
    found = {one.code: one.severity for one in audit_run(copy, exporters=EXPORTERS).findings}
    assert (found["summary-differs"], found["summary-incomplete"]) == ("wrong", "wrong")


def test_the_run_of_the_first_schema_has_no_wrong_summary():
    path = Path(__file__).resolve().parents[1] / "data" / "run_v1"
    found = {one.code: one for one in audit_run(path).findings}
    assert "summary-differs" not in found
    assert found["summary-incomplete"].severity == "note"


def test_bytes_of_the_log(copy):
    raw = (copy / "records.log").read_bytes()
    (copy / "records.log").write_bytes(raw[:-5])
    assert {"torn-log", "summary-differs"} <= codes(copy)
    middle = len(raw) // 2
    (copy / "records.log").write_bytes(raw[:middle] + bytes(64) + raw[middle + 64 :])
    assert {"corrupt-log", "unreadable-log"} <= codes(copy)


def test_a_missing_summary_is_a_note(copy):
    (copy / "summary.json").unlink()
    audit = audit_run(copy)
    assert [(f.code, f.severity) for f in audit.findings] == [("no-summary", "note")]
    assert audit.is_clean


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_single_figure_that_is_changed_is_found(real, data):
    """Of the comparison that the audit is made of; `TAMPERED` goes through the whole of it."""
    document = json.loads((real / "summary.json").read_text())
    derived = msgspec.to_builtins(load_run(real).summary)
    assert list(differences(document, derived)) == []
    path = data.draw(st.sampled_from(sorted(leaves(document), key=str)))
    here = document
    for part in path[:-1]:
        here = here[part]
    old = here[path[-1]]
    if isinstance(old, int):
        new = data.draw(st.integers(-(2**53), 2**53).filter(lambda x: x != old))
    else:
        new = data.draw(
            st.floats(allow_nan=False, allow_infinity=False).filter(
                lambda x: abs(x - old) > 1e-8 * max(abs(x), abs(old))
            )
        )
    here[path[-1]] = new
    (found,) = differences(document, derived)
    assert found.written == new


def test_an_environment_that_changed_between_sessions(real):
    run = load_run(real)
    before = run.manifest.environment
    after = msgspec.structs.replace(before, kernel="9.9", packages=before.packages | {"numpy": "0"})
    run.sessions = (
        SessionRecord(started=run.manifest.started, realtime_offset_ns=0, environment=after),
    )
    from harness.compare.audit.folder import audit_sessions

    (found,) = audit_sessions(run)
    assert found.code == "environment-changed"
    assert set(found.evidence["changed"]) == {"kernel", "packages.numpy"}


# ---- folders, and the command


def test_everything_below_a_folder(real, tmp_path):
    shutil.copytree(real, tmp_path / "deep" / "er" / "one")
    shutil.copytree(real, tmp_path / "two")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "x.txt").write_text("x")
    (tmp_path / "table.csv").write_text("a\n1\n")
    found = below(tmp_path)
    assert {path.name for path in found.runs} == {"one", "two"}
    assert {path.name for path in found.others} == {"notes", "table.csv"}
    done = harness("audit", tmp_path, "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    printed = json.loads(done.stdout)
    assert [f["code"] for a in printed["audits"] for f in a["findings"]] == ["duplicate-runs"]
    assert len(printed["no_runs"]) == 2


def test_the_command(copy, tmp_path):
    done = harness("audit", copy, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "every figure follows from the records" in done.stdout
    TAMPERED["a mean in summary.json"][0](copy)
    done = harness("audit", copy, cwd=tmp_path)
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    assert "wrong summary-differs" in text
    assert "by the records" in text


@pytest.mark.parametrize(
    ("name", "says"), [("t.csv", "harness import csv"), ("empty", "no run below")]
)
def test_what_is_no_run(tmp_path, name, says):
    (tmp_path / "t.csv").write_text("a\n1\n")
    (tmp_path / "empty").mkdir()
    done = harness("audit", name, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


# ---- single calls


def test_an_exact_call_is_not_odd():
    assert list(call_oddities(builders.call(), token_slack=1)) == []
    assert list(call_oddities(builders.failed(), token_slack=1)) == []


def test_tokens_faster_than_any_hardware():
    call = builders.call(tokens=40, tpot_ms=0.001)
    found = dict(call_oddities(call, token_slack=1))
    assert set(found) == {"impossible-rate"}


def test_a_negative_gap_between_chunks():
    call = builders.call()
    stamps = list(struct.unpack("<5q", call.chunks.arrival_ns))
    stamps[2] -= 30_000_000
    columns = msgspec.structs.replace(call.chunks, arrival_ns=struct.pack("<5q", *stamps))
    found = dict(call_oddities(msgspec.structs.replace(call, chunks=columns), token_slack=1))
    assert "impossible-chunks" in found


def test_the_records_of_a_real_run_are_what_the_tests_think(real):
    kinds = {type(record) for record in load_run(real).records()}
    assert kinds == {CallRecord, IterationRecord, TrialRecord}
