"""Text from models, servers and files is hostile until it has been through here.

It may hold terminal escapes, characters that turn the reading order round (harness.text takes both
out), or markup of the format that it is put into. Reports never print it raw.

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

from harness.text import fenced, longest_run, one_line, plain

__all__ = ["cell", "code", "fenced", "markdown", "one_line", "plain"]

# What means something anywhere in a line; at its start; where a bare address becomes a link.
_MARKDOWN: Final = re.compile(
    r"[\\`*_\[\]|~$@]"
    r"|^#(?=#|\s|$)|^[+\-](?=\s|$)|^[=-]+$|(?<=^\d)[.)](?=\s|$)|(?<=^\d\d)[.)](?=\s|$)"
    r"|(?<=:)/(?=/)|(?<=www)\."
)
_HTML: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def markdown(text: str, length_max: int = 2000) -> str:
    """One line of ordinary Markdown text: no markup, link or HTML survives."""
    line = _MARKDOWN.sub(r"\\\g<0>", one_line(text, length_max))
    return "".join(_HTML.get(character, character) for character in line)


def code(text: str, length_max: int = 300) -> str:
    """A code span that `text` cannot leave; safe in a table cell. Empty text: an em dash."""
    line = one_line(text, length_max)
    if not line:
        return "—"
    fence = "`" * (longest_run(line) + 1)
    pad = " " if line[0] == "`" or line[-1] == "`" else ""
    return f"{fence}{pad}{line}{pad}{fence}".replace("|", "\\|")


def cell(text: str) -> str:
    """A CSV cell: spreadsheets run what begins with = + - @, so such text gets an apostrophe."""
    line = plain(text)
    return f"'{line}" if line.lstrip()[:1] in ("=", "+", "-", "@") and line else line
