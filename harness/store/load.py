"""Opens a run folder: finished, interrupted, killed at any instant, or written by another version.

Versions. A field never changes its meaning: a new meaning gets a new name. So an older file lacks
fields (they have defaults) and a newer one has more (they are ignored, and `Run.warnings` says so);
only a file in which something required is missing or of another type is refused.

A run whose manifest still says `running` was either killed or is under way (also: again); the lock
on its log tells which. Its summary is derived from the records, and says `interrupted` in the first
case.

Damage. Every load passes over the log's checksums (about a second per GB), so that a summary that
was written before the damage is never shown without a word of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import StoreError
from harness.schema import (
    SCHEMA_VERSION,
    Caveat,
    LogEntry,
    Manifest,
    Record,
    RunState,
    SessionRecord,
    Summary,
)
from harness.store.find import find_run
from harness.store.folder import MANIFEST, RECORDS, SUMMARY
from harness.store.log import being_written, reason
from harness.store.reader import Damage, LogReader

__all__ = ["Run", "is_being_written", "load_run"]


class Run:
    """A loaded run (harness.protocols.RunData)."""

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        summary: Summary,
        log: LogReader,
        warnings: tuple[str, ...],
    ) -> None:
        self.path = path
        """The run folder."""
        self.manifest = manifest
        self.summary = summary
        self.warnings = warnings
        """What a reader should know: dropped bytes, a newer version. One line each."""
        self.sessions: tuple[SessionRecord, ...] = ()
        """Empty, unless the run was resumed. Of a corrupt log, those that can still be read."""
        with contextlib.suppress(StoreError):
            self.sessions = log.sessions
        self._log = log

    def entries(self) -> Iterable[LogEntry]:
        """`records`, with those that are void, and what made them so. StoreError likewise."""
        return self._log.entries()

    def records(self) -> Iterable[Record]:
        """In the order of the log, without those of trials that were cut short and ran again; read
        from disk each time it is iterated. StoreError if the log is corrupt."""
        return self._log


def load_run(ref: str | Path = "latest", *, root: Path | None = None, salvage: bool = False) -> Run:
    """The run that `ref` names: a run folder, its run.json, the unique beginning of a folder's name
    or of a run id below `root` (default: ./runs), or `latest`.

    Of a corrupt log, the summary that was written when the run ended is still given, with a line in
    `warnings`; its records are not, and StoreError says so. `salvage` reads them as far as they go;
    the summary is then derived from what is left, and invalid if anything is missing in the middle.
    Raises StoreError.
    """
    path = find_run(ref, root)
    manifest, warnings = _read_manifest(path / MANIFEST)
    log = LogReader(path / RECORDS, salvage=salvage)
    summary = None if salvage or manifest.state == "running" else _read_summary(path / SUMMARY)
    if summary is None:
        summary = _derived(manifest, log)
        warnings += _damage_warnings(log)
    else:
        warnings += _beside_the_log(log)
    return Run(path, manifest, summary, log, tuple(warnings))


def is_being_written(path: Path) -> bool:
    """Whether a living process writes the run in this folder, as far as the system tells."""
    return being_written(path / RECORDS) is True


def _beside_the_log(own: LogReader) -> list[str]:
    """What is wrong with the log of a run whose summary was written before. Where that is nothing,
    the run's own reader has then found its sessions, too."""
    path = own.path
    with contextlib.suppress(StoreError):
        own.check()
        if not own.damage:
            return []
    log = LogReader(path, salvage=True)
    try:
        log.check()
    except StoreError as error:
        return [f"{error}; the summary is the one written when the run ended"]
    lines = _damage_warnings(log)
    if lines:
        lines.append(
            f"{path}: the summary is the one written when the run ended, when these bytes were "
            "whole; --salvage (salvage=True) derives it from what can still be read"
        )
    return lines


def _derived(manifest: Manifest, log: LogReader) -> Summary:
    # Here, because opening a finished run should not cost the import of the engine.
    from harness.engine.summary import derive_summary

    log.check()
    caveats = [_damage_caveat(damage) for damage in log.damage]
    state = _state(manifest, log.path)
    return derive_summary(manifest, log, state=state, caveats=caveats, sessions=log.sessions)


def _state(manifest: Manifest, log: Path) -> RunState:
    if manifest.state == "running" and being_written(log) is False:
        return "interrupted"
    return manifest.state


def _damage_caveat(damage: Damage) -> Caveat:
    where = {"offset": damage.offset, "size_bytes": damage.size_bytes, "reason": damage.reason}
    if damage.torn:
        return Caveat(
            code="torn-log",
            severity="note",
            message=f"the last {damage.size_bytes} bytes of the record log were a record that was "
            "still being written; they are left out",
            evidence=where,
        )
    return Caveat(
        code="corrupt-log",
        severity="invalid",
        message=f"{damage.size_bytes} bytes in the middle of the record log are unreadable; what "
        "they held is missing from every figure",
        evidence=where,
        remedy="restore the folder from a copy, or run again",
    )


def _damage_warnings(log: LogReader) -> list[str]:
    kinds = {True: "torn tail", False: "corruption"}
    lines = [
        f"{log.path}: {damage.size_bytes} bytes at byte {damage.offset} cannot be read: "
        f"{kinds[damage.torn]} ({damage.reason})"
        for damage in log.damage
    ]
    if log.unknown:
        lines.append(f"{log.path}: left out {log.unknown} records of kinds unknown to this version")
    return lines


# -------------------------------------------------------------------------------- tolerant decoding


def _read_manifest(path: Path) -> tuple[Manifest, list[str]]:
    raw = _read_json(path)
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    newer = isinstance(version, int) and version > SCHEMA_VERSION
    ignored: list[str] = []
    raw = _known_only(raw, msgspec.inspect.type_info(Manifest), "$", ignored)
    try:
        manifest = msgspec.convert(raw, Manifest)
    except msgspec.ValidationError as error:
        raise StoreError(
            f"does not fit this version of the harness: {error}",
            where=str(path),
            remedy="pip install --upgrade chimera-harness" if newer else "restore it from a copy",
        ) from None
    lines = []
    if newer:
        lines.append(
            f"{path}: written under schema version {version}, newer than {SCHEMA_VERSION}, which "
            "this version knows; what was added since is left out"
        )
    if ignored:
        lines.append(f"{path}: ignored fields that this version lacks: {', '.join(ignored)}")
    return manifest, lines


def _read_summary(path: Path) -> Summary | None:
    """None where there is none that can be used: it can always be derived again."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Summary)
    except (OSError, msgspec.DecodeError):
        return None


def _read_json(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise StoreError(reason(error), where=str(path)) from error
    except msgspec.DecodeError as error:
        raise StoreError(
            f"not a manifest: {error}", where=str(path), remedy="restore it from a copy"
        ) from None


_SEQUENCES = msgspec.inspect.ListType | msgspec.inspect.VarTupleType


def _known_only(value: Any, kind: msgspec.inspect.Type, path: str, ignored: list[str]) -> Any:
    """`value` without fields that `kind` lacks: spec Structs refuse those, and rightly so when a
    person wrote them, but here a newer version did. Their paths are added to `ignored`."""
    if isinstance(kind, msgspec.inspect.UnionType):
        kind = _member_for(value, kind)
    if isinstance(kind, msgspec.inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in kind.fields}
        tag = {kind.tag_field} if kind.tag_field else set()
        ignored += [f"{path}.{name}" for name in value if name not in fields and name not in tag]
        return {
            name: _known_only(item, fields[name], f"{path}.{name}", ignored)
            if name in fields
            else item
            for name, item in value.items()
            if name in fields or name in tag
        }
    if isinstance(kind, msgspec.inspect.DictType) and isinstance(value, dict):
        inner = kind.value_type
        return {k: _known_only(v, inner, f"{path}.{k}", ignored) for k, v in value.items()}
    if isinstance(kind, _SEQUENCES) and isinstance(value, list):
        each = kind.item_type
        return [_known_only(v, each, f"{path}[{i}]", ignored) for i, v in enumerate(value)]
    return value


def _member_for(value: Any, kind: msgspec.inspect.UnionType) -> msgspec.inspect.Type:
    """The Struct of a union that `value` is meant for: by tag, or the only one there is."""
    structs = [one for one in kind.types if isinstance(one, msgspec.inspect.StructType)]
    if not isinstance(value, dict):
        return kind
    for struct in structs:
        if struct.tag_field is None or value.get(struct.tag_field) == struct.tag:
            return struct
    return kind
