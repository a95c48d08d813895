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

__all__ = ["NOT_JSON", "error_in", "error_of_body", "one_line", "show", "storable"]

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


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
        return None, show(body)
    if not isinstance(found, dict):
        return None, show(body)
    raw = error_in(found) or found.get("detail") or found.get("message")
    return (raw, as_text(raw)) if raw else (None, show(body))


def as_text(error: Any) -> str:
    """One line: the message, and in brackets the type and code where they are told."""
    if isinstance(error, str):
        return one_line(error)
    if not isinstance(error, dict):
        return one_line(repr(storable(error)))
    message = error.get("message") or error.get("msg") or error.get("error")
    if not isinstance(message, str):
        return one_line(repr(storable(error)))
    tags = [str(error[name]) for name in ("type", "code") if isinstance(error.get(name), str | int)]
    return one_line(f"{message} ({', '.join(tags)})" if tags else message)


def show(payload: bytes) -> str:
    """The beginning of something unexpected."""
    return one_line(payload[:200].decode("utf-8", "replace"))


def one_line(text: str) -> str:
    """A server's words for a message of ours: no control characters, no more than a few lines."""
    printable = "".join(c if c.isprintable() else " " for c in text[:2000])
    words = " ".join(printable.split())
    return words if len(words) <= 500 else words[:499] + "…"


def storable(value: Any, depth: int = 0) -> Any:
    """`value` as the record log can hold it: whole numbers of 64 bits, no bottomless nesting."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    if depth > 20 and isinstance(value, dict | list):
        return "…"
    if isinstance(value, dict):
        return {key: storable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item, depth + 1) for item in value]
    return value
