"""What another program's request asked for, read out of its body: prompt, bound, streaming.

Any program's bytes come here. What cannot be read is simply not known: nothing raises.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from harness.schema import Message, Request

__all__ = ["request_of"]

_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_ROLES: Final = ("system", "user", "assistant", "tool")
_BOUNDS: Final = ("max_tokens", "max_completion_tokens", "n_predict")


def request_of(body: bytes, *, agent: str, stage: str) -> Request:
    """As if the harness had made it: the same prompt has the same digest. `options` has what of it
    a decoder must know (harness.protocols.Reads)."""
    try:
        asked = msgspec.json.decode(body) if body else None
    except _NOT_JSON:
        asked = None
    if not isinstance(asked, dict):
        return Request(prompt="", agent=agent, stage=stage, options={"stream": None})
    messages = _messages(asked)
    prompt = asked.get("prompt")
    tools, stream = asked.get("tools"), asked.get("stream")
    return Request(
        messages=messages,
        prompt=None if messages else prompt if isinstance(prompt, str) else "",
        max_tokens=_max_tokens(asked),
        tools=tuple(t for t in tools if isinstance(t, dict)) if isinstance(tools, list) else (),
        options={"stream": stream if isinstance(stream, bool) else None},
        agent=agent,
        stage=stage,
    )


def _messages(asked: dict[str, Any]) -> tuple[Message, ...]:
    found = asked.get("messages")
    if isinstance(found, list):
        return tuple(_message(one) for one in found if isinstance(one, dict))
    system, prompt = asked.get("system"), asked.get("prompt")
    if isinstance(system, str) and system and isinstance(prompt, str):  # Ollama's generate
        return Message(role="system", content=system), Message(role="user", content=prompt)
    return ()


def _message(one: dict[str, Any]) -> Message:
    """A role of some dialect's own (`developer`) is an instruction."""
    role, calls = one.get("role"), one.get("tool_calls")
    made: tuple[dict[str, Any], ...] = ()
    if isinstance(calls, list):
        made = tuple(call for call in calls if isinstance(call, dict))
    known: Any = role if role in _ROLES else "system"
    return Message(role=known, content=_text(one.get("content")), tool_calls=made)


def _text(content: Any) -> str:
    """A string, or a list of parts of which those with text count."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return ""


def _max_tokens(asked: dict[str, Any]) -> int | None:
    options = asked.get("options")
    nested = options.get("num_predict") if isinstance(options, dict) else None
    for value in (nested, *(asked.get(name) for name in _BOUNDS)):
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31:
            return value
    return None
