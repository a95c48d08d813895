"""Reads what valgrind's memcheck found (--xml=yes) and keeps what is ours.

    python tests/native/memcheck.py REPORT.xml PART-OF-A-PATH

An error is ours if an object whose path has that part is on its stack, however deep: a bad pointer
that we hand to the interpreter is ours, and what the interpreter and numpy do among themselves is
not. A block that was lost is ours only if we asked for it ourselves, next to the allocator:
Python's objects have other owners, and the interpreter leaves many behind.

Prints what it kept and exits with 1 if there is any; with 2 if the report is not a whole one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

SHOWN = 12


def ours(report: Path, part: str) -> Iterator[str]:
    """One text for each kind of error at each place."""
    for error in ElementTree.parse(report).getroot().iter("error"):
        kind = error.findtext("kind", "")
        stack = error.find("stack")
        frames = list(stack.iter("frame")) if stack is not None else []
        near = frames[:2] if kind.startswith("Leak_") else frames
        if any(part in frame.findtext("obj", "") for frame in near):
            what = error.findtext("what") or error.findtext("xwhat/text", "")
            yield "\n".join([f"{kind}: {what}", *map(_line, frames[:SHOWN])])


def _line(frame: ElementTree.Element) -> str:
    name = frame.findtext("fn") or frame.findtext("ip", "?")
    where = frame.findtext("file") or Path(frame.findtext("obj", "?")).name
    line = frame.findtext("line")
    return f"    {name} ({where}{f':{line}' if line else ''})"


def main() -> int:
    report, part = Path(sys.argv[1]), sys.argv[2]
    try:
        found = list(ours(report, part))
    except (OSError, ElementTree.ParseError) as error:
        print(f"{report} is not a whole report: {error}")
        return 2
    for one in found:
        print(one, end="\n\n")
    print(f"memcheck: {len(found)} kinds of error in {part}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
