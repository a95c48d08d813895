"""Do the written figures follow from the records: summary.json and the reports, derived again.

Both sides are taken as plain JSON and compared leaf by leaf, so that no figure is left out because
nobody thought of it. Sums in another order, or a newer numpy, may change the last digits of a mean;
so numbers may differ by a billionth, which no hand that changes a figure stops at.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from harness.compare.audit.finding import SHOWN, Finding, Severity
from harness.compare.audit.versions import another_version
from harness.schema import Summary
from harness.store.folder import REPORTS, SUMMARY
from harness.store.load import Run
from harness.text import one_line

__all__ = ["Difference", "audit_reports", "audit_summary", "differences"]

TOLERANCE: Final = 1e-9
_RULED: Final = re.compile(r"\.(ci_low|ci_high|needs(\.\w+)?)$")
TEXT_FORMATS: Final = (".csv", ".md", ".jsonl", ".txt")
LIST_KEYS: Final = (("arm", "cell"), ("name",), ("code", "arm", "message"), ("cell", "metric"))
"""What tells the items of a list apart, where they have all of it: a missing item is then one
difference, and not one of every item behind it."""


class Difference(msgspec.Struct, frozen=True):
    """One leaf of a document."""

    path: str
    written: Any
    derived: Any


def audit_summary(run: Run, derived: Summary) -> Iterator[Finding]:
    """summary.json against what the records give."""
    path = run.path / SUMMARY
    if run.manifest.state == "running":
        return
    written = _read(path)
    if written is None:
        yield Finding(
            code="no-summary",
            severity="note",
            message=f"there is no readable {SUMMARY}; what is shown is derived from the records",
            where=SUMMARY,
            remedy="none is needed",
        )
        return
    found = list(differences(written, msgspec.to_builtins(derived)))
    lacking = [one for one in found if one.written is _ABSENT]
    other = another_version(run, written)
    theirs = [one for one in found if other and one not in lacking and _is_ruled(one.path)]
    wrong = [one for one in found if one not in lacking and one not in theirs]
    if wrong:
        yield Finding(
            code="summary-differs",
            severity="wrong",
            message=f"{len(wrong)} entries of {SUMMARY} do not follow from the records, first "
            f"{_told(wrong[0])}",
            evidence={"entries": [_shown(one) for one in wrong[:SHOWN]], "count": len(wrong)},
            where=SUMMARY,
            remedy=f"believe the records: remove {SUMMARY}, and `harness show` derives it again",
        )
    if theirs:
        yield Finding(
            code="summary-of-other-version",
            severity="doubtful" if any(one.path == "$.verdict.state" for one in theirs) else "note",
            message=f"{SUMMARY} was written by {other}: {len(theirs)} intervals and caveats are by "
            f"other rules, first {_told(theirs[0])}",
            evidence={"entries": [_shown(one) for one in theirs[:SHOWN]], "count": len(theirs)},
            where=SUMMARY,
            remedy=f"remove {SUMMARY}, and `harness show` derives it again",
        )
    if lacking:
        yield Finding(
            code="summary-incomplete",
            severity="note" if other else "wrong",
            message=f"{SUMMARY} lacks {len(lacking)} entries that the records give, first "
            f"{one_line(lacking[0].path, 100)}" + (f"; it was written by {other}" if other else ""),
            evidence={"entries": [one.path for one in lacking[:SHOWN]], "count": len(lacking)},
            where=SUMMARY,
            remedy=f"remove {SUMMARY}, and `harness show` derives it again",
        )


def audit_reports(
    run: Run, derived: Run, exporters: Mapping[str, Callable[[Any, BinaryIO], None]]
) -> Iterator[Finding]:
    """reports/, written again from `derived` (the run with the derived summary). `exporters`: file
    name → what writes it."""
    other = another_version(run, _read(run.path / SUMMARY))
    for name, write in exporters.items():
        path = run.path / REPORTS / name
        if path.suffix not in (".json", *TEXT_FORMATS) or not path.is_file():
            continue
        out = io.BytesIO()
        try:
            write(derived, out)
        except Exception as error:  # a stranger's exporter: its own doctor
            yield Finding(
                code="report-unchecked",
                severity="note",
                message=f"{name} cannot be written again: {one_line(str(error), 200)}",
                where=f"{REPORTS}/{name}",
            )
            continue
        if path.suffix == ".json":
            yield from _audit_json(run, path, out.getvalue(), other)
        elif path.read_bytes() != out.getvalue():
            yield _other_text(path, out.getvalue(), other)


def _audit_json(run: Run, path: Path, derived: bytes, other: str) -> Iterator[Finding]:
    written = _read(path)
    if written is None:
        yield Finding(
            code="report-differs",
            severity="wrong",
            message=f"{path.name} is no JSON",
            where=f"{REPORTS}/{path.name}",
            remedy=f"harness export {run.path} --format NAME writes it again",
        )
        return
    found = list(differences(written, msgspec.json.decode(derived)))
    # A figure that only one of the two has may be the work of another version.
    changed = [one for one in found if _ABSENT not in (one.written, one.derived)]
    if found:
        first = (changed or found)[0]
        yield Finding(
            code="report-differs",
            severity=_by_version(other) if other or not changed else "wrong",
            message=f"{len(changed or found)} entries of {path.name} do not follow from the "
            f"records, first {_told(first)}",
            evidence={"entries": [_shown(one) for one in (changed or found)[:SHOWN]]},
            where=f"{REPORTS}/{path.name}",
            remedy=f"harness export {run.path} --format NAME writes it again",
        )


def _other_text(path: Path, derived: bytes, other: str) -> Finding:
    ours, theirs = derived.splitlines(), path.read_bytes().splitlines()
    first = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
    line = min(len(ours), len(theirs)) if first is None else first
    return Finding(
        code="report-differs",
        severity=_by_version(other),
        message=f"line {line + 1} of {path.name} is not what the records give: it was edited, or "
        "written by another version",
        evidence={
            "line": line + 1,
            "written": _line(theirs, line),
            "derived": _line(ours, line),
        },
        where=f"{REPORTS}/{path.name}",
        remedy="`harness export` writes it again",
    )


def _line(lines: list[bytes], index: int) -> str | None:
    return one_line(lines[index].decode("utf-8", "replace"), 200) if index < len(lines) else None


# ---- leaf by leaf

_ABSENT: Final = "(not there)"


def differences(written: Any, derived: Any, path: str = "$") -> Iterator[Difference]:
    """Every leaf in which two JSON values differ. What only one of them has is `(not there)` in the
    other."""
    if isinstance(written, dict) and isinstance(derived, dict):
        for key in dict.fromkeys([*derived, *written]):
            below = f"{path}.{key}"
            yield from differences(written.get(key, _ABSENT), derived.get(key, _ABSENT), below)
    elif isinstance(written, list | tuple) and isinstance(derived, list | tuple):
        yield from _in_lists(written, derived, path)
    elif not _equal(written, derived):
        yield Difference(path, written, derived)


def _in_lists(
    written: list[Any] | tuple[Any, ...], derived: list[Any] | tuple[Any, ...], path: str
) -> Iterator[Difference]:
    for names in LIST_KEYS:
        keys = [[_key(item, names) for item in side] for side in (written, derived)]
        if all(None not in side and len(set(side)) == len(side) for side in keys):
            ours = dict(zip(keys[1], derived, strict=True))
            theirs = dict(zip(keys[0], written, strict=True))
            for key in dict.fromkeys([*ours, *theirs]):
                label = ",".join(str(part) for part in key or () if part is not None)
                below = f"{path}[{label[:60]}]"
                yield from differences(theirs.get(key, _ABSENT), ours.get(key, _ABSENT), below)
            shared = [key for key in keys[0] if key in ours]
            if shared != [key for key in keys[1] if key in theirs]:
                yield Difference(f"{path} (order)", keys[0][:SHOWN], keys[1][:SHOWN])
            return
    for index in range(max(len(written), len(derived))):
        below = f"{path}[{index}]"
        one = written[index] if index < len(written) else _ABSENT
        other = derived[index] if index < len(derived) else _ABSENT
        yield from differences(one, other, below)


def _key(item: Any, names: tuple[str, ...]) -> tuple[Any, ...] | None:
    if not isinstance(item, dict) or any(name not in item for name in names):
        return None
    found = tuple(item[name] for name in names)
    return None if any(isinstance(part, dict | list) for part in found) else found


def _equal(written: Any, derived: Any) -> bool:
    if isinstance(written, bool) or isinstance(derived, bool):
        return written is derived
    if isinstance(written, int | float) and isinstance(derived, int | float):
        if isinstance(written, int) and isinstance(derived, int):
            return written == derived
        return math.isclose(written, derived, rel_tol=TOLERANCE, abs_tol=0.0)
    return bool(written == derived) and type(written) is type(derived)


def _shown(one: Difference) -> dict[str, Any]:
    return {"path": one.path, "written": one.written, "derived": one.derived}


def _told(one: Difference) -> str:
    return (
        f"{one_line(one.path, 120)}: written {_leaf(one.written)}, by the records "
        f"{_leaf(one.derived)}"
    )


def _leaf(value: Any) -> str:
    if isinstance(value, dict):
        return f"{len(value)} fields"
    return one_line(f"{value:.10g}" if isinstance(value, float) else str(value), 60)


# ---- whose document it is


def _is_ruled(path: str) -> bool:
    """Whether it depends on rules that a version makes, and not on the records alone."""
    return path.startswith("$.verdict") or bool(_RULED.search(path))


def _by_version(other: str) -> Severity:
    """Of what another version may have written so."""
    return "note" if other else "doubtful"


def _read(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, RecursionError):
        return None
