"""The jobs that a program is given, and the answers that it is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from harness_agents.answers import reader_for
from harness_agents.ingest import ingest
from harness_agents.protocol import Corpus, CorpusFile, Dialect, Endpoint, Job, Kind, Stage
from harness_agents.python_agent import filled

__all__ = [
    "body_of",
    "content_pieces",
    "job_of",
    "lay_out",
    "lines_of",
    "prompt_of",
    "summary_of",
    "vectors",
]

_VECTORS: Final = Path(__file__).parents[1] / "vectors"
_CORPUS: Final = {
    "tables/a.csv": b"a,b\r\n1,2\r\n\r\n3,4",
    "gr\u00f6\u00dfe.json": '{"a": [1, "x", null], "\u00e4": {}}'.encode(),
    "notes.md": b"# One\n\n#two\n #no\n",
    "half.json": b'{"a": ',
}
_LISTED: Final[tuple[tuple[str, Kind], ...]] = (
    ("tables/a.csv", "csv"),
    ("gr\u00f6\u00dfe.json", "json"),
    ("gone.md", "md"),
    ("half.json", "json"),
    ("notes.md", "md"),
)
_PROMPTS: Final = (
    "{{stream}}: {{data_summary}}{{answer:nobody}} \u00fc\u2028 \U0001d11e",
    "{{data_summary}} and {{answer:analysis}}, {{stream}}",
)


def job_of(
    url: str,
    dialect: Dialect,
    stages: tuple[str, ...],
    *,
    corpus: Corpus | None = None,
    streams: int = 1,
) -> Job:
    return Job(
        job_id="check",
        agent="a",
        model="check",
        endpoint=Endpoint(url=url, dialect=dialect, headers=(("X-Check", "yes"),)),
        seed=7,
        corpus=corpus,
        stages=tuple(
            Stage(
                name=name,
                **_request_of(dialect, index),
                prompt=_PROMPTS[min(index, 1)] if corpus else "stream {{stream}}",
                answer_chars_max=3,
                timeout_s=20.0,
            )
            for index, name in enumerate(stages)
        ),
        streams=streams,
        chunk_stamps=True,
        keep_text=True,
    )


def _request_of(dialect: Dialect, index: int) -> dict[str, Any]:
    """Stages differ in where they go and where the prompt belongs."""
    body = {"model": "check", "stream": True, "seed": 2**31 - 1, "system": "Be brief. \u00e4\u20ac"}
    if index:
        return {"path": "/api/generate", "body": body | {"prompt": ""}, "prompt_at": ("prompt",)}
    messages = [{"role": "user", "content": "\u00fc"}, {"role": "user", "content": ""}]
    return {
        "path": "/api/chat" if dialect == "ollama" else "/v1/chat/completions",
        "body": body | {"messages": messages},
        "prompt_at": ("messages", 1, "content"),
    }


def prompt_of(stage: Stage, summary: str, texts: dict[str, str]) -> str:
    return filled(msgspec.to_builtins(stage), 0, summary, texts)


def summary_of(corpus: Corpus | None) -> str:
    if corpus is None:
        return ""
    return ingest(corpus.path, [(file.path, file.kind) for file in corpus.files]).summary


def lay_out(folder: Path) -> Corpus:
    for name, content in _CORPUS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    files = [CorpusFile(path=path, kind=kind) for path, kind in _LISTED]
    return Corpus(path=str(folder), files=tuple(files))


def vectors(dialect: str) -> list[dict[str, Any]]:
    cases = msgspec.json.decode((_VECTORS / "streams.json").read_bytes())
    return [case for case in cases if case["dialect"] == dialect]


def body_of(case: dict[str, Any]) -> bytes:
    if "body_base64" in case:
        return msgspec.convert(case["body_base64"], bytes)
    return str(case["body"]).encode()


def lines_of(case: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(body_of(case).splitlines(keepends=True))


def content_pieces(case: dict[str, Any]) -> list[int]:
    reader = reader_for(case["dialect"])
    return [index for index, line in enumerate(lines_of(case)) if reader.read(line)]
