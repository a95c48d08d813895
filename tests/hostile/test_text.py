"""A model server whose every word is hostile, and all that we print and write of what it said.

The real commands run on a terminal of their own (both streams), and what it was sent is searched;
so is every file that they wrote but the record log, which keeps what came as it came.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.hostile.corpus import MARK, controls, nasty, terminal_faults
from tests.hostile.server import ENDS, hostile_server
from tests.sim.servers import sim

HARNESS = [sys.executable, "-m", "harness"]
DOCTOR = (
    "import sys; from harness.cli import doctor, main; "
    "doctor.SERVERS = {name: (url, 'start it') for name, url in "
    "(('openai', sys.argv[1]), ('ollama', sys.argv[1] + '/shut'))}; "
    "sys.argv[1:] = ['doctor']; main()"
)
FORMATS = ("jsonl", "chunks", "csv", "metrics.json", "comparison_report.md")


def on_terminal(folder, *words, command=HARNESS, statuses=(0,)):
    """What a terminal was sent by the command."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "COLORTERM": ""}
    process = subprocess.Popen(
        [*command, *map(str, words)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    output = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # EIO: the other end is closed
            break
        if not part:
            break
        output += part
    os.close(ours)
    assert process.wait(60) in statuses, output[-3000:].decode(errors="replace")
    assert b"Traceback" not in output or "debug" in words, output.decode(errors="replace")
    return output


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """(name → what the terminal was sent, the folder with all that was written)"""
    root = tmp_path_factory.mktemp("hostile")
    with hostile_server() as url, ThreadPoolExecutor(3) as pool:
        jobs = {}

        def job(name, *words, **more):
            jobs[name] = pool.submit(on_terminal, root, *words, **more)

        load = ("--requests", 2 * len(ENDS), "--concurrency", 2, "--max-tokens", 8)
        for backend in ("openai", "ollama"):
            server = ("--backend", backend, "--url", url)
            words = (*server, *load, "--out", root / backend, "--log-level", "debug")
            job(f"run {backend}", "run", "load", *words, statuses=(4,))
            words = ("--backend", backend, "--url", f"{url}/shut", "--log-level", "debug")
            job(f"shut {backend}", "run", "load", *words, "--model", "m", statuses=(2,))
            job(f"missing {backend}", "run", "load", *server, "--model", "m", statuses=(2,))
            job(f"models {backend}", "models", *server)
            job(f"models --json {backend}", "models", *server, "--json")
        words = ("--backend", "openai", "--url", url, "--out", root / "agent")
        job("run agent", "run", "single_agent", *words, statuses=(0, 2, 4))
        job("doctor", url, command=[sys.executable, "-c", DOCTOR], statuses=(0, 2))
        job("list", "list")
        found = {name: one.result() for name, one in jobs.items()}
        jobs.clear()
        for backend in ("openai", "ollama"):
            job(f"show {backend}", "show", root / backend)
            job(f"show --json {backend}", "show", root / backend, "--json")
        for name in FORMATS:
            job(f"export {name}", "export", root / "openai", "--format", name)
        forged = forge(root / "openai", root / "forged")
        job("show forged", "show", forged, statuses=(0, 2))
        job("export forged", "export", forged, "--format", "comparison_report.md", "--out", "f.md")
        found |= {name: one.result() for name, one in jobs.items()}
    return found, root


def forge(run, folder):
    """A run folder from a stranger, with hostile names where we would have put our own."""
    shutil.copytree(run, folder)
    for name in ("run.json", "summary.json"):
        path = folder / name
        content = json.loads(path.read_text())
        for key in ("name", "run_id", "backend", "scenario", "model"):
            if isinstance(content.get(key), str):
                content[key] = nasty(len(key))
        for caveat in content.get("verdict", {}).get("caveats", []):
            caveat |= dict.fromkeys(("message", "remedy", "code"), nasty(3))
        content[nasty(4)] = nasty(5)
        path.write_text(json.dumps(content, ensure_ascii=False))
    return folder


def test_terminals_get_text_and_nothing_else(swept):
    found, _ = swept
    assert {name: wrong for name, out in found.items() if (wrong := terminal_faults(out))} == {}


def test_the_sweep_met_what_it_was_to_meet(swept):
    """That nothing hostile was printed because nothing was said would prove little."""
    found, root = swept
    for name in ("shut openai", "shut ollama", "models openai", "show openai", "show forged"):
        assert MARK.encode() in found[name], name
    statuses = json.loads((root / "openai" / "summary.json").read_text())["arms"][0]["calls"]
    assert set(statuses) == {"ok", "error"}, statuses
    for backend in ("openai", "ollama"):
        assert b"\x1b]0;" in (root / backend / "records.log").read_bytes(), "kept as it came"


def written(root, *suffixes):
    files = [path for path in sorted(root.rglob("*")) if path.suffix in suffixes]
    assert files
    return [(path, path.read_bytes().decode()) for path in files if "forged" not in path.parts[-2]]


def test_files_hold_text_and_nothing_else(swept):
    _, root = swept
    allowed = {".csv": "\r\n\t"}
    files = written(root, ".md", ".csv", ".json", ".jsonl", ".txt", ".html")
    wrong = {
        str(path.relative_to(root)): found
        for path, text in files
        if (found := controls(text, allowed.get(path.suffix, "\n\t")))
    }
    assert wrong == {}


def test_markdown_is_ours_alone(swept):
    _, root = swept
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    files = written(root, ".md")
    assert len(files) >= 3
    for path, text in files:
        tokens = parser.parse(text)
        inner = [child for token in tokens for child in token.children or ()]
        kinds = {token.type for token in (*tokens, *inner)}
        assert not kinds & {"html_block", "html_inline", "link_open", "image", "s_open"}, path
        for token, after in itertools.pairwise(tokens):
            if token.type in ("heading_open", "blockquote_open"):
                assert not after.content.startswith(MARK), path
        for token in tokens:  # bare addresses, which many viewers make links of
            if token.type == "inline":
                source = re.sub(r"(`+).*?\1", "", token.content, flags=re.DOTALL)
                assert "http://pwn" not in source, path
                assert "www.pwn" not in source, path
        _check_tables(path, text)


def _check_tables(path, text):
    """No row has more cells than the head of its table."""
    columns = 0
    fence = ""
    for line in text.split("\n"):
        mark = line[: len(line) - len(line.lstrip("`"))]
        if len(mark) >= 3 and (not fence or line.startswith(fence)):
            fence = "" if fence else mark
        if fence or not line.startswith("|"):
            columns = 0
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))  # as GitHub counts, and others
        columns = columns or cells
        assert cells == columns, f"{path}: {line[:300]}"


def test_csv_holds_no_formula(swept):
    _, root = swept
    for path, text in written(root, ".csv"):
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert len({len(row) for row in rows}) == 1, path
        for cell in (cell for row in rows for cell in row):
            for part in cell.replace("\t", "\n").replace(";", "\n").split("\n"):
                assert _is_number(part) or part.strip()[:1] not in tuple("=+-@＝＋－＠") or not part


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_json_lines_keep_what_was_said(swept):
    """Escaped, not changed: a reader of JSON gets the very characters of the server."""
    found, _ = swept
    lines = found["export jsonl"].decode().replace("\r\n", "\n").splitlines()
    rows = [json.loads(line) for line in lines]
    assert all(line.isprintable() for line in lines)
    assert any("\x1b]0;" in (row["finish_reason"] or "") for row in rows)
    assert any("\u202e" in json.dumps(row, ensure_ascii=False) for row in rows)


def test_the_truth_server_beside_a_hostile_run(tmp_path):
    """`sim --join` of a run whose text is hostile."""
    with sim(tmp_path / "log", "--ttft", 1, "--gap", 0, "--fault", "hostile_text:1") as server:
        words = ("load", "--backend", "openai", "--url", server.url, "--out", "run")
        words += ("--requests", 2, "--max-tokens", 7, "--warmup", 0)
        run = on_terminal(tmp_path, "run", *words, statuses=(0, 4))
        server.stop()
    joined = on_terminal(tmp_path, "sim", "--join", Path("run"), "--log", tmp_path / "log")
    assert b"2 of 2 ok calls joined" in joined
    assert terminal_faults(run) == terminal_faults(joined) == []
