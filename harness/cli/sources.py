"""What a compiled module is made from, so that one older than that can be told."""

from __future__ import annotations

import re
from pathlib import Path

_FROM = re.compile(r"^[ \t]*from[ \t]+(\w+)[ \t]+cimport\b", re.MULTILINE)
_PLAIN = re.compile(r"^[ \t]*cimport[ \t]+([^#\n]+)", re.MULTILINE)
_INCLUDE = re.compile(r"^[ \t]*include[ \t]+[\"']([^\"']+)[\"']", re.MULTILINE)


def native_sources(module: str, folder: Path) -> set[Path]:
    """`folder`/`module`.pyx and every header and include in `folder` that it leads to.

    Names that have no file there (libc, cpython) are somebody else's and left out; so is the
    module itself where it has no .pyx. OSError or UnicodeDecodeError: a file cannot be read.
    """
    found: set[Path] = set()
    waiting = [folder / f"{module}.pyx", folder / f"{module}.pxd"]
    while waiting:
        path = waiting.pop()
        if path not in found and path.is_file():
            found.add(path)
            waiting += [folder / name for name in _named_in(path.read_text(encoding="utf-8"))]
    return found


def _named_in(text: str) -> set[str]:
    """File names of what `text` cimports and includes, whether or not there are such files."""
    modules = set(_FROM.findall(text))
    for names in _PLAIN.findall(text):
        modules |= {name.split()[0] for name in names.split(",") if name.strip()}
    return {f"{name}.pxd" for name in modules} | set(_INCLUDE.findall(text))
