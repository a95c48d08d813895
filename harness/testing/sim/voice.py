"""What every dialect can say; faults and the desk speak through this."""

from __future__ import annotations

from typing import Final, Protocol

from harness.testing.sim.draft import Draft
from harness.testing.sim.timeline import Timeline

__all__ = ["WORDS", "Counts", "Voice", "words_from"]

# Plain, of one token each in most vocabularies, and of different lengths.
WORDS: Final = (
    *(
        "the",
        "river",
        "carries",
        "cold",
        "water",
        "past",
        "a",
        "mill",
        "and",
        "two",
        "old",
        "barns",
    ),
    *("where", "nobody", "has", "worked", "since", "spring", "so", "grass", "covers", "every"),
    *("stone", "path", "until", "it", "meets", "the", "road"),
)


_SPACED: Final = [f"{word} " for word in WORDS]


class Counts:
    """Tokens as the answer reports them."""

    def __init__(self, prompt: int, cached: int, output: int, reasoning: int) -> None:
        self.prompt, self.cached, self.output, self.reasoning = prompt, cached, output, reasoning


class Voice(Protocol):
    """One answer in one dialect."""

    def draft(self, timeline: Timeline, words: list[str], counts: Counts) -> Draft:
        """The streamed answer, one frame a send."""

    def whole(self, timeline: Timeline, words: list[str], counts: Counts) -> dict[str, object]:
        """The same, not streamed."""

    def text_frame(self, text: str, due_ns: int) -> bytes:
        """A frame with this content."""

    def empty_frames(self, due_ns: int) -> list[bytes]:
        """Frames with nothing in them: a role, an empty delta."""

    def raw_frame(self, payload: bytes) -> bytes:
        """Any payload, framed."""

    def comment(self) -> bytes: ...

    def error_frames(self, message: str) -> tuple[list[bytes], bool]:
        """How an error in mid-stream looks, and whether the connection is then closed."""

    def error_body(self, status: int, message: str) -> dict[str, object]:
        """The body of an answer with this HTTP status."""


def words_from(timeline: Timeline, first: int) -> list[str]:
    """The text of each chunk: a word a token."""
    if len(timeline.tokens) == timeline.output_tokens:  # nearly always; and worth being quick
        start = first % len(WORDS)
        rounds = (len(timeline.tokens) + start) // len(WORDS) + 1
        return (_SPACED * rounds)[start : start + len(timeline.tokens)]
    words, at = [], first
    for count in timeline.tokens:
        words.append(" ".join(WORDS[(at + i) % len(WORDS)] for i in range(count)) + " ")
        at += count
    return words
