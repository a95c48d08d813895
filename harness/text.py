"""Text that somebody else wrote, made harmless: for messages, terminals and reports. Public.

A server's error, a model's name or a model's answer may hold terminal escapes (a title change, a
clipboard write, a hidden line) or characters that turn the reading order round. Nothing of that
kind leaves here, and no remnant of it either: an escape sequence goes as a whole. What may stay is
a list of what is known to be visible, so that what nobody thought of does not pass.

    plain        any text: visible characters, spaces and line feeds of it
    plain_json   encoded JSON with everything else escaped: the same data, fit for a terminal
    one_line     the same on one line, cut to a length: for tables and messages
    excerpt      one_line of the beginning of some bytes
    listed       the first few of some names, and how many more there are
    as_argument  a name as it can be typed after an option, if it can
    fenced       a Markdown code block that the text cannot close
    nearest      the known name that was probably meant
    storable     decoded JSON as the record log can hold it
    whole_number a count or size from JSON, or None
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence
from typing import Any, Final

from harness.strict import nearest

__all__ = [
    "as_argument",
    "excerpt",
    "fenced",
    "listed",
    "longest_run",
    "nearest",
    "one_line",
    "plain",
    "plain_json",
    "storable",
    "whole_number",
    "without_surrogates",
]

# Escape sequences go as a whole, so that no `[31m` or window title is left behind, even where the
# last byte of one was cut off. Both spellings of each introducer: ESC and a letter, or one C1
# character. A string sequence that is never closed ends at the end of its line: a stray ESC must
# not swallow the rest of a report.
_ESCAPES: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS …
    r"|\x1b[ -/]*[0-~]?"  # two-character escapes
)

# Letters, marks, numbers, punctuation, symbols, spaces. What is left out: controls, format
# characters (they reorder or hide text), half surrogate pairs. Private and unassigned characters
# show as boxes on some systems and as nothing on others: one sign stands for all of them.
_VISIBLE: Final = frozenset("LMNPSZ")
_UNKNOWN: Final = ("Co", "Cn")
_UNKNOWN_SIGN: Final = "\ufffd"
# Format characters that scripts and emoji need: zero-width (non-)joiner.
_KEPT: Final = frozenset("\t\n\u200c\u200d")
# Letters and marks by their category, and yet nothing is seen of them: fillers, and selectors that
# can carry a whole message. U+FE0E and U+FE0F stay: they choose between text and emoji.
_BLANK: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0d\uffa0"
    "\U000e0100-\U000e01ef]"
)
_MARKS_MAX: Final = 4
# Where a pile of marks may be: they are neither letters nor ASCII.
_PILE: Final = re.compile(rf"[^\w\s\x00-\x7f]{{{_MARKS_MAX + 1}}}")
_LINE_ENDS: Final = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")

_NAME_CHARS_MAX: Final = 200
_EXCERPT_BYTES: Final = 200
_DEPTH_MAX: Final = 20
_ARGUMENT: Final = re.compile(r"[\w./:@+~][\w./:@+~=, -]*")


class _Shown(dict[int, int | str | None]):
    """For str.translate: what becomes of each character, found out when it is first met."""

    def __missing__(self, code: int) -> int | str | None:
        self[code] = shown = _shown(chr(code))
        return shown


def _shown(character: str) -> str | None:
    category = unicodedata.category(character)
    if character in _KEPT:
        return character
    if category[0] in _VISIBLE and not _BLANK.match(character):
        return character
    return _UNKNOWN_SIGN if category in _UNKNOWN and not _is_tag(character) else None


def _is_tag(character: str) -> bool:
    """Of the plane of tags, assigned or not: all of it is invisible."""
    return "\U000e0000" <= character <= "\U000e0fff"


_SHOWN: Final = _Shown()


def plain(text: str) -> str:
    """`text` without anything but visible characters, spaces, tabs and line feeds, and with no more
    than a few marks upon a character (a pile of them covers the lines above)."""
    if text.isascii() and text.isprintable():
        return text
    # Line ends first: some of them would otherwise be dropped as controls.
    text = _ESCAPES.sub("", _LINE_ENDS.sub("\n", text)).translate(_SHOWN)
    return _without_piles(text) if _PILE.search(text) else text


def _without_piles(text: str) -> str:
    kept = []
    marks = 0
    for character in text:
        # A joiner does not end a pile.
        if unicodedata.category(character) in ("Mn", "Me"):
            marks += 1
        elif character not in "\u200c\u200d":
            marks = 0
        if marks <= _MARKS_MAX:
            kept.append(character)
    return "".join(kept)


def plain_json(encoded: bytes) -> bytes:
    """`encoded` (UTF-8 JSON) with every character that is not printable as `\\uXXXX`.

    The data stays the same: outside its strings JSON is ASCII. JSON that is printed, or opened in
    an editor, is then as harmless as what `plain` leaves, and nothing of it is lost.
    """
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    return _NOT_PRINTABLE.sub(_json_escape, encoded.decode()).encode()


# DEL and C1, and what lies beyond ASCII if it is not printable: asked one by one, as no short
# pattern says it.
_NOT_PRINTABLE: Final = re.compile("[\x7f-\U0010ffff]")


def _json_escape(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable() and not _BLANK.match(character):
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def one_line(text: str, length_max: int = 300) -> str:
    """`plain`, with all white space as single spaces, cut to `length_max` with an ellipsis."""
    line = " ".join(plain(text).split())
    return line if len(line) <= length_max else line[: max(length_max - 1, 0)].rstrip() + "…"


def excerpt(content: bytes) -> str:
    """The beginning of something unexpected, for a message about it."""
    return one_line(content[:_EXCERPT_BYTES].decode("utf-8", "replace"))


def listed(names: Sequence[str], most: int = 8) -> str:
    """`a, b, c and 4 more`, each harmless; `none` where there are none."""
    shown = ", ".join(one_line(name, 100) for name in names[:most]) or "none"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def as_argument(name: str) -> str | None:
    """`name`, quoted for a shell where it must be; None if it should not be offered for typing: it
    looks like an option, or holds what a terminal, a shell or a reader could trip over."""
    if len(name) > _NAME_CHARS_MAX or not name.isprintable() or not _ARGUMENT.fullmatch(name):
        return None
    return shlex.quote(name)


def fenced(text: str, info: str = "text") -> str:
    """A code block that `text` cannot close, ending in a line feed."""
    body = plain(text).strip("\n")
    fence = "`" * max(3, longest_run(body) + 1)
    return f"{fence}{info}\n{body}\n{fence}\n"


def longest_run(text: str) -> int:
    """Backticks in the longest run of them: a fence or span has to be longer."""
    return max((len(run) for run in re.findall(r"`+", text)), default=0)


def whole_number(value: Any) -> int | None:
    """`value` (decoded JSON) as a count or size that a record can hold; None for anything else."""
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return value if usable else None


def without_surrogates(value: Any) -> Any:
    """`value` (plain data) without halves of surrogate pairs, which no UTF-8 can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_surrogates(item) for item in value]
    return value


def storable(value: Any, depth: int = 0) -> Any:
    """`value` (decoded JSON) as the record log can hold it: whole numbers of 64 bits, no bottomless
    nesting."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    if depth > _DEPTH_MAX and isinstance(value, dict | list):
        return "…"
    if isinstance(value, dict):
        return {key: storable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item, depth + 1) for item in value]
    return value
