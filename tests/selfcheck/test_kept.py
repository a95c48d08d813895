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
from harness.engine.uncertainty import check_path, save_selfcheck, state_dir, stored_selfcheck
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


def test_the_line_takes_the_load_that_is_no_easier_than_the_run():
    check = selfcheck(
        figures(1, first_token_p99_ns=None),
        figures(16, first_token_p99_ns=2_000.0),
        figures(64, first_token_p99_ns=13_000.0, held=False),
        figures(32, rate_tok_s=None, first_token_p99_ns=90_000.0, held=None),
    )

    def line(load, **spec):
        return instrument_line(manifest(check, load=load, **spec))

    behind = "(selfcheck 2026-11-21, quick"
    few = f"instrument: first-token stamp error p99 2 µs at 16 streams {behind})"
    many = f"instrument: first-token stamp error p99 13 µs at 64 streams {behind}, not held)"
    assert line(ClosedLoad(concurrency=4)) == few
    assert line(None) == few and line(OpenLoad(rate_per_s=3.0)) == few
    assert line(ClosedLoad(concurrency=17)) == many
    assert line(ClosedLoad(concurrency=999)) == many
    assert line(None, transport="portable") is None, "the check is of the native transport"
    assert instrument_line(manifest(selfcheck(figures(first_token_p99_ns=None)))) is None
    assert instrument_line(manifest()) is None


def test_the_report_has_it():
    def written(made):
        return markdown(builders.FakeRun(made, builders.records()))

    assert "| Own error | first-token stamp error p99 13 µs at 64" in written(manifest(selfcheck()))
    unknown = written(manifest(unknown="never made on this machine: harness selfcheck"))
    assert "| Own error | unknown: never made on this machine" in unknown
    assert "Own error" not in written(manifest())


def test_the_table_has_it():
    run = builders.FakeRun(manifest(selfcheck()), builders.records())
    out = io.StringIO()
    line = instrument_line(run.manifest)
    render_summary(run.summary, Console(file=out, width=80), instrument=line)
    assert line in " ".join(out.getvalue().split())
