"""Everything that a run wrote or printed, searched for the secrets that it was given.

The server says each of them back wherever it can: in errors, headers, names and answers, as it came
and in the encodings in which programs quote such things. Record logs are searched as bytes and as
what they decode to; forms are made here, not by the code that is to find them.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import load_run
from harness.engine.environment import collect_environment
from harness.host import Host
from harness.redaction import LENGTH_MIN, Redactor, header_secrets, url_without_secrets
from harness.schema import BackendSpec, RunSpec, ScenarioSpec
from tests.hostile.processes import tree, watch
from tests.hostile.server import ENDS, hostile_server

KEY = "sk-pr/oj+4242-Secr3t%Key~of_Alice"
URL_PASSWORD = "pa55-w0rd/of+the=url"
PROXY_PASSWORD = "pr0xy+pa55/word"
OTHER_KEY = "hf_0123456789abcdefOther"
SECRETS = (KEY, URL_PASSWORD, PROXY_PASSWORD, OTHER_KEY)

HARNESS = [sys.executable, "-m", "harness"]
FORMATS = ("jsonl", "chunks", "csv", "metrics.json", "comparison_report.md")
LOAD = ("--requests", 2 * len(ENDS), "--concurrency", 2, "--max-tokens", 8)


def environment(**more):
    """Secrets where people have them."""
    names = [name for name in os.environ if name.lower().endswith("_proxy")]
    return {
        **{name: value for name, value in os.environ.items() if name not in names},
        "OPENAI_API_KEY": KEY,
        "HARNESS_MY_CRED": KEY,  # `api_key_env` may name any variable
        "HF_TOKEN": OTHER_KEY,
        "OLLAMA_HOST": f"http://alice:{URL_PASSWORD}@127.0.0.1:1",
        "HARNESS_SERVER_URL": f"http://127.0.0.1:1/?api_key={OTHER_KEY}",
        "OLLAMA_ORIGINS": f"http://a, http://alice:{URL_PASSWORD}@b/?q={OTHER_KEY}",
        **more,
    }


def forms(secret):
    """As somebody would look for it with grep."""
    found = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    found |= {re.sub("%..", lambda code: code[0].lower(), quote(secret, safe=""))}
    found |= {json.dumps(secret)[1:-1], json.dumps(secret)[1:-1].replace("/", "\\/")}
    found |= {secret.encode().hex(), secret.encode().hex().upper()}
    found |= {core for _, core in base64_forms(secret)}
    return {form for form in found if len(form) >= 12}


def base64_forms(secret):
    """(base64 of a text with the secret in it, the part of that which is the secret's alone)"""
    for before in ("", "Bearer ", "alice:", "ab", "abc"):
        for after in ("", "z", "zz"):
            text = (before + secret + after).encode()
            for whole in (base64.b64encode(text).decode(), base64.urlsafe_b64encode(text).decode()):
                # What surrounds it decides the first and last characters.
                first, last = (len(before) + 2) // 3 * 4, (len(before) + len(secret)) // 3 * 4
                yield whole, whole[first:last]


def leaks(content: bytes):
    text = content.decode("utf-8", "replace")
    return sorted({form for secret in SECRETS for form in forms(secret) if form in text})


def command(folder, *words, statuses=(0,), **more):
    done = subprocess.run(
        [*HARNESS, *map(str, words)],
        cwd=folder,
        capture_output=True,
        timeout=120,
        env=environment(**more),
    )
    output = done.stdout + done.stderr
    assert done.returncode in statuses, output.decode(errors="replace")[-3000:]
    return output


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """(name → what was printed, folder of all runs)"""
    root = tmp_path_factory.mktemp("secrets")
    with hostile_server(nasty=False, echo=True) as url, ThreadPoolExecutor(3) as pool:
        jobs = {}

        def job(name, *words, **more):
            jobs[name] = pool.submit(command, root, *words, **more)

        debug = ("--log-level", "debug", "--set", "keep.payloads=true")
        for transport in ("native", "portable"):
            server = ("--backend", "openai", "--url", url, "--set", f"transport={transport}")
            out = ("--out", root / transport)
            job(transport, "run", "load", *server, *LOAD, *debug, *out, statuses=(4,))
        server = ("--backend", "openai", "--url", url, "-o", "api_key_env=HARNESS_MY_CRED")
        words = ("run", "load", *server, *LOAD, *debug, "--out", root / "other")
        job("other", *words, statuses=(4,))
        # Refused from the start: nothing but the key in every answer.
        server = ("--backend", "openai", "--url", f"{url}/shut", "--model", "m")
        words = ("run", "load", *server, *LOAD, *debug, "--out", root / "shut")
        job("shut", *words, statuses=(2,))
        # By a proxy that says back what it was told. The name is nobody's: only the proxy is asked.
        proxy = url.replace("://", f"://alice:{quote(PROXY_PASSWORD, safe='')}@")
        server = ("--backend", "openai", "--url", "http://model.invalid", "--model", "m")
        words = ("run", "load", *server, *LOAD, *debug, "--out", root / "proxy")
        job("proxy", *words, HTTP_PROXY=proxy, http_proxy=proxy, statuses=(4,))
        words = ("run", "load", *server, *LOAD, *debug, "--out", root / "lost")
        dead = proxy.rpartition(":")[0] + ":1"
        job("lost proxy", *words, http_proxy=dead, statuses=(2,))
        job("strange proxy", *words[:-1], root / "odd", http_proxy=f"x{proxy}", statuses=(2,))
        job("models", "models", "--backend", "openai", "--url", url, "--json")
        job("doctor", "doctor", "--json", http_proxy=proxy, statuses=(0, 2))
        for name, address in (
            ("user", f"http://alice:{URL_PASSWORD}@127.0.0.1:1"),
            ("query", f"http://127.0.0.1:1/?api_key={KEY}"),
            ("scheme", f"ftp://alice:{URL_PASSWORD}@127.0.0.1"),
            ("port", f"http://alice:{URL_PASSWORD}@127.0.0.1:x"),
        ):
            words = ("run", "load", "--backend", "openai", "--url", address, *debug)
            job(f"address {name}", *words, statuses=(2,))
            arm = {"backend": {"url": address}}
            spec = {"backend": {"name": "ollama", "model": "m"}, "scenario": {"name": "load"}}
            (root / f"{name}.json").write_text(json.dumps(spec | {"arms": {"baseline": arm}}))
            job(f"arm {name}", "run", f"{name}.json", statuses=(2,))
        for option in ("extra.api_key", "extra.metadata.api_key", "extra.headers.Authorization"):
            words = ("run", "load", "--backend", "openai", "--url", url, "-o", f"{option}={KEY}")
            job(f"option {option}", *words, *debug, statuses=(2,))
        printed = {name: one.result() for name, one in jobs.items()}
        jobs.clear()
        for name in FORMATS:
            job(f"export {name}", "export", root / "native", "--format", name)
        job("show", "show", root / "proxy", "--json")
        printed |= {name: one.result() for name, one in jobs.items()}
    for name in printed:
        (root / f"{name}.json").unlink(missing_ok=True)
    for path in root.glob("*.json"):
        path.unlink()  # our own spec files have them
    return printed, root


def test_nothing_that_was_printed_has_one(searched):
    printed, _ = searched
    assert {name: found for name, out in printed.items() if (found := leaks(out))} == {}


def test_nothing_that_was_written_has_one(searched):
    _, root = searched
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    assert len({path.parent for path in files}) >= 5
    found = {str(path.relative_to(root)): leaks(path.read_bytes()) for path in files}
    assert {name: forms for name, forms in found.items() if forms} == {}
    assert not list(root.glob("runs/*")), "an address with a password does not begin a run"


def test_nor_do_the_records_behind_the_bytes(searched):
    _, root = searched
    for name in ("native", "portable", "other", "proxy"):
        run = load_run(root / name)
        records = [msgspec.json.encode(msgspec.to_builtins(record)) for record in run.records()]
        assert leaks(b"\n".join(records)) == [], name
        payloads = [p for r in run.records() for p in getattr(r, "payloads", None) or ()]
        assert payloads, name
        assert leaks(b"\n".join(payloads)) == [], name


def test_the_server_did_say_them(searched):
    """Else nothing was shown. Where they were, their names are now."""
    printed, root = searched
    for name, label in (("native", "[$OPENAI_API_KEY]"), ("other", "[$HARNESS_MY_CRED]")):
        run = load_run(root / name)
        said = b"".join(msgspec.json.encode(msgspec.to_builtins(r)) for r in run.records())
        assert said.count(label.encode()) > 20
    said = (root / "proxy" / "records.log").read_bytes()
    assert b"[credentials in " in said
    assert b"[password in " in said
    assert b"[$OPENAI_API_KEY]" in printed["shut"]


def test_variables_are_recorded_without_their_secrets(monkeypatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "4")
    spec = RunSpec(backend=BackendSpec(name="openai"), scenario=ScenarioSpec(name="load"))
    found = collect_environment(spec, Host()).variables
    assert found["OLLAMA_NUM_PARALLEL"] == "4"
    assert found["OLLAMA_HOST"] == "http://127.0.0.1:1"
    assert "not recorded" in found["HARNESS_SERVER_URL"]
    assert leaks(json.dumps(found).encode()) == []


# The redactor itself ------------------------------------------------------------------------------

keys = st.text(
    alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=60
)


@given(keys, st.text(max_size=20), st.text(max_size=20))
def test_every_form_is_found(key, before, after):
    redactor = Redactor({"K": key})
    plain = forms(key) - {core for _, core in base64_forms(key)}
    for form, core in (*((form, form) for form in plain), *base64_forms(key)):
        text = f"{before} {form} {after}"
        assert core not in redactor.text(text)
        assert core.encode() not in redactor.content(text.encode("utf-8", "replace"))
    data = {"a": [key, {key: (key, 1, None, True)}], "b": key.encode()}
    assert key not in repr(redactor.value(data))


@given(st.text(max_size=60))
def test_other_text_is_left_alone(text):
    assert Redactor({"K": "0123456789-a-key-that-is-not-there"}).text(text) == text
    assert Redactor({"K": "x" * (LENGTH_MIN - 1)}).text(text) == text


def test_headers_that_hold_none_are_known():
    headers = (("Content-Type", "application/json"), ("Authorization", "Bearer abcdefgh"))
    assert header_secrets(headers) == {"header Authorization": "abcdefgh"}
    assert header_secrets([("X-Api-Key", "k" * 9)]) == {"header X-Api-Key": "k" * 9}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://u:p@host:1/path?k=v#f", "http://host:1/path"),
        ("u:p/w@host", "host"),
        ("http://u:p@ss/w@host/x", "http://host/x"),
        ("127.0.0.1:11434", "127.0.0.1:11434"),
        ("", ""),
    ],
)
def test_addresses(address, expected):
    assert url_without_secrets(address) == expected


def test_children_are_not_told_on_their_command_line(tmp_path):
    """What `ps` shows to everybody on the machine, of a run that starts a server of its own."""
    with tree([*HARNESS, "run", "load", *LOAD], tmp_path, env=environment()) as process:
        lines = watch(process, lambda one: " ".join(one.cmdline()), until="harness_llamacpp")
    assert any("harness_llamacpp" in line for line in lines)
    assert leaks("\n".join(lines).encode()) == []
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"run.json", "records.log"}
    assert {path.name: found for path in files if (found := leaks(path.read_bytes()))} == {}
