"""A spec file that a stranger wrote: it runs nothing, costs little, and is refused in one line.

Nothing here asserts a time: a file that takes exponential time or memory would not come to an end.
The address space of the child is bounded instead.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.engine import read_spec, spec_from
from harness.engine.plainyaml import DEPTH_MAX, NODES_MAX, read_json, read_yaml
from harness.engine.specfile import SIZE_MAX_BYTES
from harness.errors import SpecError
from harness.store.folder import safe_name

CANARY = "hostile_canary"
ADDRESS_SPACE = 2 * 2**30

CODE = [
    f"!!python/object/apply:os.system ['touch {CANARY}']",
    f"!!python/object/new:subprocess.Popen [['touch', '{CANARY}']]",
    "!!python/name:os.system",
    "!!python/module:os",
    f"!!python/object/apply:builtins.open ['{CANARY}', 'w']",
    f"!!python/object/apply:exec [\"open('{CANARY}', 'w')\"]",
    "!<tag:yaml.org,2002:python/object/apply:os.abort> []",
    "!!javax.script.ScriptEngineManager [a]",
    "!ruby/object:Gem::Requirement {}",
    "!include /etc/passwd",
    "!env OPENAI_API_KEY",
]


def bomb(inner, fan=9, layers=12):
    lines = [f"a0: &a0 {inner}"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * fan)}]" for i in range(1, layers)]
    return "\n".join(lines)


def merge_bomb(fan=9, layers=12):
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * fan)}]}}" for i in range(1, layers)]
    return "\n".join(lines)


HOSTILE = {
    "laughs.yaml": bomb("[ha, ha]"),
    "merges.yaml": merge_bomb(),
    "itself.yaml": "a: &a [*a]",
    "deep.yaml": "[" * 20_000,
    "deep.json": "[" * 200_000,
    "deeper.json": '{"a":' * 200_000,
    "deep.toml": "a = " + "[" * 20_000,
    "deep_tables.toml": "[" + ".".join("a" * 5_000) + "]",
    "twice.yaml": "name: a\nname: b",
    "twice.json": '{"name": "a", "name": "b"}',
    "twice.toml": 'name = "a"\nname = "b"',
    "many.yaml": "- a\n" * (NODES_MAX + 1),
    "digits.yaml": "seed: " + "1:" * 50_000 + "1",
    "digits.json": '{"seed": ' + "9" * 5_000 + "}",
    "nul.yaml": "name: a\0b",
    "date.yaml": "name: 2026-13-45",
    "misfit.yaml": "name: !!bool maybe",
    "binary.yaml": "name: !!binary aGk=",
    "half.yaml": 'name: "\\ud800"',
    "half.json": '{"name": "\\ud800"}',
    "nan.json": '{"seed": NaN}',
    "scalar.yaml": "just text",
    "empty.yaml": "",
    "two.yaml": "a: 1\n---\nb: 2",
    "number_key.yaml": "1: a",
    "list_key.yaml": "? [a]\n: b",
    "huge.yaml": "#" * (SIZE_MAX_BYTES + 1),
    "huge.json": " " * (SIZE_MAX_BYTES + 1),
    "unknown.ini": "[a]",
    "escape.yaml": '"\\e]0;title\\a": 1',
    **{f"code{i}.yaml": f"name: {code}" for i, code in enumerate(CODE)},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_in_one_line(tmp_path, name):
    path = tmp_path / name
    path.write_text(HOSTILE[name], "utf-8")
    with pytest.raises(SpecError) as caught:
        spec_from(read_spec(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"name: \xc3\x28", bytes(range(256))])
@pytest.mark.parametrize("suffix", [".yaml", ".json", ".toml"])
def test_bytes_that_are_no_text(tmp_path, content, suffix):
    path = tmp_path / f"spec{suffix}"
    path.write_bytes(content)
    with pytest.raises(SpecError):
        read_spec(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(SpecError, match="directory"):
        read_spec(tmp_path)
    with pytest.raises(SpecError, match="No such file"):
        read_spec(tmp_path / "absent.yaml")
    endless = tmp_path / "endless.yaml"
    endless.symlink_to("/dev/zero")
    with pytest.raises(SpecError, match="MiB"):
        read_spec(endless)


def test_what_is_harmless_still_works(tmp_path):
    """Anchors, merge keys and a byte order mark are nothing bad."""
    path = tmp_path / "spec.yaml"
    path.write_text(
        "\ufeffbackend: &b {name: openai, model: m}\nscenario: {name: load}\n"
        "arms:\n  baseline: {}\n  other: {backend: {<<: *b, model: n}}\n",
        "utf-8",
    )
    spec = spec_from(read_spec(path))
    assert spec.arms["other"].backend == {"name": "openai", "model": "n"}


def test_depth_is_bounded_for_python_callers_too():
    deep: dict = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(SpecError, match="deep"):
        spec_from(deep)
    while deep:  # Python's own clean-up recurses
        deep = deep.pop("a")


@given(st.text(alphabet=st.sampled_from("{}[]:,-&*!|>'\"%@`<=~ \n\tab01.#?"), max_size=60))
@example("&a [*a]")
@example("!!int ''")
def test_any_text_is_data_or_refused(text):
    for read in (read_yaml, read_json):
        try:
            found = read(text)
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            assert _depth(found) <= DEPTH_MAX


def _depth(value):
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list | tuple):
        return 0
    return 1 + max(map(_depth, inner), default=0)


# Through the command ------------------------------------------------------------------------------

REAL = ("laughs.yaml", "merges.yaml", "deep.json", "half.yaml", "escape.yaml", "code0.yaml")


def bounded():
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


def harness(folder, *words):
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=folder,
        capture_output=True,
        timeout=120,
        preexec_fn=bounded,
    )


def test_the_command_says_one_line_and_runs_nothing(tmp_path):
    for name in REAL:
        (tmp_path / name).write_text(HOSTILE[name], "utf-8")
        done = harness(tmp_path, "run", name)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count(b"\n") == 1, done.stderr
        assert done.stderr.startswith(b"error: ")
        assert b"\x1b" not in done.stderr
        assert done.stdout == b""
    done = harness(tmp_path, "sim", "laughs.yaml")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(REAL)


@pytest.mark.parametrize("value", ["2026-13-45", "[" * 2_000, "!!python/name:os.system", "&a [*a]"])
def test_options_are_as_safe_as_files(value):
    from harness.cli.request import split_pair

    key, read = split_pair(f"a.b={value}", "--set")
    assert (key, read) == ("a.b", value), "what is no YAML is text"


# Names that become files --------------------------------------------------------------------------

NAMES = ["../../escaped", "/etc/escaped", "..", ".", "a/../../escaped", "a\\..\\escaped", "CON"]
NAMES += ["~root/escaped", "-rf", "a\0b", "name\n\x1b[31m", "x" * 5_000, "\u202egpj.exe", ""]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_one_component(name):
    safe = safe_name(name)
    assert safe
    assert safe not in (".", "..")
    assert "/" not in safe
    assert "\\" not in safe
    assert safe.isprintable()
    assert len(safe.encode()) <= 80


def test_a_run_stays_in_its_folder(tmp_path):
    """The names of run and arms, as hostile as a spec can have them."""
    work = tmp_path / "deep" / "work"
    work.mkdir(parents=True)
    spec = {
        "name": "../../escaped",
        "backend": {"name": "openai", "url": "http://127.0.0.1:1", "model": "../../escaped"},
        "scenario": {"name": "load"},
        "arms": {"baseline": {}, "../../escaped": {}},
        "notes": "../../escaped",
    }
    (work / "spec.json").write_text(json.dumps(spec))
    done = harness(work, "run", "spec.json")
    assert done.returncode == 2, done.stderr
    assert b"connection refused" in done.stderr
    (folder,) = (work / "runs").iterdir()
    assert folder.name.startswith("escaped-")
    assert (folder / "run.json").is_file()
    assert not list(tmp_path.glob("*escaped*"))
    assert not list(tmp_path.glob("deep/*escaped*"))
    assert not list(work.glob("*escaped*"))
