"""The files of a folder of legacy runs: where each belongs, and what should be there and is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from harness.errors import SpecError, StoreError
from harness.text import one_line

__all__ = ["METRICS", "SUMMARY", "Folder", "Source"]

METRICS, SUMMARY = "metrics.json", "summary.json"
RUN: Final = re.compile(r"run_(\d+)")
FILES_MAX: Final = 20_000


class Source(Struct, frozen=True):
    """One file, and what its place says."""

    file: str
    """Its path below PATH."""
    cell: str
    arm: str | None
    launch: str


class Folder:
    """Everything below `root`; `arm` is Options.arm. Raises SpecError for that."""

    def __init__(self, root: Path, arm: str) -> None:
        self.root = root
        self.gaps: list[str] = []
        self._arm = _pattern(arm)
        self._files = 0

    def files(self) -> list[Path]:
        """Every metrics.json and summary.json, in the order of names (run_2 before run_10). Notes
        folders that are empty, and those of runs that left none."""
        return [*self._walk(self.root)]

    def _walk(self, folder: Path) -> Iterator[Path]:
        try:
            entries = sorted(folder.iterdir(), key=_natural)
        except OSError as error:
            raise StoreError(error.strerror or str(error), where=str(folder)) from None
        if not entries and folder != self.root:
            self.gaps.append(f"{self.below(folder)} is empty")
        names = {entry.name for entry in entries}
        run_folders = any(RUN.fullmatch(name) for name in names)
        if RUN.fullmatch(folder.name) and entries and not run_folders and METRICS not in names:
            self.gaps.append(f"{self.below(folder)} has no {METRICS}")
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir() and entry.is_symlink():
                self.gaps.append(f"{self.below(entry)} is a link, which is not followed")
            elif entry.is_dir():
                yield from self._walk(entry)
            elif entry.name in (METRICS, SUMMARY):
                self._files += 1
                if self._files > FILES_MAX:
                    raise StoreError(f"there are over {FILES_MAX} files", where=str(self.root))
                yield entry

    def below(self, path: Path) -> str:
        """Fit for a message."""
        return one_line(path.relative_to(self.root).as_posix(), 4000)

    def source(self, path: Path) -> Source:
        """Of run folders, and of `data/`, the configuration is what holds them."""
        relative = path.parent.relative_to(self.root)
        parts = list(relative.parts)
        while parts and (RUN.fullmatch(parts[-1]) or parts[-1] == "data"):
            parts.pop()
        where = "/".join(parts)
        found = self._arm.search(f"{where}/" if where else "")
        if found is None:
            return Source(self.below(path), where or "base", None, relative.as_posix())
        cell = f"{where[: found.start()]}/{where[found.end() :]}".strip("/").replace("//", "/")
        return Source(self.below(path), cell or "base", found[1], relative.as_posix())

    def configuration(self, path: Path) -> Path:
        """The folder that holds the run folders."""
        folder = path.parent
        while RUN.fullmatch(folder.name) and folder != self.root:
            folder = folder.parent
        return folder


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _pattern(text: str) -> re.Pattern[str]:
    try:
        found = re.compile(text)
    except re.error as error:
        raise SpecError(f"no regular expression: {error}", where="$.options.arm") from None
    if found.groups < 1:
        raise SpecError(
            "no group of it names the arm", where="$.options.arm", remedy="multi/(rust)"
        )
    return found
