"""The two ways to generate: transformers' `generate`, as users run it, and a plain loop.

Both give a Stamper the prompt right before the prefill and the new tokens of every step.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from harness_hf.jobs import Ask
from harness_hf.steps import Row, Stamper

if TYPE_CHECKING:
    import torch

__all__ = ["Prepared", "by_generate", "by_own_loop"]


class Prepared(Struct, frozen=True, kw_only=True):
    """A model that is loaded, and one batch for it."""

    model: Any
    ids: Any
    """Tensor (sequences, tokens), padded on the left."""
    mask: Any
    ends: tuple[int, ...]
    """Tokens that end a reply."""
    pad: int
    ask: Ask
    """Sampling is as the first request of the batch wants it: the others want the same."""
    more: dict[str, Any]
    """For GenerationConfig, and for `generate`."""
    assistant: Any = None


def by_generate(batch: Prepared, stamper: Stamper) -> None:
    from transformers import GenerationConfig, StoppingCriteriaList

    ask = batch.ask
    sampled = ask.temperature > 0
    longest = max(row.max_tokens for row in stamper.rows)
    chosen = GenerationConfig(
        max_new_tokens=longest,
        min_new_tokens=longest if ask.ignore_eos else None,
        do_sample=sampled,
        repetition_penalty=ask.repeat_penalty,
        eos_token_id=list(batch.ends) or None,
        pad_token_id=batch.pad,
        **_sampling(ask) if sampled else {},
        **batch.more,
    )
    guess = {"assistant_model": batch.assistant} if batch.assistant is not None else {}
    batch.model.generate(
        inputs=batch.ids,
        attention_mask=batch.mask,
        generation_config=chosen,
        streamer=stamper,
        stopping_criteria=StoppingCriteriaList([_over(stamper.rows, batch.ids)]),
        **guess,
    )


def _sampling(ask: Ask) -> dict[str, Any]:
    return {"temperature": ask.temperature, "top_k": ask.top_k, "top_p": ask.top_p}


def _over(rows: Sequence[Row], ids: torch.Tensor) -> Any:
    """A row that has ended, for whatever reason, is not computed on. It is asked before the tokens
    of the same step are put, so only the length is known at once; the rest is a step late."""
    import torch
    from transformers import StoppingCriteria

    prompt = ids.shape[1]
    none = torch.zeros(len(rows), dtype=torch.bool, device=ids.device)

    class Over(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            made = input_ids.shape[1] - prompt
            flags = [row.over or made >= row.max_tokens for row in rows]
            if not any(flags):
                return none  # no copy to the device
            return torch.tensor(flags, device=ids.device)

    return Over()


def by_own_loop(batch: Prepared, stamper: Stamper) -> None:
    """Forward, choose, stamp: no more."""
    import torch
    from transformers import DynamicCache

    ids, mask, seen = batch.ids, batch.mask, batch.ids
    choose = _chooser(batch)
    accepts = inspect.signature(batch.model.forward).parameters
    last = {"logits_to_keep": 1} if "logits_to_keep" in accepts else {}
    cache = DynamicCache(config=batch.model.config)
    stamper.put(ids.cpu())
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    while True:
        out = batch.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            **last,
        )
        found = choose(seen, out.logits[:, -1].float())
        del out
        stamper.put(found.cpu())
        if all(row.over for row in stamper.rows):
            return
        ids = found[:, None]
        seen = torch.cat([seen, ids], dim=-1)
        mask = torch.cat([mask, mask.new_ones(mask.shape[0], 1)], dim=-1)
        positions = positions[:, -1:] + 1


def _chooser(batch: Prepared) -> Any:
    """(tokens so far, logits) → the next token of each sequence."""
    import torch
    import transformers as library

    ask = batch.ask
    steps: list[Any] = []
    if ask.repeat_penalty != 1:
        steps.append(library.RepetitionPenaltyLogitsProcessor(ask.repeat_penalty))
    if ask.temperature > 0:
        steps.append(library.TemperatureLogitsWarper(ask.temperature))
        if ask.top_k:
            steps.append(library.TopKLogitsWarper(ask.top_k))
        if ask.top_p < 1:
            steps.append(library.TopPLogitsWarper(ask.top_p))
    ends = list(batch.ends) if ask.ignore_eos else []

    def choose(seen: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if ends:
            logits[:, ends] = -torch.inf
        for step in steps:
            logits = step(seen, logits)
        if ask.temperature > 0:
            return torch.multinomial(logits.softmax(-1), 1)[:, 0]
        return logits.argmax(-1)

    return choose
