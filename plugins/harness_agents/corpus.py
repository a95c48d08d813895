"""The files that an agent reads. None of them is opened here."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Final

from harness.errors import ScenarioError
from harness.text import one_line
from harness_agents.options import WorkloadOptions
from harness_agents.protocol import Corpus, CorpusFile, Kind

__all__ = ["FILES_MAX", "corpus_of"]

FILES_MAX: Final = 5000
_SUFFIXES: Final[dict[str, Kind]] = {".csv": "csv", ".json": "json", ".md": "md"}


def corpus_of(options: WorkloadOptions) -> Corpus | None:
    """The files, in the order in which every agent reads them; None where no prompt speaks of them.
    None of them is opened. Raises ScenarioError for a folder with nothing in it to read."""
    if options.prompt is not None and "{{data_summary}}" not in options.prompt:
        return None
    folder = _shipped() if options.corpus is None else Path(options.corpus).expanduser()
    found = sorted(_files(folder)) if folder.is_dir() else []
    if not found or len(found) > FILES_MAX:
        what = f"more than {FILES_MAX} files" if found else "no CSV, JSON or Markdown file in it"
        raise ScenarioError(
            what if folder.is_dir() else "there is no such folder",
            where=one_line(str(folder)),
            remedy="corpus=FOLDER, or leave it out for the files that ship with the project",
        )
    files = (CorpusFile(path=path, kind=_SUFFIXES[Path(path).suffix.lower()]) for path in found)
    return Corpus(path=str(folder.resolve()), files=tuple(files))


def _files(folder: Path) -> list[str]:
    found: list[str] = []
    for place, _, names in os.walk(folder):  # links to folders are not followed
        below = Path(place).relative_to(folder)
        for name in names:
            path = (below / name).as_posix()
            if Path(name).suffix.lower() in _SUFFIXES and path.isprintable():
                found.append(path)
        if len(found) > FILES_MAX:
            break
    return found


def _shipped() -> Path:
    spec = importlib.util.find_spec("harness_single_agent")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).with_name("corpus")
