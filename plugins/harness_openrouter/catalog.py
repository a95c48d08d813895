"""What the service lists: a model, who serves it, at which price; and what the key may still spend.

All of it is a stranger's JSON: what is not of the expected type is unknown. Amounts are decimals,
never floats: prices are USD per single token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from harness.control import NOT_JSON
from harness.schema import PriceRecord
from harness.text import storable, whole_number

__all__ = [
    "Endpoint",
    "Listed",
    "amount",
    "dearest",
    "endpoints_in",
    "exact_object",
    "key_facts",
    "listed_model",
    "low_credit",
    "price_of",
]

KEY_FACTS: Final = (
    *("limit", "limit_remaining", "limit_reset", "usage", "usage_daily", "usage_monthly"),
    *("byok_usage", "is_free_tier", "is_provisioning_key"),
)
"""Of /key. Its label holds a part of the key."""
LOW_USD: Final = Decimal(1)
_DIGITS_MAX: Final = 40
_VARIANTS: Final = ("nitro", "floor")
"""Suffixes that choose how to route, and are no models of their own."""

_exact = msgspec.json.Decoder(float_hook=str)


class Endpoint(Struct, frozen=True, kw_only=True):
    """One way in which one provider serves the model."""

    tag: str
    """The slug that requests route by, such as `deepinfra/fp8`."""
    provider: str
    """The name that responses give it."""
    quantization: str | None
    context_length: int | None
    max_output_tokens: int | None
    supported: tuple[str, ...] | None
    pricing: dict[str, Any]

    @property
    def slug(self) -> str:
        """Of the provider, whichever way it serves."""
        return self.tag.partition("/")[0]

    def answers_to(self, name: str) -> bool:
        wanted = _plain(name)
        return wanted in (_plain(self.tag), _plain(self.slug), _plain(self.provider))


class Listed(Struct, frozen=True, kw_only=True):
    """The model as the list has it."""

    name: str
    """As it is listed, without a suffix that routes …"""
    suffix: str
    """… which is here, with its colon."""
    canonical: str | None
    entry: dict[str, Any] = field(default_factory=dict)

    def sent_as(self, *, canonical: bool) -> str:
        """The name to ask for it by. `:free` is a variant of the canonical model."""
        variant = self.name.partition(":")[2]
        if not canonical or self.canonical is None:
            return self.name + self.suffix
        has_it = not variant or self.canonical.endswith(f":{variant}")
        return self.canonical + ("" if has_it else f":{variant}") + self.suffix


def listed_model(entries: Iterable[dict[str, Any]], model: str) -> Listed | None:
    """None: there is none of that name."""
    base, colon, suffix = model.rpartition(":")
    routed = bool(colon) and suffix in _VARIANTS
    name = base if routed else model
    for entry in entries:
        slug = entry.get("canonical_slug")
        if name in (entry["id"], slug):
            return Listed(
                name=entry["id"],
                suffix=f":{suffix}" if routed else "",
                canonical=slug if isinstance(slug, str) and slug else None,
                entry=entry,
            )
    return None


def endpoints_in(data: Mapping[str, Any] | None) -> list[Endpoint]:
    """In the order of the list; those without a name to route by are left out."""
    found = data.get("endpoints") if data else None
    every = [_endpoint(one) for one in found or () if isinstance(one, dict)] if _is(found) else []
    return [one for one in every if one is not None]


def _endpoint(one: dict[str, Any]) -> Endpoint | None:
    tag, provider = one.get("tag"), one.get("provider_name")
    tag = tag if isinstance(tag, str) and tag else provider
    if not isinstance(tag, str) or not tag:
        return None
    supported, pricing = one.get("supported_parameters"), one.get("pricing")
    known = one.get("quantization")
    return Endpoint(
        tag=tag,
        provider=provider if isinstance(provider, str) and provider else tag,
        quantization=known if isinstance(known, str) and known not in ("", "unknown") else None,
        context_length=whole_number(one.get("context_length")),
        max_output_tokens=whole_number(one.get("max_completion_tokens")),
        supported=tuple(name for name in supported if isinstance(name, str))
        if isinstance(supported, list)
        else None,
        pricing=pricing if isinstance(pricing, dict) else {},
    )


def _is(found: Any) -> bool:
    return isinstance(found, list)


def _plain(name: str) -> str:
    return name.strip().casefold().replace(" ", "-")


# ------------------------------------------------------------------------------------------- money


def amount(value: Any) -> Decimal | None:
    """USD, from text or a whole number; None for what is no amount of money."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        return None
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    if not found.is_finite() or found < 0 or abs(found.adjusted()) > _DIGITS_MAX:
        return None
    return found if len(found.as_tuple().digits) <= _DIGITS_MAX else None


def price_of(
    pricing: Mapping[str, Any], model: str, *, date: str, source: str
) -> PriceRecord | None:
    """None where the list has no price per token (a router's own models say -1)."""
    prompt, completion = amount(pricing.get("prompt")), amount(pricing.get("completion"))
    cached, request = amount(pricing.get("input_cache_read")), amount(pricing.get("request"))
    if prompt is None or completion is None:
        return None
    return PriceRecord(
        backend="openrouter",
        model=model,
        input_usd_per_token=format(prompt, "f"),
        output_usd_per_token=format(completion, "f"),
        cached_input_usd_per_token=None if cached is None else format(cached, "f"),
        request_usd=format(request or Decimal(0), "f"),
        date=date,
        source=source,
    )


def dearest(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The highest price of each kind among them: nobody knows which of them serves a call."""
    kinds = dict.fromkeys(kind for one in endpoints for kind in one.pricing)
    found = {kind: [amount(one.pricing.get(kind)) for one in endpoints] for kind in kinds}
    priced = {kind: [one for one in each if one is not None] for kind, each in found.items()}
    return {kind: format(max(each), "f") for kind, each in priced.items() if each}


def key_facts(data: Mapping[str, Any] | None) -> dict[str, Any]:
    """Limit and usage of the key, and nothing by which to know it."""
    kept = {name: data[name] for name in KEY_FACTS if name in data} if data else {}
    return {name: storable(value) for name, value in kept.items() if value is not None}


def low_credit(facts: Mapping[str, Any]) -> str:
    """What to warn of; empty: nothing."""
    left = facts.get("limit_remaining")
    known = amount(str(left)) if isinstance(left, int | float) else None
    negative = isinstance(left, int | float) and left <= 0
    if negative or (known is not None and known < LOW_USD):
        return f"the key may spend {max(left or 0, 0):.4g} USD more before requests are refused"
    return ""


def exact_object(content: bytes) -> dict[str, Any] | None:
    """The JSON object that `content` is, numbers with a fraction as text, digit for digit."""
    try:
        found = _exact.decode(content)
    except NOT_JSON:
        return None
    return found if isinstance(found, dict) else None
