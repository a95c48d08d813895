"""When a call that a server refused for a while is sent once more, and why it was refused."""

from __future__ import annotations

import contextlib
from typing import Final

from harness.protocols import Backend, Retries
from harness.schema import CallError, CallRecord

__all__ = ["again_after_s", "reasons"]

ATTEMPTS_MAX: Final = 10
"""Of one call, whatever its backend says."""
WAIT_MAX_S: Final = 120.0
"""Between two of them."""


def again_after_s(backend: Backend, record: CallRecord) -> float | None:
    """How long to wait before this call is sent once more; None: it is over."""
    failed = record.status in ("error", "timeout", "truncated")
    if not failed or record.attempts >= ATTEMPTS_MAX or not isinstance(backend, Retries):
        return None
    with contextlib.suppress(Exception):  # a stranger's backend: then this is how it ended
        wait_s = backend.retry_after_s(record)
        return None if wait_s is None else min(max(0.0, wait_s), WAIT_MAX_S)
    return None


def reasons(record: CallRecord) -> tuple[CallError, ...]:
    """Why each attempt until now failed."""
    unknown = CallError(code=record.status)
    return (*record.earlier, record.error or unknown)
