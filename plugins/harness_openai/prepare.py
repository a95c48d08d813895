"""One request as the body of /chat/completions or /completions."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct, field

from harness.errors import SpecError
from harness.options import merged
from harness.schema import Message, Request
from harness_openai.options import OpenAIOptions

__all__ = ["Features", "request_body", "shared_fields", "with_api"]


class Features(Struct, frozen=True, kw_only=True):
    """What is asked for because this server was found to support it."""

    usage: bool
    continuous_usage: bool
    more: dict[str, Any] = field(default_factory=dict)
    """Fields of every body, for backends that are built upon this one."""


_SENT_IF_SET: Final = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "cache_prompt",
)


_PATHS: Final = {"chat": "/chat/completions", "completions": "/completions"}


def with_api(options: OpenAIOptions, *, bare: bool) -> tuple[str, OpenAIOptions]:
    """(path, `options` with `auto` decided): a `bare` prompt is completed, messages are a chat."""
    api = options.api
    if api == "auto":
        api = "completions" if bare else "chat"
        options = msgspec.structs.replace(options, api=api)
    return _PATHS[api], options


def request_body(
    model: str, options: OpenAIOptions, features: Features, request: Request
) -> tuple[str, bytes]:
    """(path, JSON) of one call. The request's own fields win over the spec's options, and its
    `options` over both. Raises SpecError for what the API cannot do."""
    changed = merged(options, request.options, backend="openai", otherwise="put it under `extra`")
    path, chosen = with_api(changed, bare=request.prompt is not None)
    body = shared_fields(model, chosen, features)
    if request.max_tokens is not None:
        body[chosen.max_tokens_field] = request.max_tokens
    if request.ignore_eos:
        body["ignore_eos"] = True
    if request.seed is not None and "seed" not in request.options:
        body["seed"] = request.seed
    if request.stop and "stop" not in request.options:
        body["stop"] = request.stop
    if request.format is not None:
        body["response_format"] = _response_format(request.format)
    if chosen.api == "chat":
        body["messages"] = _messages(request)
        if request.tools:
            body["tools"] = request.tools
    else:
        body["prompt"] = _single_prompt(request)
    return path, msgspec.json.encode(body)


def shared_fields(model: str, options: OpenAIOptions, features: Features) -> dict[str, Any]:
    """All but the prompt and the bounds of this one call."""
    body: dict[str, Any] = {"model": model, "stream": True}
    stream_options: dict[str, bool] = {}
    if features.usage:
        stream_options["include_usage"] = True
    if features.continuous_usage:
        stream_options["continuous_usage_stats"] = True
    if options.obfuscation is not None:
        stream_options["include_obfuscation"] = options.obfuscation
    if stream_options:
        body["stream_options"] = stream_options
    for name in _SENT_IF_SET:
        value = getattr(options, name)
        if value is not None:
            body[name] = value
    if options.stop:
        body["stop"] = options.stop
    if options.timings:
        body["timings_per_token"] = True
    if options.logprobs:
        body |= _logprobs(options)
    return body | features.more | options.extra


def _logprobs(options: OpenAIOptions) -> dict[str, Any]:
    """chat has a switch and a number, completions the number alone."""
    if options.api == "completions":
        return {"logprobs": max(1, options.top_logprobs)}
    return {"logprobs": True, "top_logprobs": options.top_logprobs}


def _response_format(wanted: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(wanted, dict):
        schema = {"name": "answer", "schema": wanted, "strict": True}
        return {"type": "json_schema", "json_schema": schema}
    if wanted == "json":
        return {"type": "json_object"}
    raise SpecError(f"no format {wanted!r}", where="request.format", remedy='"json" or a schema')


def _messages(request: Request) -> list[dict[str, Any]]:
    if request.prompt is not None:
        return [{"role": "user", "content": request.prompt}]
    return [_message(message) for message in request.messages]


def _message(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        said["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        said["tool_call_id"] = message.tool_call_id
    return said


def _tool_call(call: dict[str, Any]) -> dict[str, Any]:
    """OpenAI wants `arguments` as a string of JSON; Ollama's dialect has them as an object."""
    function = call.get("function")
    if not isinstance(function, dict):
        return call
    arguments = function.get("arguments", "")
    if not isinstance(arguments, str):
        function = function | {"arguments": msgspec.json.encode(arguments).decode()}
    return {"type": "function"} | call | {"function": function}


def _single_prompt(request: Request) -> str:
    """completions takes text. A conversation would need the model's template, which we lack."""
    if request.tools:
        raise SpecError("/completions takes no tools", where="request.tools", remedy="-o api=chat")
    if request.prompt is not None:
        return request.prompt
    if [message.role for message in request.messages] == ["user"]:
        return request.messages[0].content
    raise SpecError(
        "/completions takes one prompt, not a conversation",
        where="request.messages",
        remedy="-o api=chat",
    )
