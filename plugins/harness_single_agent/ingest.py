"""The first step of the agent: find the files below a folder and read every one of them.

Nothing is skipped silently. A file that is not read is listed with its reason: a link (it could
lead out of the folder, or in circles), too large, not readable, not what its name says.
"""

from __future__ import annotations

import datetime
import os
import stat
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from msgspec import Struct

from harness.errors import ScenarioError
from harness_single_agent.options import SingleAgentOptions
from harness_single_agent.parsing import PARSERS, SUFFIXES, Contents, Kind, UnreadableError

__all__ = ["Corpus", "Skipped", "Source", "candidates", "corpus_folder", "ingest"]


class Source(Struct, frozen=True, kw_only=True):
    """One file that was read."""

    path: str
    """Below the corpus folder, with forward slashes."""
    kind: Kind
    size_bytes: int
    modified: datetime.datetime
    contents: Contents


class Skipped(Struct, frozen=True, kw_only=True):
    """One file that was not, and why."""

    path: str
    reason: str


class Corpus(Struct, frozen=True, kw_only=True):
    """What the agent knows."""

    sources: tuple[Source, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(source.size_bytes for source in self.sources)

    def files_by_kind(self) -> dict[Kind, int]:
        """Kinds in a fixed order, those without files too."""
        found = Counter(source.kind for source in self.sources)
        return {kind: found[kind] for kind in PARSERS}

    def of_kind(self, kind: Kind) -> list[Source]:
        return [source for source in self.sources if source.kind == kind]


def corpus_folder(options: SingleAgentOptions) -> Path:
    if options.corpus is None:
        return Path(__file__).with_name("corpus")
    return Path(options.corpus).expanduser()


def candidates(folder: Path, options: SingleAgentOptions) -> tuple[list[str], list[Skipped]]:
    """Paths below the folder that are to be read, sorted, and those that are not.

    Raises ScenarioError where the folder is missing, holds nothing to read, or far too much.
    """
    if not folder.is_dir():
        raise ScenarioError(
            "the corpus folder does not exist" if not folder.exists() else "is not a folder",
            where=str(folder),
            remedy="-o corpus=FOLDER with " + _accepted(options) + " files",
        )
    skipped: list[Skipped] = []
    found: list[str] = []
    for path in _walk(folder, skipped):
        if Path(path).suffix.lower() in SUFFIXES and _included(path, options.include):
            found.append(path)
            if len(found) > options.files_max:
                raise ScenarioError(
                    f"more than {options.files_max} files",
                    where=str(folder),
                    remedy="a smaller folder, -o include='[\"*.csv\"]', or a larger files_max",
                )
    if not found:
        raise ScenarioError(
            f"no file to read: {_accepted(options)} files are, at any depth",
            where=str(folder),
            remedy="-o corpus=FOLDER, or leave it out for the files that ship with the project",
        )
    return sorted(found), skipped


def ingest(options: SingleAgentOptions) -> Corpus:
    """Read everything. Raises ScenarioError where nothing could be read."""
    folder = corpus_folder(options)
    paths, skipped = candidates(folder, options)
    sources: list[Source] = []
    for path in paths:
        try:
            sources.append(_read(folder, path, options.file_bytes_max))
        except UnreadableError as error:
            skipped.append(Skipped(path=path, reason=str(error)))
        except OSError as error:
            skipped.append(Skipped(path=path, reason=error.strerror or type(error).__name__))
    if not sources:
        first = skipped[-1]
        raise ScenarioError(
            f"none of its {len(paths)} files could be read; {first.path}: {first.reason}",
            where=str(folder),
            remedy="-o corpus=FOLDER with " + _accepted(options) + " files",
        )
    return Corpus(sources=tuple(sources), skipped=tuple(skipped))


def _walk(folder: Path, skipped: list[Skipped]) -> Iterator[str]:
    def unreadable(error: OSError) -> None:
        path = os.path.relpath(error.filename, folder)
        skipped.append(Skipped(path=path, reason=error.strerror or "not readable"))

    for place, folders, files in os.walk(folder, onerror=unreadable):
        below = Path(place).relative_to(folder)
        for name in sorted(folders):
            if (Path(place) / name).is_symlink():
                skipped.append(Skipped(path=(below / name).as_posix(), reason="a link"))
        folders.sort()
        yield from ((below / name).as_posix() for name in files)


def _read(folder: Path, path: str, bytes_max: int) -> Source:
    full = folder / path
    facts = full.lstat()
    if stat.S_ISLNK(facts.st_mode):
        raise UnreadableError("a link")
    if not stat.S_ISREG(facts.st_mode):
        raise UnreadableError("not a regular file")
    with full.open("rb") as file:
        data = file.read(bytes_max + 1)  # the size may have changed since it was asked for
    if len(data) > bytes_max:
        raise UnreadableError(f"larger than file_bytes_max, {bytes_max}")
    kind = SUFFIXES[full.suffix.lower()]
    return Source(
        path=path,
        kind=kind,
        size_bytes=len(data),
        modified=datetime.datetime.fromtimestamp(int(facts.st_mtime), datetime.UTC),
        contents=PARSERS[kind](data),
    )


def _included(path: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch(path, p) or fnmatch(Path(path).name, p) for p in patterns)


def _accepted(options: SingleAgentOptions) -> str:
    return ", ".join(options.include) or ", ".join(sorted(SUFFIXES))
