"""Errors of the service: what each means, what to do about it, and when to try again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from harness.schema import CallError, CallRecord
from harness.text import one_line

__all__ = ["REFUSED_FOR_A_WHILE", "explained", "remedy_for", "wait_s"]

REFUSED_FOR_A_WHILE: Final = ("http.429", "http.503")
FIRST_WAIT_S: Final = 1.0
"""Where the service names none; doubled with each attempt."""

CREDITS: Final = "https://openrouter.ai/settings/credits"
_REMEDIES: Final = {
    400: "the message names the field; -o extra={} and fewer options",
    401: "check the key in ${key}: https://openrouter.ai/settings/keys",
    402: f"add credit ({CREDITS}), raise the limit of the key, or lower --max-tokens",
    403: "the provider's moderation refused the prompt, or the key may not do this",
    404: "no provider is left by the routing options: -o provider=NAME with another one",
    408: "the provider took too long: another -o provider, or a shorter prompt",
    429: "a lower --rate or --concurrency; -o retries=5",
    502: "the provider failed: another -o provider, or later",
    503: "no provider that the routing allows is there: another -o provider, or later",
}
FREE: Final = "models with :free take 20 requests a minute, and 50 a day (1,000 with 10 credits)"


def remedy_for(status: int, *, key: str) -> str:
    return _REMEDIES.get(status, "https://status.openrouter.ai says more").replace("{key}", key)


def explained(
    error: CallError, status: int | None, raw: Any, headers: Mapping[str, str], model: str, key: str
) -> CallError:
    """The error, with who refused, by which limit, and what to try. `raw`: as the service sent it,
    in the stream or as the body."""
    details = raw if isinstance(raw, dict) else {}
    code = details.get("code")
    number = code if isinstance(code, int) and not isinstance(code, bool) else status
    said = [error.message, _upstream(details.get("metadata")), _limits(headers)]
    if number == 429 and model.endswith(":free"):
        said.append(FREE)
    message = "; ".join(one_line(part, 400) for part in said if part)
    remedy = _REMEDIES.get(number or 0)
    if remedy is not None:
        message += f" (try: {remedy_for(number or 0, key=key)})"
    return CallError(code=error.code, message=one_line(message, 900))


def _upstream(metadata: Any) -> str:
    """The provider's own words, where it was the one that refused."""
    if not isinstance(metadata, dict):
        return ""
    names = ("provider_name", "error_type", "provider_code", "raw", "reasons")
    found = [f"{name}: {metadata[name]}" for name in names if metadata.get(name)]
    return one_line(", ".join(found), 300)


def _limits(headers: Mapping[str, str]) -> str:
    limit, left = (headers.get(f"x-ratelimit-{name}") for name in ("limit", "remaining"))
    found = []
    if limit is not None:
        found.append(f"limit {limit}, {left or '?'} left")
    if "retry-after" in headers:
        found.append(f"retry after {headers['retry-after']} s")
    return ", ".join(found)


def wait_s(record: CallRecord, *, retries: int, most_s: float) -> float | None:
    """Seconds until the call may be sent again; None: it has failed. The service's own word comes
    first, then when its limit is lifted, then a wait that doubles."""
    refused = record.error is not None and record.error.code in REFUSED_FOR_A_WHILE
    if not refused or record.content_chunks or record.attempts > retries:
        return None
    headers = record.server.get("headers")
    headers = headers if isinstance(headers, dict) else {}
    for found in (_number(headers.get("retry-after")), _until_reset_s(record, headers)):
        if found is not None:
            return found if found <= most_s else None
    return min(FIRST_WAIT_S * 2.0 ** (record.attempts - 1), most_s)


def _until_reset_s(record: CallRecord, headers: Mapping[str, Any]) -> float | None:
    """By the wall clock of this machine, which is near enough to the service's for that. None where
    that is over by now: then it is not what holds us up, or a clock is wrong."""
    reset_ms = _number(headers.get("x-ratelimit-reset"))
    closed_ns, offset_ns = record.instants.closed_ns, record.realtime_offset_ns
    if reset_ms is None or closed_ns is None or offset_ns is None:
        return None
    left_s = reset_ms / 1e3 - (closed_ns + offset_ns) / 1e9
    return left_s if left_s > 0 else None


def _number(text: Any) -> float | None:
    """A date, which Retry-After may also be, is none: then the wait is ours to choose."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) and value >= 0 else None
