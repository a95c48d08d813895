"""What a scenario asks for (`Request`) and the HTTP exchange that a backend makes of it."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

__all__ = ["Exchange", "Message", "Request"]


class Message(Struct, frozen=True, kw_only=True):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None


class Request(Struct, frozen=True, kw_only=True):
    """One model call, in no server's dialect. Exactly one of `messages` and `prompt` is given."""

    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    max_tokens: int | None = None
    """Upper bound of the output length; the backend translates it (num_predict, max_tokens)."""
    ignore_eos: bool = False
    """Ask the server to generate exactly `max_tokens`, where it can."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    format: str | dict[str, Any] | None = None
    """`"json"` or a JSON schema."""
    tools: tuple[dict[str, Any], ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    """Backend options for this call alone; they win over the spec's."""
    cold: bool = False
    """No cache may know this prompt (it begins with the context's salt): cached prompt tokens are
    then a caveat."""
    stage: str = ""
    """Which step of the scenario this is: `analysis`, `report`; shown in records and tables."""
    agent: str = ""
    """Which agent makes the call, where there are several."""


class Exchange(Struct, frozen=True, kw_only=True):
    """One HTTP/1.1 request, complete before it is due, and how its response is framed."""

    url: str
    """http://host:port/path, https://…, or http+unix://%2Fpath%2Fto.sock/path"""
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    """Without Host, Content-Length and Connection, which the transport adds."""
    body: bytes = b""
    framing: Literal["auto", "sse", "ndjson", "whole"] = "auto"
    """`auto` goes by Content-Type. Another value decides where Content-Type does not say."""
