"""The check that is kept: saved, read, refused, and shown with later runs."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from harness.engine.environment import collect_environment, host_digest, native_digest
from harness.engine.rules.instrument import no_selfcheck
from harness.engine.rules.view import RunView
from harness.engine.uncertainty import (
    better_selfcheck,
    check_path,
    save_selfcheck,
    state_dir,
    stored_selfcheck,
)
from harness.errors import StoreError
from harness.host import Host
from harness.report.instrument import instrument_line
from harness.report.table import render_summary
from harness.schema import ClosedLoad, OpenLoad
from tests.report.rendering import markdown
from tests.selfcheck.builders import figures, selfcheck
from tests.store import builders

HOST = "0011223344556677"
BUILD = "0123456789abcdef"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_STATE_DIR", str(tmp_path / "deep" / "state"))
    return tmp_path / "deep" / "state"


def test_there_and_back(folder):
    path = save_selfcheck(selfcheck(), HOST)
    assert path == folder / f"selfcheck-{HOST}.json" and [*folder.iterdir()] == [path]
    assert stored_selfcheck(HOST, BUILD) == (selfcheck(), None)
    again = selfcheck(figures(8), mode="full")
    save_selfcheck(again, HOST)
    assert stored_selfcheck(HOST, BUILD) == (again, None) and [*folder.iterdir()] == [path]


def test_why_there_is_none(folder):
    def why(host=HOST, build=BUILD):
        check, reason = stored_selfcheck(host, build)
        assert check is None
        return reason

    assert why() == "never made on this machine: harness selfcheck"
    path = save_selfcheck(selfcheck(), HOST)
    assert why(host="ffff") == "never made on this machine: harness selfcheck"
    assert why(build="other") == f"made with another build (digest {BUILD}): harness selfcheck"
    path.rename(check_path("ffff"))  # a home folder that was copied
    assert "another machine" in why(host="ffff")
    path.mkdir()
    assert "cannot be read" in why()


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"[1]", b"\xff\xfe", b'{"format":1,"host":"x","check":{}}', b"[" * 100_000],
)
def test_rubbish_is_no_check_and_no_error(folder, raw):
    folder.mkdir(parents=True)
    check_path(HOST).write_bytes(raw)
    check, why = stored_selfcheck(HOST, BUILD)
    assert check is None and "is not a self-check: harness selfcheck" in why


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 2_000), junk=st.binary(max_size=40))
def test_a_damaged_file_never_raises(folder, at, junk):
    path = save_selfcheck(selfcheck(), HOST)
    raw = path.read_bytes()
    path.write_bytes(raw[:at] + junk + raw[at + len(junk) :])
    check, why = stored_selfcheck(HOST, BUILD)
    assert (check is None) == (why is not None)


def test_a_newer_file_is_read(folder):
    path = save_selfcheck(selfcheck(), HOST)
    raw = json.loads(path.read_bytes())
    raw["new"] = raw["check"]["newer"] = {"a": 1}
    path.write_text(json.dumps(raw))
    assert stored_selfcheck(HOST, BUILD) == (selfcheck(), None)
    path.write_text(json.dumps(raw | {"format": 2}))
    assert "another machine or version" in stored_selfcheck(HOST, BUILD)[1]


def test_a_folder_that_cannot_be_had(folder, monkeypatch):
    folder.parent.mkdir()
    folder.write_text("a file in its place")
    with pytest.raises(StoreError, match="cannot be kept") as caught:
        save_selfcheck(selfcheck(), HOST)
    assert "--no-save" in caught.value.remedy
    assert f"{folder} is a file" in str(caught.value)
    assert stored_selfcheck(HOST, BUILD)[0] is None


def test_where_it_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("HARNESS_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_dir() == tmp_path / "chimera-harness"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_dir() == tmp_path / ".local" / "state" / "chimera-harness"


def test_the_environment_of_a_run_has_it():
    made = selfcheck(native_digest=native_digest())
    host, spec = Host(), builders.spec()
    assert "never made" in collect_environment(spec, host).selfcheck_unknown
    save_selfcheck(made, host_digest())
    found = collect_environment(spec, host)
    assert (found.selfcheck, found.selfcheck_unknown) == (made, None)
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_reading_it_imports_nothing_for_it():
    code = (
        "import sys, harness.engine.uncertainty as kept; kept.stored_selfcheck('a', 'b'); "
        "print([n for n in ('matplotlib', 'scipy', 'harness.selfcheck') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# ------------------------------------------------------------------------------ with later runs


def manifest(check=None, unknown=None, **spec):
    made = builders.manifest(spec=builders.spec(**spec))
    environment = msgspec.structs.replace(
        made.environment, selfcheck=check, selfcheck_unknown=unknown
    )
    return msgspec.structs.replace(made, environment=environment)


def caveats(made):
    return [*no_selfcheck(RunView(manifest=made, state="finished", arms=()))]


def test_a_run_without_says_so():
    (said,) = caveats(manifest(unknown="never made on this machine: harness selfcheck"))
    assert (said.code, said.severity, said.remedy) == ("no-selfcheck", "note", "harness selfcheck")
    assert said.message.endswith("not known here: never made on this machine")
    assert caveats(manifest(check=selfcheck())) == []
    assert caveats(manifest()) == [], "older runs did not look"


def calls(streams, *, tok_s=100.0, **changes):
    """So many at once, in one trial."""
    return [
        builders.call(ordinal=i, sent_ms=1000 + i / 1e3, tpot_ms=1e3 / tok_s, **changes)
        for i in range(streams)
    ]


CHECK = selfcheck(
    figures(1, first_token_p99_ns=None),
    figures(16, first_token_p99_ns=2_000.0),
    figures(64, first_token_p99_ns=13_000.0),
    figures(256, first_token_p99_ns=40_000.0, held=False),
    figures(32, rate_tok_s=None, first_token_p99_ns=None, calls=32, held=None),
)
BEHIND = "(selfcheck 2026-11-21, quick"


@pytest.mark.parametrize("load", [None, ClosedLoad(concurrency=500), OpenLoad(rate_per_s=3.0)])
def test_the_line_takes_the_load_that_is_no_easier_than_the_run(load):
    """Whatever was asked for, it is the calls that were in flight that count."""

    def line(streams):
        return instrument_line(manifest(CHECK, load=load), calls(streams))

    few = "instrument: first-token stamp error p99 2 µs at 16 streams x 100 tok/s"
    many = "instrument: first-token stamp error p99 13 µs at 64 streams x 100 tok/s"
    assert line(4) == line(16) == f"{few} {BEHIND})"
    assert line(17) == f"{many} {BEHIND})"
    unknown = "unknown for more streams than were checked (here 100)"
    assert line(100) == f"{many}, {unknown} {BEHIND})", "256 were not held"


def test_calls_after_one_another_are_one_stream():
    one_by_one = [builders.call(ordinal=i, sent_ms=1000 + 500 * i) for i in range(20)]
    assert "at 16 streams" in instrument_line(manifest(CHECK), one_by_one)
    by_trial = [builders.call(trial=i) for i in range(20)]
    assert "at 16 streams" in instrument_line(manifest(CHECK), by_trial)


def test_streams_that_come_as_fast_as_they_can_are_held_against_those():
    fast = instrument_line(manifest(CHECK), calls(4, tok_s=2_000.0))
    assert fast == (
        f"instrument: first-token stamp error max 30 µs (n = 32) at 32 streams flat out {BEHIND})"
    )


def test_stamps_of_user_space_are_late_by_the_lag():
    """By what the calls carry: the spec says `auto`, and the server had TLS."""
    user = calls(4, stamp_source="user")
    assert instrument_line(manifest(CHECK), user) == (
        "instrument: stamps of user space: client lag p99 531 µs, the stamp error (p99 2 µs) "
        f"included, at 16 streams x 100 tok/s {BEHIND})"
    )
    some = instrument_line(manifest(CHECK), [*user[:1], *calls(3)])
    assert "stamps of user space in 1 of 4 calls: client lag p99" in some
    portable = [*user, builders.trial("baseline", 0, transport="portable")]
    assert "its reader is not the portable one's" in instrument_line(manifest(CHECK), portable)


def test_without_a_p99_the_largest_is_cited():
    bare = selfcheck(figures(2, first_token_p99_ns=None, calls=8, held=False))
    line = instrument_line(manifest(bare), calls(1))
    assert "stamp error max 30 µs (n = 8) at 2 streams x 100 tok/s" in line
    assert line.endswith(f"{BEHIND}, not held)")


def test_no_line_where_nothing_is_known():
    assert instrument_line(manifest(), calls(1)) is None
    assert instrument_line(manifest(selfcheck()), [builders.failed()]) is None
    theirs = calls(2, stamp_source="in_process")
    assert instrument_line(manifest(CHECK), theirs) is None, "our check is of our own stamps"
    none = msgspec.structs.replace(selfcheck(), loads=())
    assert instrument_line(manifest(none), calls(1)) is None


def test_a_quick_check_does_not_replace_a_full_one():
    full = selfcheck(mode="full")
    assert better_selfcheck(selfcheck(), HOST) is None
    save_selfcheck(full, HOST)
    assert better_selfcheck(selfcheck(), HOST) == full
    assert better_selfcheck(full, HOST) is None
    assert better_selfcheck(selfcheck(native_digest="another"), HOST) is None, "of another build"


def test_the_report_has_it():
    def written(made):
        return markdown(builders.FakeRun(made, builders.records()))

    assert "| Own error | first-token stamp error p99 13 µs at 64 streams x 100" in written(
        manifest(selfcheck())
    )
    unknown = written(manifest(unknown="never made on this machine: harness selfcheck"))
    assert "| Own error | unknown: never made on this machine" in unknown
    assert "Own error" not in written(manifest())


def test_the_table_has_it():
    run = builders.FakeRun(manifest(selfcheck()), builders.records())
    out = io.StringIO()
    line = instrument_line(run.manifest, run.records())
    render_summary(run.summary, Console(file=out, width=80), instrument=line)
    assert line is not None and line in " ".join(out.getvalue().split())
