"""What OpenRouter has beside the stream: providers to route to, prices, keys, and books.

One model, served by the `providers` of the spec. A request goes to the first of them that its own
`provider` field allows; where it leaves them all, they take turns. What each answer really was is
in the books, whatever fault befell its usage on the way, and `/generation` reads from them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qs

from msgspec import Struct

from harness.testing.sim.asked import Asked
from harness.testing.sim.spec import SimSpec
from harness.testing.sim.timeline import Timeline

__all__ = ["Books", "Route", "canonical_slug", "rate_limit_headers", "usd"]

KEPT: Final = 10_000
"""Answers in the books."""
PREFIXES: Final = ("/api/v1", "/v1")
SUPPORTED: Final = (
    *("frequency_penalty", "logprobs", "max_tokens", "presence_penalty", "reasoning"),
    *("response_format", "seed", "stop", "temperature", "top_k", "top_p"),
)
PER_MINUTE: Final = 20


class Route(Struct, frozen=True, kw_only=True):
    """Where one request goes."""

    provider: str
    """By its name."""
    metadata: dict[str, Any]
    """How that came about, for who asked to know."""


def canonical_slug(spec: SimSpec) -> str:
    """The name of the model that never changes."""
    return f"{spec.model}-20260101"


def usd(amount: float) -> str:
    """A decimal without an exponent."""
    return format(Decimal(repr(amount)), "f")


def rate_limit_headers(now_ms: int) -> tuple[str, ...]:
    """Of a request that came too soon."""
    reset = now_ms - now_ms % 60_000 + 60_000
    return (
        f"X-RateLimit-Limit: {PER_MINUTE}",
        "X-RateLimit-Remaining: 0",
        f"X-RateLimit-Reset: {reset}",
    )


class Books:
    """Of one server."""

    def __init__(self, spec: SimSpec) -> None:
        self._spec = spec
        self._accounts: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._asked: dict[str, int] = {}
        self.spent_usd = Decimal(0)

    @property
    def used_up(self) -> bool:
        limit = self._spec.credit_usd
        return limit is not None and self.spent_usd >= Decimal(repr(limit))

    def route(self, asked: Asked, ordinal: int) -> Route | None:
        """None: no provider is left by what the request allows."""
        tags, wanted = self._spec.providers, asked.provider
        only, ignored, order = (_names(wanted.get(name)) for name in ("only", "ignore", "order"))
        allowed = [
            tag
            for tag in tags
            if (only is None or _is_any(tag, only)) and not _is_any(tag, ignored or ())
        ]
        if not allowed:
            return None
        tag = allowed[(ordinal - 1) % len(allowed)]
        for name in reversed(order or ()):
            tag = next((one for one in allowed if _is_any(one, (name,))), tag)
        available = [
            {"provider": _name(one), "model": self._spec.model, "selected": one == tag}
            for one in allowed
        ]
        metadata = {
            "requested": asked.model,
            "strategy": "direct",
            "region": None,
            "attempt": 1,
            "is_byok": False,
            "endpoints": {"total": len(tags), "available": available},
            "attempts": [{"provider": _name(tag), "model": self._spec.model, "status": 200}],
            "summary": f"available={len(allowed)}, selected={_name(tag)}",
        }
        return Route(provider=_name(tag), metadata=metadata)

    def note(self, ident: str, asked: Asked, timeline: Timeline, provider: str) -> None:
        """What an answer is, and costs."""
        prompt, output = timeline.prompt_tokens, timeline.output_tokens
        cost = (prompt + output) * self._spec.cost_usd_per_token
        self.spent_usd += Decimal(repr(cost))
        reason = "stop" if timeline.stopped else "length"
        self._accounts[ident] = {
            "id": ident,
            "model": canonical_slug(self._spec),
            "provider_name": provider,
            "streamed": asked.stream,
            "cancelled": False,
            "finish_reason": reason,
            "native_finish_reason": reason,
            "latency": round(timeline.prompt_ns / 1e6),
            "generation_time": round((timeline.end_ns - timeline.start_ns) / 1e6),
            "tokens_prompt": prompt,
            "tokens_completion": output,
            "native_tokens_prompt": prompt,
            "native_tokens_completion": output,
            "native_tokens_reasoning": timeline.reasoning_tokens,
            "native_tokens_cached": timeline.cached_tokens,
            "total_cost": cost,
            "usage": cost,
            "is_byok": False,
        }
        while len(self._accounts) > KEPT:
            gone, _ = self._accounts.popitem(last=False)
            self._asked.pop(gone, None)

    def answer(self, method: str, path: str, query: str) -> tuple[int, object] | None:
        """(status, body) of what is asked of the API beside text; None: it is none of this."""
        prefix = next((one for one in PREFIXES if path.startswith(f"{one}/")), None)
        if method != "GET" or prefix is None:
            return None
        path, slugs = path.removeprefix(prefix), (self._spec.model, canonical_slug(self._spec))
        if path in (f"/models/{slug}/endpoints" for slug in slugs):
            return 200, {"data": self._endpoints()}
        if path.startswith("/models/"):
            return 404, {"error": {"code": 404, "message": "No such model"}}
        if path == "/key":
            return 200, {"data": self._key()}
        if path == "/generation":
            return self._generation(next(iter(parse_qs(query).get("id", ())), ""))
        return None

    def model(self) -> dict[str, Any]:
        """Of the list of models."""
        return {
            "canonical_slug": canonical_slug(self._spec),
            "name": f"harness-sim: {self._spec.model}",
            "context_length": self._spec.context_length,
            "pricing": self._pricing(),
            "supported_parameters": list(SUPPORTED),
            "top_provider": {
                "context_length": self._spec.context_length,
                "max_completion_tokens": None,
                "is_moderated": False,
            },
        }

    # ------------------------------------------------------------------------------------------

    def _pricing(self) -> dict[str, str]:
        each = usd(self._spec.cost_usd_per_token)
        return {"prompt": each, "completion": each, "request": "0", "image": "0"}

    def _endpoints(self) -> dict[str, Any]:
        found = [
            {
                "name": f"{_name(tag)} | {self._spec.model}",
                "model_name": self._spec.model,
                "provider_name": _name(tag),
                "tag": tag,
                "quantization": tag.partition("/")[2] or "unknown",
                "context_length": self._spec.context_length,
                "max_completion_tokens": None,
                "pricing": self._pricing(),
                "supported_parameters": list(SUPPORTED),
                "status": 0,
            }
            for tag in self._spec.providers
        ]
        return {"id": self._spec.model, "name": self._spec.model, "endpoints": found}

    def _key(self) -> dict[str, Any]:
        limit, spent = self._spec.credit_usd, float(self.spent_usd)
        return {
            "label": "sk-or-v1-sim...sim",
            "limit": limit,
            "limit_remaining": None if limit is None else limit - spent,
            "usage": spent,
            "is_free_tier": False,
        }

    def _generation(self, ident: str) -> tuple[int, object]:
        account = self._accounts.get(ident)
        if account is not None:
            self._asked[ident] = times = self._asked.get(ident, 0) + 1
            if times > self._spec.account_delay:
                return 200, {"data": account}
        return 404, {"error": {"code": 404, "message": f"Generation {ident[:100]} not found"}}


def _name(tag: str) -> str:
    return tag.partition("/")[0].replace("-", " ").title()


def _is_any(tag: str, names: Iterable[str]) -> bool:
    base = tag.partition("/")[0]
    return any(name.lower() in (tag.lower(), base.lower()) for name in names)


def _names(value: Any) -> list[str] | None:
    if not isinstance(value, list):
        return None
    return [one for one in value if isinstance(one, str)]
