"""Did it go well: calls, iterations and trials that did not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from harness.engine.rules.view import RunView
from harness.schema import CallRecord, Caveat, IterationRecord, TrialRecord
from harness.text import one_line

__all__ = ["ERROR_SHARE_INVALID", "errors", "failures"]

ERROR_SHARE_INVALID: Final = 0.05
"""Beyond one failed call in twenty, even p95 of the survivors says nothing of the whole: failed
calls are mostly the slow ones, and they are missing from exactly that tail."""

MESSAGE_CHARS: Final = 120
REASON_CHARS: Final = 300
"""Of a server's message that a caveat's sentence quotes; its evidence has more."""


def errors(view: RunView) -> Iterator[Caveat]:
    """Calls that are not `ok`, against the spec's bound. An interrupt's cancellations are none."""
    for arm in view.arms:
        judged = view.judged(arm)
        failed = [call for call in judged if call.status != "ok"]
        if not failed:
            continue
        share = len(failed) / len(judged)
        bound = view.manifest.spec.validity.error_share_max
        truncated = sum(call.status == "truncated" for call in failed)
        codes = Counter(call.error.code for call in failed if call.error)
        yield Caveat(
            code="errors",
            severity=_severity(share, bound, truncated),
            message=f"{len(failed)} of {len(judged)} calls ({share:.1%}) are not ok"
            + (f", {truncated} of them truncated streams" if truncated else "")
            + _commonest(failed, codes),
            evidence={
                "share": share,
                "share_max": bound,
                "statuses": dict(Counter(call.status for call in failed)),
                "codes": dict(codes.most_common(10)),
                "example": next((c.error.message[:300] for c in failed if c.error), ""),
            },
            # A run is also found by the beginning of its id.
            remedy=f"harness export {view.manifest.run_id} --format jsonl gives the error of each",
            arm=arm.name,
            cell=arm.cell,
        )


def _commonest(failed: Sequence[CallRecord], codes: Counter[str]) -> str:
    """The commonest error code, with the commonest message under it."""
    if not codes:
        return ""
    code, n = codes.most_common(1)[0]
    messages = Counter(c.error.message for c in failed if c.error and c.error.code == code)
    message = one_line(messages.most_common(1)[0][0], MESSAGE_CHARS)
    mostly = "" if n == len(failed) else f" ({n} of them)"
    return f": {one_line(code, 40)}{mostly}" + (f", {message}" if message else "")


def _severity(share: float, bound: float, truncated: int) -> Literal["note", "doubtful", "invalid"]:
    if share > bound and share > ERROR_SHARE_INVALID:
        return "invalid"
    return "doubtful" if share > bound or truncated else "note"


def failures(view: RunView) -> Iterator[Caveat]:
    """Trials and iterations that ended in an error: what they would have shown is missing."""
    for arm in view.arms:
        failed = list(arm.failures())
        # A run that failed before it measured has said so, with the reason (`incomplete`).
        if not failed or (view.state == "failed" and all(other.is_empty for other in view.arms)):
            continue
        all_failed = not any(item.status == "ok" for item in arm.iterations)
        first = failed[0].error
        reason = f"{first.code}: {one_line(first.message, 300)}" if first else "unknown"
        shown = REASON_CHARS if arm.is_empty else MESSAGE_CHARS  # it is all there is to say
        yield Caveat(
            code="failures",
            severity="invalid" if all_failed else "doubtful",
            message=f"{sum(isinstance(f, TrialRecord) for f in failed)} of {len(arm.trials)} trials"
            f" and {sum(isinstance(f, IterationRecord) for f in failed)} of {len(arm.iterations)} "
            f"measured iterations failed, first with {one_line(reason, shown)}",
            evidence={"first": reason},
            remedy="see to the first failure, then run again",
            arm=arm.name,
            cell=arm.cell,
        )
