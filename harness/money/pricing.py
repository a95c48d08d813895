"""What a call costs by a price, and what it can cost at most."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from harness.money.amounts import added, exact, parse_amount, plain
from harness.schema import CallRecord, Cost, PriceRecord, Usage

__all__ = [
    "call_cost",
    "charge",
    "table_cost",
    "uncosted",
    "was_refused",
    "was_sent",
    "worst_case",
]

_REFUSED: Final = re.compile(r"http\.(4\d\d|503)(\..*)?|connect|timeout.connect|not_sent|budget")
"""Codes of calls for which the server did no work, or that never reached it."""


def call_cost(said_usd: object, usage: Usage, price: PriceRecord | None) -> Cost | None:
    """The provider's own account wins, if it is an amount; then tokens × price; else unknown."""
    said = parse_amount(said_usd)
    if said is not None:
        return Cost(usd=plain(said), source="provider")
    found = table_cost(usage, price) if price is not None else None
    if found is None or price is None:
        return None
    return Cost(usd=plain(found), source="table", price_date=price.date)


def table_cost(usage: Usage, price: PriceRecord) -> Decimal | None:
    """Tokens × price, and what each request costs. None where a count is unknown, or no count.

    Reasoning tokens are output tokens, and not counted twice. Cached tokens are prompt tokens, at
    their own price if there is one; where the server does not speak of any, none were cached.
    """
    prompt, output = _count(usage.prompt_tokens), _count(usage.output_tokens)
    if prompt is None or output is None:
        return None
    cached = 0 if usage.cached_tokens is None else _count(usage.cached_tokens)
    if cached is None or cached > prompt:
        return None
    if price.cached_input_usd_per_token is None:
        cached = 0
    return added(
        (
            exact(Decimal(price.input_usd_per_token), prompt - cached),
            exact(Decimal(price.cached_input_usd_per_token or "0"), cached),
            exact(Decimal(price.output_usd_per_token), output),
            Decimal(price.request_usd),
        )
    )


def worst_case(
    price: PriceRecord, request_bytes: int, max_tokens: int, requests: int = 1
) -> Decimal:
    """The most that requests of so many bytes, all together, can cost. A token of text has at least
    one byte, and a request's JSON more bytes than a chat template adds tokens."""
    dearest = max(
        Decimal(price.input_usd_per_token), Decimal(price.cached_input_usd_per_token or "0")
    )
    return added(
        (
            exact(dearest, request_bytes),
            exact(Decimal(price.output_usd_per_token), max_tokens),
            exact(Decimal(price.request_usd), requests),
        )
    )


def was_sent(call: CallRecord) -> bool:
    """Whether it may have reached the server. Of one that was given up we cannot know."""
    if call.status == "not_sent":
        return False
    return call.instants.sent_ns is not None or call.status == "cancelled"


def was_refused(call: CallRecord) -> bool:
    """Whether the server did nothing for it, by the status that it answered with."""
    code = call.http_status or 0
    ended_so = call.status in ("error", "cancelled")  # the second: while it waited to be sent again
    return ended_so and (400 <= code < 500 or code == 503)


def uncosted(call: CallRecord) -> int:
    """How many requests of this call may have cost something that nobody knows. A server that was
    not told to stop may go on at our expense, so a timeout is one; an attempt that was refused, or
    never got there, is none."""
    tried = sum(1 for error in call.earlier if not _REFUSED.fullmatch(error.code))
    unknown = call.cost is None and was_sent(call) and not was_refused(call)
    return tried + unknown


def charge(call: CallRecord, price: PriceRecord | None) -> Decimal:
    """What a budget has to count for a call that has ended: its cost, and the most that those of
    its requests can have cost of which it is unknown."""
    own = Decimal(call.cost.usd) if call.cost is not None else Decimal(0)
    times = uncosted(call)
    if price is None or not times:
        return own
    size, tokens = call.request_bytes or 0, call.max_tokens or 0
    return added((own, worst_case(price, times * size, times * tokens, times)))


def _count(tokens: int | None) -> int | None:
    return tokens if tokens is not None and 0 <= tokens < 2**63 else None
