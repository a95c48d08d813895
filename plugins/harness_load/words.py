"""The vocabulary of synthetic prompts, and what each of its words costs in tokens.

The 1,024 words of words.txt were chosen to be one token each, with the space before them, in two
unlike vocabularies: a 32,768-entry SentencePiece model and a 131,072-entry byte-pair model (both
Mistral's, checked 2026-11). Over 5,000 random words they came to 1.000 tokens a word in both, so
that is the estimate where no tokenizer is known. Smaller or exotic vocabularies need more: the
caveat `prompt-length` then says what the server counted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

__all__ = ["TOKENS_PER_WORD", "token_costs", "vocabulary"]

TOKENS_PER_WORD = 1.0
_SAMPLE = 256


@cache
def vocabulary() -> tuple[str, ...]:
    """The words, in alphabetical order; a power of two of them (see synthetic.unique_prefix)."""
    text = Path(__file__).with_name("words.txt").read_text("utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return tuple(" ".join(lines).split())


def token_costs(count_tokens: Callable[[str], int | None]) -> tuple[float, ...] | None:
    """Tokens per word of the vocabulary, by the tokenizer given; None where it has no answer.

    Each word is counted behind another, so that what a tokenizer adds to every text (a begin mark)
    cancels out. One factor then makes the costs agree with a running text of many words.
    """
    alone = count_tokens("the")
    if alone is None:
        return None
    words = vocabulary()
    costs = [max(0, (count_tokens(f"the {word}") or alone) - alone) for word in words]
    # Spread over the alphabet: neighbours are alike.
    sample = range(0, len(words), len(words) // _SAMPLE)
    together = (count_tokens(" ".join(["the", *(words[i] for i in sample)])) or alone) - alone
    apart = sum(costs[i] for i in sample)
    if together <= 0 or apart <= 0:
        return None
    return tuple(cost * together / apart for cost in costs)
