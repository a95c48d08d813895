"""Text that wants to be more than text, and what may be left of it.

MARK stands wherever an attack would show: as a window's title, a link, a heading, a formula.
"""

from __future__ import annotations

import re
import unicodedata

MARK = "PWN"

SNIPPETS = [
    f"\x1b[7;5;35m{MARK}\x1b[0m",
    f"\x1b]0;{MARK}\x07\x1b]52;c;UFdO\x07",
    f"\x1b]8;;http://pwn.example/\x1b\\{MARK}\x1b]8;;\x1b\\",
    f"\x1b]8;;http://pwn.example/ {MARK} never closed",
    f"\x9b7;5;35m{MARK}\x9d0;{MARK}\x9c\x90{MARK}\x9c",
    f"\x1bP1$r{MARK}\x1b\\\x1b_{MARK}\x1b\\\x1bc\x1b[2J\x1b[1A\x1b[?1049h",
    f"\x07\x08\x08\x7f\x00\x0e\x0f{MARK}\x1b",
    f"\u202e{MARK}\u202c\u2066\u2069\u200e\u200f\u061c\u2067{MARK}",
    "zero\u200bwidth\u2060\ufeff\u00ad\u180e\u3164\uffa0\u115f",
    "\U000e0041\U000e0042\U000e0100\U000e01ef\ufe00\ufff9\ufffb",
    f"line\r\n{MARK}: injected\r\n\r\nHTTP/1.1 200 OK\r\n\r\ndata: [DONE]\n\n",
    f"a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\r{MARK}",
    f"<script>{MARK}</script><img src=x onerror={MARK}><!-- --><a href=javascript:{MARK}>",
    f"![{MARK}](http://pwn.example/i.png) [{MARK}](javascript:{MARK}) <http://pwn.example>",
    f"\n\n# {MARK}\n\n{MARK}\n===\n\n- {MARK}\n> {MARK}\n1. {MARK}\n",
    f"|{MARK}|{MARK}|\n|---|---|\n|{MARK}|\\|{MARK}\\\\|",
    f"```\n{MARK}\n```\n~~~\n````{MARK}",
    f"`{MARK}` **{MARK}** _{MARK}_ ~~{MARK}~~ $x$ [^1] [x]: http://pwn.example '{MARK}'",
    f"=cmd|'/c {MARK}'!A1",
    f"+{MARK};=1+1",
    f"-{MARK}\n=1+1",
    f"@SUM({MARK})",
    f"\t={MARK}\t=1+1",
    f"\uff1d{MARK}\uff20",
    f"[bold blink magenta]{MARK}[/] [link=http://pwn.example]{MARK}[/link] :pile_of_poo:",
    f'"}}],"{MARK}":"\\u001b[31m\\',
    f"{{{{7*7}}}}${{7*7}}<%= {MARK} %>",
    f"http://pwn.example/{MARK} www.pwn.example {MARK}@pwn.example",
    "Z" + "\u0300" * 60 + "\u20dd" * 60,
    "\ue000\uf8ff\U000f0000\uffff\U0010ffff\u0378",
    "A" * 3000,
    "漢字 👩\u200d💻 ñ",
]


def nasty(turn: int) -> str:
    """All of them, each turn beginning with another one."""
    at = turn % len(SNIPPETS)
    return "".join((*SNIPPETS[at:], *SNIPPETS[:at]))


# What may be left ---------------------------------------------------------------------------------

# What rich writes of its own on a terminal: colours, the cursor, erasing its live line.
OURS = re.compile(r"\x1b\[(?P<sgr>[\d;]*)m|\x1b\[\?25[hl]|\x1b\[\d*[AK]")
BLINK = re.compile(r"(^|;)5(;|$)")


def controls(text: str, allowed: str = "\n\t") -> set[str]:
    """Characters of `text` that do something, hide, or turn the reading order round."""
    return {
        character
        for character in text
        if unicodedata.category(character)[0] == "C"
        or character in "\u2028\u2029\u115f\u3164\uffa0"
        if character not in allowed
        if character not in "\u200c\u200d"
    }


def terminal_faults(output: bytes) -> list[str]:
    """What is wrong with something that a terminal was sent."""
    try:
        text = output.decode()
    except UnicodeDecodeError as error:
        return [f"not UTF-8: {error}"]
    sgr = {found["sgr"] for found in OURS.finditer(text) if found["sgr"]}
    wrong = [f"blinks: {one}" for one in sgr if BLINK.search(re.sub(r"[34]8;5;\d+", "", one))]
    rest = OURS.sub("", text)
    wrong += [f"{character!r}" for character in controls(rest, "\n\r\t")]
    return wrong
