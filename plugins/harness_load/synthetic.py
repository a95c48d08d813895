"""Texts of a stated number of tokens, fast.

Strategy. One block of random words is laid out once, twice over, with the running token count at
every word boundary. A prompt is then a slice: a random start, and a binary search for the end. So a
prompt of 100 tokens costs two or three microseconds, and one of 100,000 hardly more.

Two slices may overlap, but never in their beginning: before each stands a unique prefix, four words
that encode a counter. Counter and salt are spread by an odd multiplier over all 1024⁴ prefixes, the
fastest digit first, so that any 1,024 consecutive prompts differ in their very first word.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate
from random import Random

from harness_load.words import TOKENS_PER_WORD, vocabulary

__all__ = ["PREFIX_WORDS", "TextSource", "prefix_digits", "prefix_salt", "unique_prefix"]

PREFIX_WORDS = 4
_BLOCK_WORDS = 8192
_STRIDE = 0x9E3779B97F4A7C15 | 1  # 2⁶⁴ / golden ratio: odd, hence a bijection modulo 1024⁴


def prefix_salt(salt: str) -> int:
    """Where the counter starts: somewhere else for every iteration of every run."""
    digest = blake2b(salt.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def prefix_digits(salt: int, ordinal: int) -> list[int]:
    """Four indices into the vocabulary; for one salt, all different for 2⁴⁰ ordinals in a row."""
    size = len(vocabulary())
    number = salt + ordinal * _STRIDE
    digits = []
    for _ in range(PREFIX_WORDS):
        number, digit = divmod(number, size)
        digits.append(digit)
    return digits


def unique_prefix(salt: int, ordinal: int) -> str:
    """The four words of prefix_digits."""
    words = vocabulary()
    return " ".join([words[digit] for digit in prefix_digits(salt, ordinal)])


class TextSource:
    """Random running text that can be cut to any number of tokens."""

    def __init__(self, rng: Random, costs: Sequence[float] | None = None) -> None:
        """`costs`: tokens per word of the vocabulary; None: TOKENS_PER_WORD each."""
        words = vocabulary()
        self._costs = costs if costs is not None else (TOKENS_PER_WORD,) * len(words)
        self._rng = rng
        picks = [rng.randrange(len(words)) for _ in range(_BLOCK_WORDS)]
        block = [words[i] for i in picks]
        per_word = [self._costs[i] for i in picks]
        self._text = " ".join(block + block) + " "
        self._chars = [0, *accumulate(len(word) + 1 for word in block + block)]
        self._tokens = [0.0, *accumulate(per_word + per_word)]
        self._block_tokens = self._tokens[_BLOCK_WORDS]

    def take(self, tokens: float) -> str:
        """The next text of this many tokens, to the nearest word; "" for less than half a word."""
        rounds, rest = divmod(max(0.0, tokens), self._block_tokens)
        start = self._rng.randrange(_BLOCK_WORDS)
        # The last boundary that does not overshoot by more than half of the cheapest word.
        end = bisect_right(self._tokens, self._tokens[start] + rest + 0.5) - 1
        text = self._text[self._chars[start] : self._chars[end]]
        if rounds:
            begin = self._chars[start]
            text = self._text[begin : begin + self._chars[_BLOCK_WORDS]] * int(rounds) + text
        return text[:-1]

    def take_unique(self, tokens: float, salt: int, ordinal: int) -> str:
        """The next text of this many tokens, its unique prefix included."""
        words = vocabulary()
        digits = prefix_digits(salt, ordinal)
        spent = sum([self._costs[digit] for digit in digits])
        prefix = " ".join([words[digit] for digit in digits])
        body = self.take(tokens - spent)
        return f"{prefix} {body}" if body else prefix

    def prefix_tokens_mean(self) -> float:
        """What a unique prefix costs on average."""
        return PREFIX_WORDS * self._block_tokens / _BLOCK_WORDS
