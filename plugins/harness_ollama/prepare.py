"""One request as the body of /api/chat or /api/generate."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.errors import SpecError
from harness.options import merged
from harness.schema import Message, Request
from harness_ollama.options import OllamaOptions, model_options

__all__ = ["load_body", "request_body", "shared_fields"]


def request_body(model: str, options: OllamaOptions, request: Request) -> tuple[str, bytes]:
    """(path, JSON) of one call. The request's own fields win over the spec's options, and its
    `options` over both. Raises SpecError for what Ollama cannot do."""
    chosen = merged(options, request.options, backend="ollama")
    body = shared_fields(model, chosen)
    body["stream"] = True
    sampling: dict[str, Any] = body["options"]
    if request.max_tokens is not None and "num_predict" not in request.options:
        sampling["num_predict"] = request.max_tokens
    if request.seed is not None and "seed" not in request.options:
        sampling["seed"] = request.seed
    if request.stop and "stop" not in request.options:
        sampling["stop"] = request.stop
    if request.format is not None and "format" not in request.options:
        body["format"] = request.format
    if chosen.api == "chat":
        body["messages"] = _messages(request)
        if request.tools:
            body["tools"] = request.tools
    else:
        body |= _single_prompt(request)
    return f"/api/{chosen.api}", msgspec.json.encode(body)


def load_body(model: str, options: OllamaOptions) -> tuple[str, dict[str, Any]]:
    """(path, body) that loads the model exactly as the calls want it, and generates nothing."""
    empty: dict[str, Any] = {"messages": []} if options.api == "chat" else {"prompt": ""}
    return f"/api/{options.api}", shared_fields(model, options) | empty | {"stream": False}


def shared_fields(model: str, options: OllamaOptions) -> dict[str, Any]:
    """All but the prompt. Optional fields are left out while they are at the server's default."""
    body: dict[str, Any] = {
        "model": model,
        "options": model_options(options),
        "think": options.think,
        "keep_alive": options.keep_alive,
    }
    if options.format is not None:
        body["format"] = options.format
    if options.truncate is not None:
        body["truncate"] = options.truncate
    if options.shift is not None:
        body["shift"] = options.shift
    if options.logprobs:
        body["logprobs"] = True
        body["top_logprobs"] = options.top_logprobs
    if options.api == "generate":
        body["raw"] = options.raw
    return body


def _messages(request: Request) -> list[dict[str, Any]]:
    if request.prompt is not None:
        return [{"role": "user", "content": _not_empty(request.prompt)}]
    if not request.messages:
        _not_empty("")
    return [_message(message) for message in request.messages]


def _message(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        said["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        said["tool_call_id"] = message.tool_call_id
    return said


def _tool_call(call: dict[str, Any]) -> dict[str, Any]:
    """Ollama wants `arguments` as an object; OpenAI's dialect has them as a string of JSON."""
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = msgspec.json.decode(function["arguments"] or "{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SpecError("a tool call's arguments are not JSON", where="request.messages") from None
    return call | {"function": function | {"arguments": arguments}}


def _single_prompt(request: Request) -> dict[str, Any]:
    """generate takes one prompt and at most a system text."""
    if request.tools:
        raise SpecError("/api/generate takes no tools", where="request.tools", remedy="-o api=chat")
    if request.prompt is not None:
        return {"prompt": _not_empty(request.prompt)}
    roles = [message.role for message in request.messages]
    if roles == ["user"]:
        return {"prompt": _not_empty(request.messages[0].content)}
    if roles == ["system", "user"]:
        system, user = request.messages
        return {"system": system.content, "prompt": _not_empty(user.content)}
    raise SpecError(
        "/api/generate takes one prompt, not a conversation",
        where="request.messages",
        remedy="-o api=chat",
    )


def _not_empty(prompt: str) -> str:
    if not prompt:
        raise SpecError(
            "an empty prompt makes Ollama load the model and generate nothing",
            where="request.prompt",
        )
    return prompt
