"""How the OpenAI-compatible servers differ: traits, counts, errors.

Reference: the servers' own code and documentation, by versions of 2026. LM Studio's /v1 and TGI
have the shape of `openai`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

from harness.testing.sim.spec import Dialect, SimSpec
from harness.testing.sim.timeline import Timeline
from harness.testing.sim.voice import Counts

__all__ = ["TRAITS", "Traits", "error_body", "error_payload", "timings_of", "usage_of"]


class Traits(Struct, frozen=True, kw_only=True):
    """What one server does and another does not."""

    reasoning: str | None = "reasoning_content"
    """The field of a delta; None: it has none, and reasoning is not shown."""
    head_at_start: bool = True
    """The HTTP head is sent when the request's turn comes; else with the first frame."""
    role: Literal["start", "first", "none"] = "first"
    """A frame of its own with the role: before generating, or right before the first content."""
    role_content: str | None = ""
    usage: Literal["asked", "finish", "always"] = "asked"
    """A frame of its own if asked for; on the finish frame; a frame of its own in any case."""
    continuous_usage: bool = False
    done: bool = True
    done_after_error: bool = False
    error: Literal["object", "flat", "text", "lost", "choice"] = "object"
    timings: bool = False
    finish: tuple[tuple[str, Any], ...] = ()
    """More fields of the finish choice."""
    more: tuple[tuple[str, Any], ...] = ()
    """More fields of every frame."""
    usage_null: bool = False
    """Frames without usage say so, if it was asked for."""
    obfuscation: bool = False
    """Frames are padded with random text, unless the request says no."""
    waiting: str | None = None
    """A comment that is sent while there is nothing else to send."""


TRAITS: Final[dict[Dialect, Traits]] = {
    "openai": Traits(
        reasoning=None,
        more=(("system_fingerprint", "fp_sim"),),
        usage_null=True,
        obfuscation=True,
    ),
    "vllm": Traits(
        reasoning="reasoning",
        continuous_usage=True,
        done_after_error=True,
        finish=(("stop_reason", None),),
    ),
    "sglang": Traits(
        continuous_usage=True,
        done_after_error=True,
        error="flat",
        finish=(("matched_stop", None),),
    ),
    "llamacpp": Traits(
        role="start",
        role_content=None,
        timings=True,
        more=(("system_fingerprint", "b10488-sim"),),
    ),
    "transformers": Traits(role="start", usage="finish", done=False, error="text"),
    "ollama": Traits(
        reasoning="reasoning",
        head_at_start=False,
        role="none",
        error="lost",
        more=(("system_fingerprint", "fp_ollama"),),
    ),
    "openrouter": Traits(
        reasoning="reasoning",
        role="none",
        usage="always",
        error="choice",
        waiting="OPENROUTER PROCESSING",
    ),
    "deepseek": Traits(waiting="keep-alive", more=(("system_fingerprint", "fp_sim"),)),
}


def usage_of(spec: SimSpec, counts: Counts) -> dict[str, Any]:
    """As it stands in the answer, when that is complete."""
    usage: dict[str, Any] = {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.output,
        "total_tokens": counts.prompt + counts.output,
    }
    reasoning = {"completion_tokens_details": {"reasoning_tokens": counts.reasoning}}
    cached = {"cached_tokens": counts.cached}
    match spec.dialect:
        case "openai":
            return usage | {"prompt_tokens_details": cached} | reasoning
        case "openrouter":
            cached |= {"cache_write_tokens": 0, "audio_tokens": 0}
            cost = (counts.prompt + counts.output) * spec.cost_usd_per_token
            details = {"upstream_inference_cost": None}
            usage |= {"prompt_tokens_details": cached} | reasoning
            return usage | {"cost": cost, "cost_details": details}
        case "deepseek":
            missed = counts.prompt - counts.cached
            usage |= {"prompt_cache_hit_tokens": counts.cached, "prompt_cache_miss_tokens": missed}
            return usage | {"prompt_tokens_details": cached} | reasoning
        case "vllm" | "sglang":
            if spec.cached_tokens_shown:
                usage["prompt_tokens_details"] = cached
            if spec.dialect == "sglang":
                usage["reasoning_tokens"] = counts.reasoning
    return usage


def timings_of(timeline: Timeline, counts: Counts, tokens: int, now_ns: int) -> dict[str, Any]:
    """llama.cpp's, in ms; the timer starts when the slot does."""
    evaluated = counts.prompt - counts.cached
    prompt_ms = timeline.prompt_ns / 1e6
    predicted_ms = (now_ns - timeline.due_ns[0]) / 1e6
    return {
        "cache_n": counts.cached,
        "prompt_n": evaluated,
        "prompt_ms": prompt_ms,
        "prompt_per_token_ms": prompt_ms / evaluated,
        "prompt_per_second": 1e3 * evaluated / prompt_ms if prompt_ms else None,
        "predicted_n": tokens,
        "predicted_ms": predicted_ms,
        "predicted_per_token_ms": predicted_ms / tokens,
        "predicted_per_second": 1e3 * tokens / predicted_ms if predicted_ms else None,
    }


def error_payload(traits: Traits, base: dict[str, Any], message: str) -> dict[str, Any] | None:
    """What a broken generation leaves in the stream; None: it is lost."""
    detail = {"message": message, "type": "server_error", "param": None, "code": 500}
    match traits.error:
        case "object":
            return {"error": detail}
        case "flat":
            return {"object": "error", **detail}
        case "text":
            return {"error": message}
        case "choice":
            delta = {"content": ""}
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": "error"}
            error = {"code": 502, "message": message, "metadata": {"error_type": "upstream"}}
            return {**base, "error": error, "choices": [choice]}
        case "lost":
            return None


def error_body(traits: Traits, status: int, message: str) -> dict[str, object]:
    """Of an answer with this HTTP status."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    match traits.error:
        case "flat":
            return {"object": "error", "message": message, "type": kind, "code": status}
        case "text":
            return {"detail": message}
        case "choice":
            return {"error": {"code": status, "message": message}}
        case _:
            return {"error": {"message": message, "type": kind, "param": None, "code": status}}
