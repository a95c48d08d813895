"""Is the folder what was written: the manifest, the log, the sessions that it was made in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from harness.compare.audit.finding import Finding
from harness.schema import Environment, Summary
from harness.store.folder import MANIFEST, RECORDS
from harness.store.load import Run
from harness.store.reader import LogReader
from harness.text import listed, one_line

__all__ = ["audit_folder", "audit_sessions", "changed_fields"]

CHANGES_MATTER = (
    "harness_version",
    "python",
    "platform",
    "kernel",
    "hostname_digest",
    "cpu_model",
    "cpu_count",
    "cpu_affinity",
    "cpu_governor",
    "memory_bytes",
    "clocksource",
    "gpus",
    "packages",
    "vcs",
    "native_build",
    "variables",
    "plugins",
)
"""Not the load of the moment, nor the self-check, which grows old by itself."""


def audit_folder(run: Run, derived: Summary | None) -> Iterator[Finding]:
    """The manifest against itself, and the log's bytes."""
    yield from _digest(run)
    yield from _log(run)
    yield from _times(run, derived)


def _digest(run: Run) -> Iterator[Finding]:
    from harness.engine.specfile import digest

    manifest = run.manifest
    now = digest(manifest.spec)
    if now != manifest.spec_digest:
        yield Finding(
            code="spec-edited",
            severity="wrong",
            message="the spec in the manifest has not the digest that it began with: it was edited,"
            " or written by a version with other defaults",
            evidence={"digest": manifest.spec_digest, "of_the_spec": now},
            where=MANIFEST,
            remedy="compare it with the spec file; `harness run SPEC --dry-run` prints its digest",
        )


def _log(run: Run) -> Iterator[Finding]:
    log = LogReader(run.path / RECORDS, salvage=True)
    log.check()
    for damage in log.damage:
        where = {"offset": damage.offset, "size_bytes": damage.size_bytes}
        if damage.torn:
            yield Finding(
                code="torn-log",
                severity="doubtful" if run.manifest.state == "finished" else "note",
                message=f"the last {damage.size_bytes} bytes of the log are no record: a writer "
                "was killed, or the file was cut",
                evidence=where,
                where=RECORDS,
            )
        else:
            yield Finding(
                code="corrupt-log",
                severity="wrong",
                message=f"{damage.size_bytes} bytes at byte {damage.offset} of the log cannot be "
                f"read ({damage.reason})",
                evidence=where,
                where=RECORDS,
                remedy="restore it from a copy; until then only what is left can be shown",
            )


def _times(run: Run, derived: Summary | None) -> Iterator[Finding]:
    manifest = run.manifest
    try:
        began = datetime.fromisoformat(manifest.started)
        ended = datetime.fromisoformat(manifest.ended) if manifest.ended else None
        wall_s = (ended - began).total_seconds() if ended else None
    except (ValueError, TypeError):
        yield Finding(
            code="impossible-time",
            severity="wrong",
            message="the manifest's instants are none",
            evidence={"started": manifest.started, "ended": manifest.ended},
            where=MANIFEST,
        )
        return
    if wall_s is None:
        return
    recorded_s = derived.wall_s if derived else None
    # A clock that is set while a run lasts moves both ends of it; by a minute it is seldom set.
    if wall_s < 0 or (recorded_s is not None and recorded_s > wall_s + 60 and not run.sessions):
        yield Finding(
            code="impossible-time",
            severity="wrong",
            message=f"by its manifest the run took {wall_s:.1f} s"
            + (f", and its records span {recorded_s:.1f} s" if recorded_s is not None else ""),
            evidence={
                "started": manifest.started,
                "ended": manifest.ended,
                "records_span_s": recorded_s,
            },
            where=MANIFEST,
        )


# ---- sessions


def audit_sessions(run: Run) -> Iterator[Finding]:
    """What changed between the sessions of a run that was resumed."""
    before = run.manifest.environment
    for number, session in enumerate(run.sessions, start=2):
        after = session.environment
        if after is None:
            continue
        changed = changed_fields(before, after)
        before = after
        if changed:
            yield Finding(
                code="environment-changed",
                severity="doubtful",
                message=f"session {number} ran under another {listed(list(changed))}: its trials "
                "stand beside those of another setting",
                evidence={"changed": changed},
                where=f"session {number}",
                remedy="harness history or compare by trial; or run it again in one session",
            )


def changed_fields(before: Environment, after: Environment) -> dict[str, list[Any]]:
    """Field → [before, after], of those that a figure may depend on."""
    found: dict[str, list[Any]] = {}
    for name in CHANGES_MATTER:
        one, other = getattr(before, name), getattr(after, name)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            for key in dict.fromkeys([*one, *other]):
                if one.get(key) != other.get(key):
                    label = f"{name}.{key}"
                    found[one_line(label, 80)] = [one.get(key), other.get(key)]
        else:
            found[name] = [msgspec.to_builtins(one), msgspec.to_builtins(other)]
    return found
