"""Text out of token ids, as they come.

A token need not be a character: several may make one, and what one says may depend on those before
it (a space at the beginning, say). So each new token is decoded behind the last ones that were
decoded already, and what is new of that is its text, unless it ends in the middle of a character.
Where a reply is to stop at a string, what may become that string is held back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["Pieces"]

_HALF: Final = "\ufffd"
"""What a decoder makes of half a character."""


class Pieces:
    """Of one reply. `stopped` once a string to stop at has come; it is not in the text."""

    def __init__(self, decode: Callable[[list[int]], str], stop: Sequence[str] = ()) -> None:
        self.stopped = False
        self._decode = decode
        self._stop = tuple(one for one in stop if one)
        self._ids: list[int] = []
        self._known = 0
        """So many ids have their text out …"""
        self._before = 0
        """… and from here on they are decoded again, for what they mean to the next."""
        self._held = ""

    def add(self, ids: Sequence[int]) -> str:
        """The text that is certain now; empty where these tokens complete no character."""
        if self.stopped:
            return ""
        self._ids += ids
        return self._released(self._new())

    def rest(self) -> str:
        """At the end: what was held back, half a character included."""
        held, self._held = self._held, ""
        if self.stopped:
            return ""
        behind = self._decode(self._ids[self._before : self._known])
        return held + self._decode(self._ids[self._before :])[len(behind) :]

    def _new(self) -> str:
        behind = self._decode(self._ids[self._before : self._known])
        both = self._decode(self._ids[self._before :])
        if len(both) <= len(behind) or both.endswith(_HALF):
            return ""
        self._before, self._known = self._known, len(self._ids)
        return both[len(behind) :]

    def _released(self, text: str) -> str:
        if not self._stop:
            return text
        self._held += text
        found = [at for one in self._stop if (at := self._held.find(one)) >= 0]
        if found:
            self.stopped = True
            free, self._held = self._held[: min(found)], ""
            return free
        keep = max(_overlap(self._held, one) for one in self._stop)
        cut = len(self._held) - keep
        free, self._held = self._held[:cut], self._held[cut:]
        return free


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop` begins."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
