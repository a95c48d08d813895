"""What a call costs, and by which price. Amounts are decimals, as text: a price is exact."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["Cost", "PriceRecord"]


class PriceRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one model cost on one day. A later price is another record; none is ever changed.

    Results have it, so it tolerates what newer versions add; who writes one into a spec or a file
    of prices is told of a field that does not exist (harness.strict)."""

    backend: str
    """The backend that it is for, by its registered name."""
    model: str
    """Exactly as the service names it: nothing is matched by a part of a name."""
    input_usd_per_token: str
    """USD per token of the prompt, a decimal such as `0.00000015`."""
    output_usd_per_token: str
    cached_input_usd_per_token: str | None = None
    """Of prompt tokens that were cached. None: they cost what the others do, or nobody knows."""
    request_usd: str = "0"
    """Of each request, besides its tokens."""
    host: str = ""
    """Only of servers by this name: `api.openai.com`. Empty: of any that speaks to this backend."""
    date: str
    """ISO 8601: the day on which `source` said so."""
    source: str
    """Where, in words or as an address."""


class Cost(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one call cost."""

    usd: str
    source: Literal["provider", "table"]
    """The provider's own account of it; or tokens x a price record."""
    price_date: str = ""
    """`table`: of the record, which the manifest has."""
