"""An HTTP request, read: what is asked for, in no server's dialect."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

__all__ = ["Asked", "Http", "NotUnderstood", "read_asked", "read_http"]

CHAT: Final = ("/v1/chat/completions", "/api/v1/chat/completions")
COMPLETIONS: Final = ("/v1/completions", "/api/v1/completions")


class NotUnderstood(Exception):  # noqa: N818  (its message goes into a 400)
    """The body is not what the path takes."""


class Http(Struct, frozen=True, kw_only=True):
    """The request line, and what of the head matters here."""

    method: str
    path: str
    keep_alive: bool
    chunked: bool
    query: str = ""
    metadata: bool = False
    """X-OpenRouter-Metadata: enabled"""
    request_id: str | None = None
    """X-Request-ID: how a client that records no name of the answer can be found in the log."""


class Asked(Struct, kw_only=True):
    """A request for text."""

    api: Literal["ollama_chat", "ollama_generate", "chat", "completions"]
    model: str
    words: list[str]
    """The prompt, a word a token."""
    text: str
    """The prompt, for faults that go by their words."""
    stream: bool
    max_tokens: int | None
    include_usage: bool = False
    continuous_usage: bool = False
    timings_per_token: bool = False
    cache_prompt: bool = True
    obfuscation: bool = True
    ignore_eos: bool = False
    min_tokens: int = 0
    """vllm, sglang, llamacpp (ignore_eos): the model must not end before."""
    think: bool | None = None
    """ollama: None lets the model think if it can."""
    raw: bool = False
    keep_alive: Any = None
    load_options: tuple[tuple[str, Any], ...] = ()
    """ollama: those that need a reload when they change."""
    num_ctx: int | None = None
    num_keep: int = 4
    truncate: bool = True
    """ollama: a prompt longer than the context is cut; else refused."""
    provider: dict[str, Any] = msgspec.field(default_factory=dict)
    """openrouter: how the request is to be routed."""
    empty: bool = False
    """ollama: no prompt, which loads the model or unloads it."""


TOKENS_MAX: Final = 1_000_000
_RELOADS: Final = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")


def read_http(head: bytes) -> Http | None:
    """None: not HTTP/1.x."""
    line, _, rest = head.partition(b"\r\n")
    words = line.split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return None
    fields = rest.lower()
    return Http(
        method=words[0].decode("latin-1"),
        path=words[1].partition(b"?")[0].decode("latin-1"),
        query=words[1].partition(b"?")[2].decode("latin-1"),
        metadata=b"\r\nx-openrouter-metadata: enabled" in b"\r\n" + fields,
        keep_alive=b"\r\nconnection: close" not in b"\r\n" + fields and words[2] != b"HTTP/1.0",
        chunked=b"transfer-encoding:" in fields,
        request_id=_request_id(rest),
    )


def _request_id(fields: bytes) -> str | None:
    at = (b"\r\n" + fields).lower().find(b"\r\nx-request-id:")
    if at < 0:
        return None
    value = fields[at:].partition(b":")[2].partition(b"\r\n")[0]
    return value.strip().decode("latin-1")[:200]


def read_asked(path: str, body: bytes) -> Asked | None:
    """None: the path is none that generates. Raises NotUnderstood."""
    if path in ("/api/chat", "/api/generate"):
        return _ollama(path, _object(body))
    if path in CHAT:
        return _openai("chat", _object(body))
    if path in COMPLETIONS:
        return _openai("completions", _object(body))
    return None


def _ollama(path: str, body: dict[str, Any]) -> Asked:
    options = _mapping(body, "options")
    if path == "/api/chat":
        text = _texts(body.get("messages"))
        empty = not body.get("messages")
    else:
        text = f"{body.get('system') or ''} {body.get('prompt') or ''}".strip()
        empty = not body.get("prompt")
    bound = options.get("num_predict")
    return Asked(
        api="ollama_chat" if path == "/api/chat" else "ollama_generate",
        model=_string(body, "model"),
        words=text.split(),
        text=text,
        stream=body.get("stream") is not False,
        max_tokens=_bound(bound),
        think=None if body.get("think") is None else bool(body["think"]),
        raw=body.get("raw") is True,
        keep_alive=body.get("keep_alive"),
        load_options=tuple((name, options.get(name)) for name in _RELOADS),
        num_ctx=_size(options.get("num_ctx")),
        num_keep=_size(options.get("num_keep")) or 4,
        truncate=body.get("truncate") is not False,
        empty=empty,
    )


def _openai(api: Literal["chat", "completions"], body: dict[str, Any]) -> Asked:
    stream_options = _mapping(body, "stream_options")
    if api == "chat":
        if not isinstance(body.get("messages"), list):
            raise NotUnderstood("messages: a list is required")
        text = _texts(body["messages"])
    else:
        prompt = body.get("prompt")
        if not isinstance(prompt, str):
            raise NotUnderstood("prompt: a string is required")
        text = prompt
    bound = body.get("max_completion_tokens") or body.get("max_tokens")
    return Asked(
        api=api,
        model=_string(body, "model"),
        words=text.split(),
        text=text,
        stream=body.get("stream") is True,
        max_tokens=_bound(bound),
        include_usage=stream_options.get("include_usage") is True,
        continuous_usage=stream_options.get("continuous_usage_stats") is True,
        timings_per_token=body.get("timings_per_token") is True,
        cache_prompt=body.get("cache_prompt") is not False,
        obfuscation=stream_options.get("include_obfuscation") is not False,
        ignore_eos=body.get("ignore_eos") is True,
        min_tokens=_size(body.get("min_tokens")) or 0,
        provider=_mapping(body, "provider"),
    )


def _bound(value: Any) -> int | None:
    """An answer is made whole before it is sent: there is an end to what we make."""
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        return None
    if value > TOKENS_MAX:
        raise NotUnderstood(f"at most {TOKENS_MAX} tokens, not {value}")
    return value


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotUnderstood(f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise NotUnderstood("the body is not an object")
    return found


def _mapping(body: dict[str, Any], name: str) -> dict[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _string(body: dict[str, Any], name: str) -> str:
    found = body.get(name)
    if not isinstance(found, str):
        raise NotUnderstood(f"{name}: a string is required")
    return found


def _texts(messages: Any) -> str:
    found = []
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            found.append(content)
        elif isinstance(content, list):
            found += [str(part.get("text", "")) for part in content if isinstance(part, dict)]
    return "\n".join(found)
