"""Do the counts of tokens agree: with the stream, with the bound, with each other, with ours.

Half of the metrics divide by the server's count of output tokens. It cannot be right if it is less
than the chunks that carried content (each has one token at least), if it is over the bound that the
server was given, or if the server itself says otherwise in another field. One token more or less is
a matter of taste: a stop token has no text, and servers count it or do not.

And the cached tokens of prompts that no cache was to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from harness.engine.rules.view import ArmView, RunView
from harness.schema import CallRecord, Caveat, TokenCheck, ValiditySpec

__all__ = ["prompt_cache", "token_mismatch"]

TOOL_REASONS: Final = ("tool_calls", "function_call")
RETOKENISED_TOKENS: Final = 8
"""By so much may the counts of one text differ in any case: marks of its beginning and end are
tokens, and not in the text."""
REASONED_TOKENS: Final = 16
"""The same where reasoning came before the answer: it has marks of its own, and in harmony they are
10 (three that open it, one that ends it, five that open the answer, one that ends that)."""

_SIGNS: Final = {
    "chunks": "more chunks with content than tokens",
    "bound": "more tokens than were allowed",
    "fields": "the server gives two different counts",
    "parts": "tokens by chunk do not add up",
    "tokenizer": "the model's tokenizer counts otherwise",
}


def token_mismatch(view: RunView) -> Iterator[Caveat]:
    """Counts of output tokens that contradict something."""
    bounds = view.manifest.spec.validity
    for arm in view.arms:
        found: dict[str, list[str]] = {}
        example: dict[str, Any] = {}
        calls = [call for call in arm.calls if call.status == "ok"]
        for call in calls:
            for sign, said in _contradictions(call, bounds.token_slack_max):
                found.setdefault(sign, []).append(call.call_id)
                example.setdefault(sign, {"call": call.call_id, **said})
        off = _by_tokenizer(arm, bounds)
        if off:
            found["tokenizer"], example["tokenizer"] = off
        if found:
            yield _mismatch(arm, calls, found, example)


def _mismatch(
    arm: ArmView, calls: list[CallRecord], found: dict[str, list[str]], example: dict[str, Any]
) -> Caveat:
    ids = {call_id for which in found.values() for call_id in which}
    first = next(iter(found))
    figures = ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in example[first].items()
        if name != "call"
    )
    return Caveat(
        code="token-mismatch",
        severity="doubtful",
        message=f"{len(ids)} of {len(calls)} calls: "
        + "; ".join(_SIGNS[sign] for sign in found)
        + f" ({figures}): TPOT and throughput rest on the server's count",
        evidence={"calls": {sign: len(which) for sign, which in found.items()}, "first": example},
        remedy="compare TTFT, E2E and inter-chunk latency, which need no count; "
        "--set keep.payloads=true keeps what the server sent",
        arm=arm.name,
        cell=arm.cell,
    )


def _contradictions(call: CallRecord, slack: int) -> Iterator[tuple[str, dict[str, int]]]:
    output = call.usage.output_tokens
    if output is None:
        return
    if (chunks := _content_chunks(call)) is not None and chunks > output + slack:
        yield "chunks", {"output_tokens": output, "content_chunks": chunks}
    if call.max_tokens is not None and output > call.max_tokens + slack:
        yield "bound", {"output_tokens": output, "max_tokens": call.max_tokens}
    for name, other in _other_counts(call.server):
        if abs(other - output) > slack:
            yield "fields", {"output_tokens": output, name: other}
            break
    if (parts := _sum_of_parts(call)) is not None and abs(parts - output) > slack:
        yield "parts", {"output_tokens": output, "by_chunk": parts}


def _content_chunks(call: CallRecord) -> int | None:
    """Of text and reasoning. A tool call comes in pieces of the server's own making: a name, its
    arguments, its end; nothing is known of the tokens behind each."""
    if call.finish_reason in TOOL_REASONS:
        return None
    return None if call.tool_chunks else call.content_chunks


def _other_counts(server: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for holder, name in (
        (server.get("timings"), "predicted_n"),  # llama.cpp
        (server, "eval_count"),  # Ollama
        (server.get("usage"), "completion_tokens"),
    ):
        value = holder.get(name) if isinstance(holder, Mapping) else None
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            yield name, value


def _sum_of_parts(call: CallRecord) -> int | None:
    import numpy as np

    parts = call.chunk_tokens
    if not parts or len(parts) != 4 * call.chunks.count:
        return None
    return int(np.frombuffer(parts, "<u4").sum(dtype=np.int64))


def _by_tokenizer(arm: ArmView, bounds: ValiditySpec) -> tuple[list[str], dict[str, Any]] | None:
    """Over all calls that were counted: a single text may tokenise otherwise than it was made. The
    text of random weights nearly always does."""
    if any(trial.effective.random_weights for trial in arm.trials):
        return None
    checks = [
        check
        for iteration in arm.iterations
        for check in iteration.token_checks
        if check.output_counted and check.output_reported
    ]
    counted, reported = _sums(checks)
    reasoned = {call.call_id for call in arm.calls if _reasoned(call)}
    marks = [
        REASONED_TOKENS if check.call_id in reasoned else RETOKENISED_TOKENS for check in checks
    ]
    allowed = max(sum(marks), bounds.token_count_share_max * counted)
    if not checks or abs(reported - counted) <= allowed:
        return None
    said = {"output_tokens": reported, "tokenizer": counted, "over_calls": len(checks)}
    return [check.call_id for check in checks], {"call": checks[0].call_id, **said}


def _reasoned(call: CallRecord) -> bool:
    instants = call.instants
    return bool(call.usage.reasoning_tokens) or instants.first_token_ns != instants.first_answer_ns


def _sums(checks: list[TokenCheck]) -> tuple[int, int]:
    counted = sum(check.output_counted or 0 for check in checks)
    return counted, sum(check.output_reported or 0 for check in checks)


# Cache. -------------------------------------------------------------------------------------------


def prompt_cache(view: RunView) -> Iterator[Caveat]:
    """Prompts that no cache was to know, and that one did."""
    bounds = view.manifest.spec.validity
    for arm in view.arms:
        cold = [c for c in arm.calls if c.status == "ok" and c.cold_prompt]
        warm = [c for c in cold if _was_cached(c, bounds)]
        if not warm:
            continue
        worst = max(warm, key=_cached_share)
        yield Caveat(
            code="prompt-cache",
            severity="doubtful",
            message=f"{len(warm)} of {len(cold)} prompts that were to be new were cached, up to "
            f"{_cached_share(worst):.0%} of one: their TTFT is that of a shorter prompt",
            evidence={
                "calls": len(warm),
                "cold": len(cold),
                "example": worst.call_id,
                "cached_tokens": worst.usage.cached_tokens,
                "prompt_tokens": worst.usage.prompt_tokens,
                "cached_share_max": bounds.cached_share_max,
                "cached_tokens_max": bounds.cached_tokens_max,
            },
            remedy=_without_cache(view),
            arm=arm.name,
            cell=arm.cell,
        )


def _was_cached(call: CallRecord, bounds: ValiditySpec) -> bool:
    """A template may be longer than the prompt, and is cached rightly. So what was evaluated anew
    must also be too little for the text, at any number of characters that a token can have."""
    cached, prompt = call.usage.cached_tokens or 0, call.usage.prompt_tokens or 0
    if cached <= bounds.cached_tokens_max or _cached_share(call) <= bounds.cached_share_max:
        return False
    chars = call.prompt_chars
    return chars is None or (prompt - cached) * bounds.chars_per_token_max < chars


def _cached_share(call: CallRecord) -> float:
    prompt = call.usage.prompt_tokens
    return (call.usage.cached_tokens or 0) / prompt if prompt else 0.0


def _without_cache(view: RunView) -> str:
    own = "-o cache_prompt=false"
    if view.manifest.spec.backend.name != "llamacpp":
        own += " (llama.cpp), or vllm --no-enable-prefix-caching"
    return f"{own}, or begin each prompt with ctx.salt"
