"""What the vectors are held against: docs/agent-protocol.md in plain Python, from whole bodies.

Written apart from the agents' readers: nothing here is incremental, and speed does not matter.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

LINE_ENDS = re.compile(b"\r\n|\r|\n")


def payloads(dialect: str, body: bytes) -> list[bytes]:
    if dialect == "ollama":
        return [line for line in body.split(b"\n") if line.strip()]
    events, data = [], []
    for line in [*LINE_ENDS.split(body.removeprefix(b"\xef\xbb\xbf")), b""]:
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif not line and data:
            events.append(b"\n".join(data))
            data = []
    return [event for event in events if event.strip()]


def read(dialect: str, body: bytes) -> dict:
    """As a case of streams.json, less its name and body."""
    found = {
        "content_chunks": 0,
        "text": "",
        "reasoning": "",
        "server": {},
        "ended": False,
        "error": None,
    }
    for payload in payloads(dialect, body):
        if dialect == "openai" and payload == b"[DONE]":
            found["ended"] = True
            continue
        try:
            chunk = json.loads(payload.decode("utf-8", "replace"))
            if not isinstance(chunk, dict):
                raise ValueError
        except ValueError:
            return found | {"error": "not JSON", "ended": False}
        (ollama if dialect == "ollama" else openai)(chunk, found)
        error = chunk.get("error")
        if error is not None:
            message = error.get("message") if isinstance(error, dict) else error
            return found | {"error": message, "ended": False}
    return found


def ollama(line: dict, found: dict) -> None:
    message = line.get("message") or {}
    text = (message.get("content") or "") + (line.get("response") or "")
    reasoning = (message.get("thinking") or "") + (line.get("thinking") or "")
    found["text"] += text
    found["reasoning"] += reasoning
    found["content_chunks"] += bool(text or reasoning or message.get("tool_calls"))
    found["ended"] |= line.get("done") is True
    apart = ("message", "response", "thinking", "context")
    found["server"] = {name: value for name, value in line.items() if name not in apart}


def openai(chunk: dict, found: dict) -> None:
    for name in ("usage", "timings"):
        if chunk.get(name) is not None:
            found["server"][name] = chunk[name]
    if not chunk.get("choices"):
        return
    choice = chunk["choices"][0]
    delta = choice.get("delta") or {}
    text = (delta.get("content") or "") + (choice.get("text") or "")
    reasoning = delta.get("reasoning_content") or delta.get("reasoning") or ""
    found["text"] += text
    found["reasoning"] += reasoning
    found["content_chunks"] += bool(text or reasoning or delta.get("tool_calls"))
    if choice.get("finish_reason") is not None:
        found["server"]["finish_reason"] = choice["finish_reason"]
        found["ended"] = True


def summary(folder: Path, listed: list[dict]) -> str:
    read, skipped = [], 0
    for entry in listed:
        try:
            data = (folder / entry["path"]).read_bytes()
            count = COUNTS[entry["kind"]](data)
        except (OSError, ValueError):
            skipped += 1
            continue
        read.append((entry["path"], entry["kind"], len(data), count))
    lines = [f"files read: {len(read)}, skipped: {skipped}, bytes: {sum(f[2] for f in read)}"]
    for kind, word in WORDS.items():
        of_kind = [f for f in read if f[1] == kind]
        if of_kind:
            counted, size = sum(f[3] for f in of_kind), sum(f[2] for f in of_kind)
            lines.append(f"{kind}: {len(of_kind)} files, {counted} {word}, {size} bytes")
    lines += [f"- {path}: {size} bytes, {count} {WORDS[kind]}" for path, kind, size, count in read][
        :20
    ]
    lines += [f"- and {len(read) - 20} more"] * (len(read) > 20)
    return "".join(f"{line}\n" for line in lines)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def csv_rows(data: bytes) -> int:
    return max(0, sum(bool(line.strip(b" \t\r\f")) for line in data.split(b"\n")) - 1)


def json_values(data: bytes) -> int:
    def refuse(name: str) -> None:
        raise ValueError(name)

    def leaves(value: object) -> int:
        if isinstance(value, dict):
            return sum(map(leaves, value.values()))
        return sum(map(leaves, value)) if isinstance(value, list) else 1

    return leaves(json.loads(data.decode(), parse_constant=refuse))


def md_headings(data: bytes) -> int:
    return sum(line.startswith(b"#") for line in data.split(b"\n"))


WORDS = {"csv": "rows", "json": "values", "md": "headings"}
COUNTS = {"csv": csv_rows, "json": json_values, "md": md_headings}
