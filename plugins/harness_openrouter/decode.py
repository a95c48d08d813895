"""What a response of this service has beside OpenAI's: headers, cost, routing, a cache.

The stream itself is read by the `openai` backend. `server` of the call then has `provider` and
`openrouter_metadata` as they were sent, and `headers`: those of the response that say something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from harness.schema import CallError, Decoded
from harness.text import one_line
from harness_openrouter.catalog import amount, exact_object
from harness_openrouter.refusals import explained

if TYPE_CHECKING:
    from harness._native.recorder import Record

__all__ = ["CACHE_HIT", "served_by", "with_service"]

CACHE_HIT: Final = "cache_hit"
_KEPT: Final = ("retry-after", "x-generation-id", "x-openrouter-cache-status")
_KEPT_PREFIX: Final = "x-ratelimit-"
_LAST_PAYLOADS: Final = 8
"""The usage is in the last message, or near it."""


def with_service(
    decoded: Decoded, record: Record, redact: Callable[[str], str], *, model: str, key: str
) -> Decoded:
    """`decoded`, of the `openai` backend, with all that this service adds. Never raises."""
    headers = _headers(record.head, redact)
    if headers:
        decoded.server["headers"] = headers
    decoded.cost_usd = _cost_usd(record)
    if headers.get("x-openrouter-cache-status", "").upper() == "HIT":
        decoded.error = CallError(
            code=CACHE_HIT,
            message="the service replayed an earlier answer from its cache, though it was told not "
            "to: nothing was measured (try: a preset without a cache)",
        )
    elif decoded.error is not None and decoded.error.code.startswith(("http.", "stream")):
        raw = decoded.server.get("error")
        decoded.error = explained(decoded.error, record.http_status, raw, headers, model, key)
    return decoded


def served_by(server: Mapping[str, Any]) -> str | None:
    """The provider that answered, by the name that the response gives it."""
    name = server.get("provider")
    if isinstance(name, str) and name:
        return name
    metadata = server.get("openrouter_metadata")
    endpoints = metadata.get("endpoints") if isinstance(metadata, dict) else None
    available = endpoints.get("available") if isinstance(endpoints, dict) else None
    for one in available if isinstance(available, list) else ():
        if isinstance(one, dict) and one.get("selected") is True:
            found = one.get("provider")
            return found if isinstance(found, str) and found else None
    return None


def _headers(head: bytes, redact: Callable[[str], str]) -> dict[str, str]:
    found = {}
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.decode("latin-1").partition(":")
        name = name.strip().lower()
        if colon and (name in _KEPT or name.startswith(_KEPT_PREFIX)):
            found[one_line(name, 60)] = redact(one_line(value, 200))
    return found


def _cost_usd(record: Record) -> str | None:
    """As the service wrote it, digit for digit. Own keys of providers (BYOK) are paid apart: what
    the service says of that is added."""
    for payload in reversed(record.payloads()[-_LAST_PAYLOADS:]):
        if b'"cost"' not in payload:
            continue
        usage = (exact_object(payload) or {}).get("usage")
        if not isinstance(usage, dict):
            continue
        cost = amount(usage.get("cost"))
        details = usage.get("cost_details")
        if cost is not None and usage.get("is_byok") is True and isinstance(details, dict):
            cost += amount(details.get("upstream_inference_cost")) or 0
        return None if cost is None else format(cost, "f")
    return None
