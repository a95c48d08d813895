"""docs/sim.md names everything there is to set, and everything that can go wrong."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

from harness.testing.sim import FAULTS, SimSpec
from harness.testing.sim.dialects import TRAITS
from harness.testing.sim.log import row_type
from tests.sim.servers import events, inline_sim

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sim.md").read_text("utf-8")


def test_every_field_of_the_spec():
    part = PAGE.partition("<!-- spec fields -->")[2].partition("<!-- /spec fields -->")[0]
    assert re.findall(r"^\| `(\w+)` \|", part, re.M) == list(SimSpec.__struct_fields__)


def test_every_fault():
    part = PAGE.partition("| fault | what happens |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in part.split("\n") if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(FAULTS)


def test_every_dialect():
    part = PAGE.partition("| `dialect` | first frame")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", part, re.M) == list(TRAITS)


def test_every_field_of_a_row():
    part = PAGE.partition("| field | type | |")[2].partition("\n\n")[0]
    named = [name for line in part.split("\n") for name in re.findall(r"`(\w+)`", line[:40])]
    assert named == list(row_type().names)


# ------------------------------------------------------------- the log, read by the page alone

LOG = PAGE.partition("## The log")[2].partition("## Joining a run")[0]
STRUCT = {"int64": "q", "uint32": "I"}


def fields_by_the_page():
    """struct's format and the names of the fields of a row."""
    table = LOG.partition("| field | type | |\n|---|---|---|\n")[2].partition("\n\n")[0]
    names, form = [], "<"
    for line in table.split("\n"):
        _, fields, kind, _, _ = line.split("|")
        found = re.findall(r"`(\w+)`", fields)
        names += found
        form += STRUCT[kind.strip()] * len(found)
    return form, names


def kinds_by_the_page():
    said = re.search(r"\| `kind` \| uint32 \| (.*?) \|\n", LOG)[1]
    return {int(number): name for number, name in re.findall(r"(\d) ([^·]+?)(?: ·|$)", said)}


def test_a_log_is_what_the_page_says(tmp_path):
    """Decoded with nothing but the page: per request and per chunk, when what was sent."""
    with inline_sim(tmp_path / "log", {"ttft": 2, "gap": 1, "dialect": "vllm"}) as server:
        for _ in range(2):
            events(server.url, tokens=5)
    lines = (tmp_path / "log" / "requests.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert [line["t"] for line in found] == ["server", "request", "request", "clock", "end"]
    named = set(re.findall(r"`(\w+)`", LOG)) | {"t"}
    for prefix in ("forced", "own"):
        assert f"`{prefix}_p50_ns` …" in LOG
        named |= {f"{prefix}_{figure}_ns" for figure in ("p50", "p90", "p99", "max")}
    end = found[-1]
    for part in (*found, end["punctuality"], end["punctuality"]["late"], end["sender"]):
        assert set(part) <= named, set(part) - named
    form, names = fields_by_the_page()
    size = struct.calcsize(form)
    assert f"`sends.bin`, {size} bytes a send" in LOG
    data = (tmp_path / "log" / "sends.bin").read_bytes()
    rows = [dict(zip(names, row, strict=True)) for row in struct.iter_unpack(form, data)]
    kinds = kinds_by_the_page()
    assert len(rows) == end["sender"]["pieces"]
    for request in found[1:3]:
        sent = [row for row in rows if row["serial"] == request["serial"]]
        assert [row["index"] for row in sent] == list(range(len(sent)))
        content = [row for row in sent if kinds[row["kind"]] == "content"]
        assert kinds[sent[0]["kind"]] == "HTTP head"
        assert kinds[sent[-1]["kind"]] == "finish, usage, end"
        assert len(content) == request["chunks"] == 5
        due = [row["due_ns"] - request["start_ns"] for row in content]
        assert due == [2_000_000 + 1_000_000 * i for i in range(5)]
        assert request["arrived_ns"] <= request["read_ns"] <= request["answered_ns"]
        for row in content:
            assert request["arrived_ns"] < row["due_ns"] <= row["before_ns"] < row["after_ns"]
            assert row["tries"] == 1 and row["size"] > 100
    late = [
        [row["serial"], row["index"], row["before_ns"] - row["due_ns"]]
        for row in sorted(rows, key=lambda row: row["due_ns"])
        if row["before_ns"] - row["due_ns"] > end["punctuality"]["late"]["bound_ns"]
        and kinds[row["kind"]] in ("reasoning", "content", "finish, usage, end")
    ]
    assert len(late) == end["punctuality"]["late"]["sends"]
    assert late[:100] == end["punctuality"]["late"]["first"]
