"""The protocol's test vectors, as the package ships them."""

from __future__ import annotations

import base64
import json
from importlib import resources
from pathlib import Path


def load(name: str) -> list[dict]:
    text = resources.files("harness_agents").joinpath("vectors", name).read_text("utf-8")
    return json.loads(text)


def body(case: dict) -> bytes:
    if "body_base64" in case:
        return base64.b64decode(case["body_base64"])
    return case["body"].encode()


def name(case: dict) -> str:
    return f"{case['dialect']}: {case['name']}" if "dialect" in case else case["name"]


def lay_out(case: dict, folder: Path) -> None:
    """Write the files of a summary's case."""
    files = {path: text.encode() for path, text in case["files"].items()}
    files |= {path: base64.b64decode(text) for path, text in case["files_base64"].items()}
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


STREAMS = load("streams.json")
SUMMARIES = load("summaries.json")
