"""What a service says of some calls afterwards, beside what it said in their responses.

A response tells what it cost and how many tokens it was; the service's own books say it again, and
are what is paid. Asking takes requests of its own, so it waits until no call is under way and every
instant of the iteration is taken, and is bounded in number and in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from harness.engine.token_checks import CallSample
from harness.protocols import Backend, Reconciles
from harness.schema import Account, CallRecord

__all__ = ["account_sample", "accounts_of"]

PATIENCE_S: Final = 45.0
"""Of an iteration, for all of its accounts."""


def account_sample(backend: Backend) -> CallSample | None:
    """For the calls of an iteration; None where there is nobody to ask. Calls that failed after the
    model had begun are among them: they may have been paid for."""
    if not isinstance(backend, Reconciles) or backend.accounts_max < 1:
        return None
    return CallSample(
        backend.accounts_max, wanted=lambda call: call.status == "ok" or call.content_chunks > 0
    )


async def accounts_of(
    backend: Backend, calls: Sequence[CallRecord], over: asyncio.Event
) -> tuple[Account, ...]:
    """One for each of `calls`, in their order; those that nobody could tell say why. Ends early
    when `over` is set. Raises nothing but CancelledError: the iteration is measured."""
    if not calls or not isinstance(backend, Reconciles):
        return ()
    asked = asyncio.ensure_future(backend.reconcile(calls))
    ended = asyncio.ensure_future(over.wait())
    try:
        await asyncio.wait((asked, ended), timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        return _found(asked, ended.done(), calls)
    finally:
        asked.cancel()
        ended.cancel()
        await asyncio.wait((asked, ended))


def _found(
    asked: asyncio.Future[Sequence[Account]], interrupted: bool, calls: Sequence[CallRecord]
) -> tuple[Account, ...]:
    if not asked.done():
        why = "the run was interrupted" if interrupted else f"no answer within {PATIENCE_S:g} s"
    elif (error := asked.exception()) is not None:  # a stranger's backend
        why = f"{type(error).__name__}: {error}"[:300]
    elif [one.call_id for one in asked.result()] == [call.call_id for call in calls]:
        return tuple(asked.result())
    else:
        why = "the backend answered of other calls than it was asked about"
    return tuple(Account(call_id=call.call_id, unknown=why) for call in calls)
