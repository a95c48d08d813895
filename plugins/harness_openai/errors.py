"""The shapes that servers give their errors, and one line made of each.

{"error": {"message", "type", "code"}}    OpenAI, vLLM, llama.cpp, OpenRouter (code: int or str)
{"object": "error", "message", "code"}    SGLang: flat
{"error": "words"}                        transformers serve, Ollama
{"detail": "words" | [{"loc", "msg"}]}    FastAPI, before the server's own code is reached
{"message", "code"} without choices       gateways
event: error                              LM Studio and others; the data is any of the above
"""

from __future__ import annotations

from typing import Any

import msgspec

from harness.control import NOT_JSON
from harness.text import excerpt, one_line, storable

__all__ = ["as_text", "error_in", "error_of_body"]

_CHARS_MAX = 500


def error_in(payload: dict[str, Any]) -> Any:
    """The error that a payload carries, raw; None if it carries none."""
    error = payload.get("error")
    if error:
        return error
    if payload.get("object") == "error":
        return payload
    if "choices" not in payload and "code" in payload and isinstance(payload.get("message"), str):
        return payload
    return None


def error_of_body(body: bytes) -> tuple[Any, str]:
    """(raw error or None, one line) of the body of an HTTP error."""
    try:
        found = msgspec.json.decode(body.decode("utf-8", "replace"))
    except NOT_JSON:
        return None, excerpt(body)
    if not isinstance(found, dict):
        return None, excerpt(body)
    raw = error_in(found) or found.get("detail") or found.get("message")
    return (raw, as_text(raw)) if raw else (None, excerpt(body))


def as_text(error: Any) -> str:
    """One line: the message, and in brackets the type and code where they are told."""
    if isinstance(error, str):
        return one_line(error, _CHARS_MAX)
    if not isinstance(error, dict):
        return one_line(repr(storable(error)), _CHARS_MAX)
    message = error.get("message") or error.get("msg") or error.get("error")
    if not isinstance(message, str):
        return one_line(repr(storable(error)), _CHARS_MAX)
    tags = [str(error[name]) for name in ("type", "code") if isinstance(error.get(name), str | int)]
    return one_line(f"{message} ({', '.join(tags)})" if tags else message, _CHARS_MAX)
