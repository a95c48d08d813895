"""Text that somebody else wrote, made harmless: for messages, terminals and reports. Public.

A server's error, a model's name or a model's answer may hold terminal escapes (a title change, a
clipboard write, a hidden line) or characters that turn the reading order round. Nothing of that
kind leaves here, and no remnant of it either: an escape sequence goes as a whole.

    plain        any text, without controls, escape sequences and invisible reordering
    one_line     the same on one line, cut to a length: for tables and messages
    excerpt      one_line of the beginning of some bytes
    listed       the first few of some names, and how many more there are
    as_argument  a name as it can be typed after an option, if it can
    fenced       a Markdown code block that the text cannot close
    nearest      the known name that was probably meant
    storable     decoded JSON as the record log can hold it
"""

from __future__ import annotations

import re
import shlex
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
    "storable",
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

# What is left of C0 and C1 but tab and line feed; characters that reorder or hide text (marks,
# embeddings and isolates of direction, zero-width space, interlinear and tag characters, byte order
# mark); half surrogate pairs. Zero-width (non-)joiners stay: scripts and emoji need them.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
_LINE_ENDS: Final = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")

_NAME_CHARS_MAX: Final = 200
_EXCERPT_BYTES: Final = 200
_DEPTH_MAX: Final = 20
_ARGUMENT: Final = re.compile(r"[\w./:@+~][\w./:@+~=, -]*")


def plain(text: str) -> str:
    """`text` without anything but visible characters, spaces, tabs and line feeds."""
    # Line ends first: some of them would otherwise be dropped as controls.
    text = _LINE_ENDS.sub("\n", text)
    return _HIDDEN.sub("", _ESCAPES.sub("", text))


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
