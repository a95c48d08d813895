"""An agent's work as the job of a program (docs/agent-protocol.md). Public, for plugins.

The bodies of a job are made by the backend itself, of requests whose prompt is a marker: whatever
it puts into a request is in every agent's, and where the marker comes out is where the prompt
belongs.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from harness.errors import SpecError
from harness.protocols import AgentCalls
from harness.schema import Exchange
from harness.text import one_line
from harness_agents.protocol import Dialect, Endpoint, Job, Stage
from harness_agents.workload import Workload, prompt_of, with_prompt

__all__ = ["job_for"]

_DIALECTS: Final[tuple[tuple[str, Dialect], ...]] = (
    ("/api/chat", "ollama"),
    ("/api/generate", "ollama"),
    ("/chat/completions", "openai"),
    ("/completions", "openai"),
)
_MARKER: Final = "the-prompt-belongs-here-7c1f"
_NOT_OURS: Final = frozenset({"content-type", "x-request-id", "content-length", "host"})


def job_for(
    work: Workload,
    calls: AgentCalls,
    *,
    job_id: str,
    model: str,
    timeout_s: float,
    options: dict[str, Any] | None = None,
    chunk_stamps: bool = False,
    keep_text: bool = True,
) -> Job:
    """Raises SpecError where the backend's requests are of no dialect that agents speak."""
    stages, endpoints = [], []
    for step in work.steps:
        marked = with_prompt(step.request, _MARKER)
        exchange = calls.prepare(marked)
        endpoint, path = _endpoint(calls.url, exchange)
        body, prompt_at = _body(exchange)
        endpoints.append(endpoint)
        stages.append(
            Stage(
                name=step.name,
                path=path,
                body=body,
                prompt_at=prompt_at,
                prompt=prompt_of(step.request),
                answer_chars_max=step.answer_chars_max,
                timeout_s=timeout_s,
            )
        )
    return Job(
        job_id=job_id,
        agent=work.agent,
        model=model,
        endpoint=endpoints[0],
        options=options or {},
        seed=work.seed,
        corpus=work.corpus,
        stages=tuple(stages),
        streams=work.streams,
        chunk_stamps=chunk_stamps,
        keep_text=keep_text,
    )


def _endpoint(url: str, exchange: Exchange) -> tuple[Endpoint, str]:
    """Where requests go, and the path of this one below it."""
    parts = urlsplit(exchange.url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    dialect = next((one for end, one in _DIALECTS if parts.path.endswith(end)), None)
    if dialect is None or exchange.method != "POST":
        raise SpecError(
            f"agent programs speak as to Ollama or OpenAI; this backend's requests go to "
            f"{one_line(parts.path, 80)}",
            where="$.backend",
            remedy="backend ollama, openai or sim",
        )
    origin = urlsplit(url)
    headers = tuple(
        (name, value) for name, value in exchange.headers if name.lower() not in _NOT_OURS
    )
    there = f"{origin.scheme}://{origin.netloc}"
    return Endpoint(url=there, dialect=dialect, headers=headers), path


def _body(exchange: Exchange) -> tuple[dict[str, Any], tuple[str | int, ...]]:
    body = msgspec.json.decode(exchange.body)
    places = list(_places(body, ()))
    if len(places) != 1:
        raise SpecError(
            "the backend does not send the prompt as it is, so that no agent can put it in",
            where="$.backend",
            remedy="another backend, or api: chat",
        )
    return body, places[0]


def _places(value: Any, at: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    """Where the marker is."""
    if value == _MARKER:
        return [at]
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    return [place for key, item in inner for place in _places(item, (*at, key))]
