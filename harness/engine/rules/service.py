"""What is special to a service of somebody else: it refuses calls for a while, and keeps books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from harness.engine.rules.view import RunView
from harness.schema import Account, Caveat
from harness.text import one_line

__all__ = ["account_mismatch", "retried"]

SHOWN: Final = 3


def retried(view: RunView) -> Iterator[Caveat]:
    """Calls that were refused for a while and sent again. They are in no figure of time but those
    of the whole iteration, which hold the waits."""
    for arm in view.arms:
        again = [call for call in arm.calls if call.attempts > 1]
        if not again:
            continue
        codes = Counter(error.code for call in again for error in call.earlier)
        (code, _), *_ = codes.most_common(1) or [("", 0)]
        ok = sum(call.status == "ok" for call in again)
        yield Caveat(
            code="retried",
            severity="note",
            message=f"{len(again)} of {len(arm.calls)} calls were sent again, because the server "
            f"had refused them for a while ({one_line(code, 40)}); {ok} of them came through. No "
            "latency is derived from them, but wall times and throughput hold the waits",
            evidence={
                "calls": len(again),
                "of": len(arm.calls),
                "ok": ok,
                "attempts_max": max(call.attempts for call in again),
                "codes": dict(codes.most_common(10)),
                "example": again[0].call_id,
            },
            remedy="a lower --rate or --concurrency, within the limits of the service; -o "
            "retries=0 lets such calls fail",
            arm=arm.name,
            cell=arm.cell,
        )


def account_mismatch(view: RunView) -> Iterator[Caveat]:
    """The service's books say otherwise than its responses did."""
    for arm in view.arms:
        accounts = [one for iteration in arm.iterations for one in iteration.accounts]
        wrong = [one for one in accounts if one.disagrees]
        if not wrong:
            continue
        figures = Counter(name for one in wrong for name in one.disagrees)
        known = [one for one in accounts if not one.unknown]
        yield Caveat(
            code="account-mismatch",
            severity="doubtful",
            message=f"of {len(wrong)} of {len(known)} calls that it was asked about afterwards, "
            f"the service's own account is another than its response was: {_example(wrong[0])}",
            evidence={
                "calls": len(wrong),
                "asked": len(accounts),
                "unknown": len(accounts) - len(known),
                "figures": dict(figures),
                "examples": {one.call_id: one.disagrees for one in wrong[:SHOWN]},
            },
            remedy="the account is what is paid: take tokens and cost from it "
            "(`accounts` of the iterations), and report it to the service",
            arm=arm.name,
            cell=arm.cell,
        )


def _example(account: Account) -> str:
    said = [
        f"{one_line(name, 40)}: {one_line(how, 100)}" for name, how in account.disagrees.items()
    ]
    return f"{'; '.join(said)} ({account.call_id})"
