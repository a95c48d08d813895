"""Text from models, servers and files is hostile until it has been through here.

It may hold terminal escapes (a title change, a clipboard write, a hidden line), characters that
turn the reading order round, or markup of the format that it is put into. Reports never print it
raw.

    plain       for any output: no control, no escape sequence, no invisible reordering
    one_line    the same on one line, cut to a length: for tables and messages
    markdown    escaped, as ordinary text in Markdown
    code        as a Markdown code span (names, options), also inside a table
    fenced      as a Markdown code block (a model's answer)
    cell        as a CSV cell that no spreadsheet takes for a formula
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["cell", "code", "fenced", "markdown", "one_line", "plain"]

# Escape sequences go as a whole, so that no `[31m` or window title is left behind. Both spellings
# of each introducer: ESC and a letter, or one C1 character. A string sequence that is never closed
# ends at the end of its line: a stray ESC must not swallow the rest of a report.
_ESCAPES: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
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
_LINE_ENDS: Final = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# What means something anywhere in a line; at its start; where a bare address becomes a link.
_MARKDOWN: Final = re.compile(
    r"[\\`*_\[\]|~$@]"
    r"|^#(?=#|\s|$)|^[+\-](?=\s|$)|^[=-]+$|(?<=^\d)[.)](?=\s|$)|(?<=^\d\d)[.)](?=\s|$)"
    r"|(?<=:)/(?=/)|(?<=www)\."
)
_HTML: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def plain(text: str) -> str:
    """`text` without anything but visible characters, spaces, tabs and line feeds."""
    # Line ends first: some of them would otherwise be dropped as controls.
    text = _LINE_ENDS.sub("\n", text)
    return _HIDDEN.sub("", _ESCAPES.sub("", text))


def one_line(text: str, length_max: int = 300) -> str:
    """`plain`, with all white space as single spaces, cut to `length_max` with an ellipsis."""
    line = " ".join(plain(text).split())
    return line if len(line) <= length_max else line[: max(length_max - 1, 0)].rstrip() + "…"


def markdown(text: str, length_max: int = 2000) -> str:
    """One line of ordinary Markdown text: no markup, link or HTML survives."""
    line = _MARKDOWN.sub(r"\\\g<0>", one_line(text, length_max))
    return "".join(_HTML.get(character, character) for character in line)


def code(text: str, length_max: int = 300) -> str:
    """A code span that `text` cannot leave; safe in a table cell. Empty text: an em dash."""
    line = one_line(text, length_max)
    if not line:
        return "—"
    fence = "`" * (_longest_run(line) + 1)
    pad = " " if line[0] == "`" or line[-1] == "`" else ""
    return f"{fence}{pad}{line}{pad}{fence}".replace("|", "\\|")


def fenced(text: str, info: str = "text") -> str:
    """A code block that `text` cannot close, ending in a line feed."""
    body = plain(text).strip("\n")
    fence = "`" * max(3, _longest_run(body) + 1)
    return f"{fence}{info}\n{body}\n{fence}\n"


def cell(text: str) -> str:
    """A CSV cell: spreadsheets run what begins with = + - @, so such text gets an apostrophe."""
    line = plain(text)
    return f"'{line}" if line.lstrip()[:1] in ("=", "+", "-", "@") and line else line


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
