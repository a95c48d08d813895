"""Did the model get the prompt that was sent, and had it room to answer.

A server that cuts a prompt says so nowhere but in its own count. Signs that it did, the surest
first; each compares figures that are in the records, and none fires where one is missing:

    counted   our own count of the text, by the model's tokenizer, is higher than the server's
    twins     the same prompt got clearly fewer tokens here than elsewhere with the same model
    dense     more characters a token than any text has
    halved    prompts of different length, all at the count that Ollama cuts to
    full      prompt and output fill the context: it ended the output, or dropped the beginning
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from harness.engine.rules.view import ArmView, RunView
from harness.schema import CallRecord, Caveat, Effective, ValiditySpec

__all__ = ["prompt_truncated"]

SLACK_TOKENS: Final = 8
"""A begin mark here, a merged blank there."""
TEMPLATE_TOKENS: Final = 64
"""By so much may the counts of equal prompts differ between two ways to ask for the same model."""
LONG_CHARS: Final = 2000
"""Only of longer prompts: one line of a hundred dashes is two tokens."""
ALIKE_SHARE: Final = 0.02
"""In length, of prompts that stand at the same place of two arms and differ by their prefixes."""
ALIKE_SHORT_SHARE: Final = 0.25
"""Their contents may differ, and with them their tokens: a wider bound than for equal ones."""
UNEQUAL_RATIO: Final = 1.25
"""In length, of prompts that can no longer have exactly the same number of tokens by chance."""
FULL_TOKENS: Final = 2
"""llama.cpp ends a stream when this many places are left."""

_SIGNS: Final = {
    "counted": "the server counted fewer prompt tokens than their text has",
    "twins": "the server counted fewer tokens than in the same prompt elsewhere",
    "dense": "the server's count leaves more characters a token than any text has",
    "halved": "prompts of different length have exactly the count that Ollama cuts to",
    "full": "prompt and output filled the context",
}


def prompt_truncated(view: RunView) -> Iterator[Caveat]:
    """Prompts that did not reach the model whole, or left no room for their output."""
    bounds = view.manifest.spec.validity
    twins = _short_twins(view, bounds)
    for arm in view.arms:
        calls = [c for c in arm.calls if c.status == "ok" and c.usage.prompt_tokens]
        effective = {trial.trial: trial.effective for trial in arm.trials}
        whole = [c for c in calls if _counts_whole(effective.get(c.trial))]
        signs = {
            "counted": _counted(arm, bounds),
            "twins": {c.call_id for c in whole if c.call_id in twins},
            "dense": {c.call_id for c in whole if _is_dense(c, bounds)},
            "halved": _halved(calls, effective),
            "full": {c.call_id for c in calls if _is_full(c, effective.get(c.trial))},
        }
        found = {sign: ids for sign, ids in signs.items() if ids}
        if found:
            yield _truncated(arm, view, calls, found, effective)
        else:
            yield from _no_room(arm, view, calls, effective)


def _truncated(
    arm: ArmView,
    view: RunView,
    calls: list[CallRecord],
    found: dict[str, set[str]],
    effective: dict[int, Effective],
) -> Caveat:
    ids = set().union(*found.values())
    first = next(iter(found))
    hit = [call for call in calls if call.call_id in ids]
    example = next(call for call in hit if call.call_id in found[first])
    account = effective.get(example.trial, Effective())
    return Caveat(
        code="prompt-truncated",
        severity="doubtful",
        message=f"{len(ids)} of {len(arm.calls)} calls: "
        + "; ".join(_SIGNS[sign] for sign in found)
        + f" (in {example.call_id}: {_shown(example, account)})",
        evidence={
            "signs": {sign: len(which) for sign, which in found.items()},
            "calls": len(ids),
            "example": example.call_id,
            "prompt_chars": example.prompt_chars,
            "prompt_tokens": example.usage.prompt_tokens,
            "prompt_tokens_counted": _check(arm, example.call_id),
            "output_tokens": example.usage.output_tokens,
            "max_tokens": example.max_tokens,
            "context_length": account.context_length,
            "server_version": account.server_version,
        },
        remedy=_longer_context(arm, view, _needed(arm, hit)),
        arm=arm.name,
        cell=arm.cell,
    )


def _shown(call: CallRecord, account: Effective) -> str:
    parts = [f"{call.prompt_chars} characters"] if call.prompt_chars is not None else []
    parts.append(f"{call.usage.prompt_tokens} prompt tokens")
    if call.usage.output_tokens is not None:
        parts.append(f"{call.usage.output_tokens} of output")
    if account.context_length is not None:
        parts.append(f"a context of {account.context_length}")
    return ", ".join(parts)


def _no_room(
    arm: ArmView, view: RunView, calls: list[CallRecord], effective: dict[int, Effective]
) -> Iterator[Caveat]:
    """Nothing happened, because the model stopped early; with a longer answer it would have."""
    over = [
        (call, context)
        for call in calls
        if (context := _context(effective.get(call.trial))) is not None
        and call.max_tokens is not None
        and (call.usage.prompt_tokens or 0) + call.max_tokens > context
    ]
    if not over:
        return
    call, context = over[0]
    yield Caveat(
        code="prompt-truncated",
        severity="note",
        message=f"{len(over)} of {len(arm.calls)} calls were allowed more output than their "
        f"context had room for ({call.usage.prompt_tokens} + {call.max_tokens} in {context} "
        "tokens); none went that far",
        evidence={"calls": len(over), "example": call.call_id, "context_length": context},
        remedy=_longer_context(arm, view, _needed(arm, [call for call, _ in over])),
        arm=arm.name,
        cell=arm.cell,
    )


# Signs. -------------------------------------------------------------------------------------------


def _counted(arm: ArmView, bounds: ValiditySpec) -> set[str]:
    """A template adds to what the text alone has, and nothing takes away from it."""
    found = set()
    for iteration in arm.iterations:
        for check in iteration.token_checks:
            counted, reported = check.prompt_counted, check.prompt_reported
            if counted and reported:
                allowed = max(SLACK_TOKENS, bounds.prompt_short_share_max * counted)
                if counted - reported > allowed:
                    found.add(check.call_id)
    return found


def _short_twins(view: RunView, bounds: ValiditySpec) -> set[str]:
    """Calls whose prompt another call had, or one alike at the same place, and whose count falls
    short of that one's; of the same model, by its digest or else its name."""
    equal: defaultdict[tuple[object, ...], list[CallRecord]] = defaultdict(list)
    alike: defaultdict[tuple[object, ...], list[CallRecord]] = defaultdict(list)
    for arm in view.arms:
        models = {trial.trial: _model(trial.effective, arm) for trial in arm.trials}
        ranks = {number: rank for rank, number in enumerate(sorted(models))}
        whole = {trial.trial for trial in arm.trials if _counts_whole(trial.effective)}
        for call in arm.calls:
            known = call.status == "ok" and call.usage.prompt_tokens and call.prompt_digest
            if not known or call.trial not in whole:
                continue
            model, ordinal = models[call.trial], call.call_id.rpartition(".")[2]
            equal[model, call.prompt_digest].append(call)
            # The n-th trials of two arms have the same seed, and so the same prompts.
            place = (arm.summary.cell, ranks[call.trial], call.iteration, ordinal)
            alike[model, place, call.agent, call.stage].append(call)
    short: set[str] = set()
    for group in equal.values():
        short |= _short_of_longest(group, bounds.prompt_short_share_max)
    for group in alike.values():
        longest = max(call.prompt_chars or 0 for call in group)
        near = [c for c in group if (c.prompt_chars or 0) >= longest * (1 - ALIKE_SHARE)]
        short |= _short_of_longest(near, ALIKE_SHORT_SHARE)
    return short


def _short_of_longest(group: list[CallRecord], share: float) -> set[str]:
    longest = max((call.usage.prompt_tokens or 0 for call in group), default=0)
    allowed = max(TEMPLATE_TOKENS, share * longest)
    return {c.call_id for c in group if longest - (c.usage.prompt_tokens or 0) > allowed}


def _is_dense(call: CallRecord, bounds: ValiditySpec) -> bool:
    chars, tokens = call.prompt_chars or 0, call.usage.prompt_tokens or 0
    return chars >= LONG_CHARS and chars > bounds.chars_per_token_max * tokens


def _halved(calls: list[CallRecord], effective: dict[int, Effective]) -> set[str]:
    """Ollama leaves the first `num_keep` tokens and the last half of the rest of the context."""
    groups: defaultdict[tuple[int, int], list[CallRecord]] = defaultdict(list)
    for call in calls:
        account = effective.get(call.trial)
        if account is None or account.server != "ollama" or not call.prompt_chars:
            continue
        context, tokens = account.context_length, call.usage.prompt_tokens or 0
        if context is not None and 0 <= tokens - context // 2 <= SLACK_TOKENS:
            groups[context, tokens].append(call)
    found: set[str] = set()
    for group in groups.values():
        chars = [call.prompt_chars or 0 for call in group]
        if max(chars) >= UNEQUAL_RATIO * min(chars):
            found |= {call.call_id for call in group}
    return found


def _is_full(call: CallRecord, account: Effective | None) -> bool:
    """An output that ends at its own bound, in a context that just held it, is whole."""
    context, output = _context(account), call.usage.output_tokens
    if context is None or output is None:
        return False
    total = (call.usage.prompt_tokens or 0) + output
    if total > context:
        return True
    ended_early = call.finish_reason == "length" and output < (call.max_tokens or context)
    return ended_early and total >= context - FULL_TOKENS


# What the records tell of model and context. ------------------------------------------------------


def _context(account: Effective | None) -> int | None:
    return account.context_length if account is not None else None


def _counts_whole(account: Effective | None) -> bool:
    """Ollama 0.30.0 alone counted only the prompt tokens that its cache did not hold."""
    if account is None or account.server != "ollama":
        return True
    version = account.server_version or ""
    return not (version == "0.30.0" or version.startswith("0.30.0-"))


def _model(account: Effective, arm: ArmView) -> object:
    """What has one tokenizer and one template. Nothing known: the arm for itself."""
    return account.model_digest or account.model or f"arm {arm.name}"


def _check(arm: ArmView, call_id: str) -> int | None:
    checks = (c for iteration in arm.iterations for c in iteration.token_checks)
    return next((c.prompt_counted for c in checks if c.call_id == call_id), None)


def _needed(arm: ArmView, calls: list[CallRecord]) -> int:
    """A context that holds the longest of these prompts and its output, a power of two."""
    most = 0
    for call in calls:
        by_count = max(_check(arm, call.call_id) or 0, call.usage.prompt_tokens or 0)
        by_chars = (call.prompt_chars or 0) // 3  # most text has 3 to 4 characters a token
        most = max(most, max(by_count, by_chars) + (call.max_tokens or 1024))
    return max(512, 1 << (most - 1).bit_length())


def _longer_context(arm: ArmView, view: RunView, tokens: int) -> str:
    """The option that changes it, as it is typed."""
    spec = view.manifest.spec
    own = spec.arms[arm.name].backend if arm.name in spec.arms else {}
    backend = own.get("name", spec.backend.name)
    if backend not in ("ollama", "llamacpp"):
        return (
            f"shorter prompts, or a server with a context of {tokens} (vllm --max-model-len, "
            "llama-server -c, OLLAMA_CONTEXT_LENGTH)"
        )
    flag = f"-o num_ctx={tokens}"
    if "num_ctx" in own.get("options", {}):
        flag = f"--set arms.{arm.name}.backend.options.num_ctx={tokens}"
    refuses = "; -o truncate=false makes Ollama refuse such a prompt" if backend == "ollama" else ""
    return f"{flag}, or shorter prompts{refuses}"
