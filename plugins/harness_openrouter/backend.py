"""One model at OpenRouter, served by one provider unless it was asked otherwise."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec
from harness_openai.backend import OpenAIBackend
from harness_openai.secret import redacted
from msgspec import Struct

from harness.errors import BackendError, SpecError
from harness.protocols import BackendConfig
from harness.schema import Account, CallRecord, Decoded, Effective, ModelInfo, PriceRecord, Request
from harness.text import as_argument, listed, nearest, one_line, storable, whole_number
from harness_openrouter import accounts, catalog, routing
from harness_openrouter.catalog import Endpoint, Listed
from harness_openrouter.control import OpenRouterControl
from harness_openrouter.decode import with_service
from harness_openrouter.options import OpenRouterOptions
from harness_openrouter.refusals import FREE, wait_s

if TYPE_CHECKING:
    from harness._native.recorder import Record

__all__ = ["OpenRouterBackend"]

log = logging.getLogger("harness.openrouter")

_NOT_TOLD: Final = (
    *("server_version", "size_bytes", "size_vram_bytes", "layers_on_gpu", "model_digest"),
    *("parameters", "disk_bytes", "load_ms"),
)


class _Offer(Struct, frozen=True, kw_only=True):
    """What the service lists of our model."""

    model: Listed
    endpoints: list[Endpoint]
    pinned: Endpoint | None
    key: dict[str, Any]


class OpenRouterBackend(OpenAIBackend):
    """Backend, ListsModels, Reads, Retries and Reconciles of harness.protocols."""

    default_url: ClassVar[str] = "https://openrouter.ai/api/v1"

    def __init__(self, config: BackendConfig) -> None:
        super().__init__(config)
        self.options: OpenRouterOptions = config.options
        self.asked_for = self.model
        suffix = self.model.rpartition(":")[2]
        if self.options.pinned and suffix in ("nitro", "floor"):
            raise SpecError(
                f":{suffix} has the service choose a provider, and one is pinned",
                where="$.backend.model",
                remedy=f"the model without :{suffix}, or -o provider=any",
            )
        if self.model.startswith("@"):
            raise SpecError(
                "a preset chooses models and providers by itself, and may turn the cache on",
                where="$.backend.model",
                remedy="--model AUTHOR/NAME",
            )
        more = {"HTTP-Referer": self.options.http_referer, "X-OpenRouter-Title": self.options.title}
        self._headers = (
            *self._headers,
            ("X-OpenRouter-Metadata", "enabled"),
            ("X-OpenRouter-Cache", "false"),
            *((name, value) for name, value in more.items() if value),
        )
        self._offer: _Offer | None = None
        """As it was when we were opened; the first account of ourselves goes by it."""
        self._not_supported: list[str] = []

    async def open(self) -> None:
        if not self._passive and not self.secret.present:
            name = self.secret.variable or "OPENROUTER_API_KEY"
            raise BackendError(
                f"there is no key in ${name}", where=self.urls[0], remedy=f"export {name}=…"
            )
        async with self._control(self.urls[0]) as control:
            if self._passive and not self.model:
                return
            self._offer = offer = await self._read(control)
            self.model = offer.model.sent_as(canonical=self.options.canonical)
            field = routing.provider_field(self.options, offer.pinned)
            self.features = msgspec.structs.replace(self.features, more={"provider": field})
            self._refuse_unsupported(offer)
            if warning := catalog.low_credit(offer.key):
                log.warning("%s", warning)
            if self.options.probe and not self._passive:
                await self._probe(control)

    async def effective(self) -> Effective:
        offer, self._offer = self._offer, None
        if offer is None and self.asked_for:
            async with self._control(self.urls[0]) as control:
                offer = await self._read(control)
        unknown = dict.fromkeys(_NOT_TOLD, "the service does not tell it")
        if offer is None:
            return Effective(server="openrouter", location="api", unknown=unknown)
        entry, pinned = offer.model.entry, offer.pinned
        if self.options.pinned and pinned is None:
            unknown["provider"] = "the service does not list who serves this model"
        price, unpriced = self._price(offer)
        unknown |= unpriced | self._why_not | self._options_unknown()
        known = pinned.context_length if pinned is not None else None
        context = known or whole_number(entry.get("context_length")) or None
        if context is None:
            unknown["context_length"] = "the service lists none"
        return Effective(
            server="openrouter",
            model=self.model,
            context_length=context,
            quantization=pinned.quantization if pinned is not None else None,
            simulated=entry.get("owned_by") == "harness-sim",
            options=redacted(self._as_sent(), self.secret.redact),
            details=redacted(storable(self._details(offer)), self.secret.redact),
            unknown=unknown,
            not_effective={
                name: f"asked {getattr(self.options, name)!r:.60}, runs without: no provider "
                "supports it"
                for name in self._not_supported
            },
            location="api",
            price=price,
        )

    def decode(self, request: Request, record: Record) -> Decoded:
        decoded = super().decode(request, record)
        return with_service(
            decoded,
            record,
            self.secret.redact,
            model=self.model,
            key=self.secret.variable or "OPENROUTER_API_KEY",
        )

    async def models(self) -> list[ModelInfo]:
        try:
            return await super().models()
        except BackendError as error:
            raise BackendError(error.what, where=error.where, remedy="--url, or later") from None

    # Retries and Reconciles. ------------------------------------------------------------------

    def retry_after_s(self, record: CallRecord) -> float | None:
        return wait_s(record, retries=self.options.retries, most_s=self.options.retry_wait_max_s)

    @property
    def accounts_max(self) -> int:
        return self.options.reconcile

    async def reconcile(self, calls: Sequence[CallRecord]) -> list[Account]:
        async with self._control(self.urls[0]) as control:
            return await accounts.fetch(control, calls, self.secret.redact)

    # ------------------------------------------------------------------------------------------

    def _control(self, url: str) -> OpenRouterControl:
        return OpenRouterControl(url, self.timeouts, self.secret)

    async def _read(self, control: OpenRouterControl) -> _Offer:
        """Raises BackendError for a model or a provider that is not there, and where none is
        pinned."""
        model = self._listed(await control.models() or [])
        endpoints = catalog.endpoints_in(await control.endpoints(model.name))
        pinned = None
        if not self._passive:
            pinned = routing.pinned_endpoint(endpoints, self.options, model.name, self.urls[0])
        key = catalog.key_facts(await control.key()) if self.secret.present else {}
        return _Offer(model=model, endpoints=endpoints, pinned=pinned, key=key)

    def _listed(self, entries: list[dict[str, Any]]) -> Listed:
        found = catalog.listed_model(entries, self.asked_for) if self.asked_for else None
        if found is not None:
            return found
        names = [entry["id"] for entry in entries]
        close = as_argument(nearest(self.asked_for, names) or "") or "AUTHOR/NAME"
        what = (
            f"there is no model {one_line(self.asked_for, 100)!r} among {len(names)}"
            if self.asked_for
            else f"no model is named, and the service has {len(names)}: {listed(names, 4)}"
        )
        raise BackendError(
            what,
            where=self.urls[0],
            remedy=f"--model {close} (harness models --backend openrouter lists them)",
        )

    def _served(self, offer: _Offer) -> list[Endpoint]:
        """Where a call may be answered."""
        if offer.pinned is not None:
            return [offer.pinned]
        return routing.eligible(offer.endpoints, self.options)

    def _refuse_unsupported(self, offer: _Offer) -> None:
        if self._passive:
            return
        missing = routing.unsupported(self.options, self._served(offer))
        if not missing or not self.options.require_parameters:
            self._not_supported = missing
            return
        who = offer.pinned.provider if offer.pinned is not None else "any provider of it"
        raise BackendError(
            f"not supported by {one_line(who, 80)}: {listed(missing)}",
            where=self.urls[0],
            remedy="leave these options out, or -o require_parameters=false (they are then dropped "
            "in silence)",
        )

    def _price(self, offer: _Offer) -> tuple[PriceRecord | None, dict[str, str]]:
        """Today's, of the pinned provider; of several, the highest of each kind."""
        source = f"{self.urls[0]}/models/{offer.model.name}/endpoints"
        pricing: Any = catalog.dearest(self._served(offer))
        if offer.pinned is None and len(offer.endpoints) > 1:
            source += " (the dearest of those that may serve)"
        if not pricing:
            pricing = offer.model.entry.get("pricing")
            source = f"{self.urls[0]}/models"
        pricing = pricing if isinstance(pricing, dict) else {}
        today = datetime.now(UTC).date().isoformat()
        price = catalog.price_of(pricing, self.model, date=today, source=source)
        if price is not None:
            return price, {}
        return None, {"price": f"{source} lists no price per token"}

    def _details(self, offer: _Offer) -> dict[str, Any]:
        entry, pinned = offer.model.entry, offer.pinned
        kept = ("name", "created", "context_length", "pricing", "supported_parameters")
        routed: dict[str, Any] = {"pinned": None, "endpoints": len(offer.endpoints)}
        if self.options.pinned:
            routed["pinned"] = pinned.tag if pinned is not None else self.options.provider
            routed["provider"] = pinned.provider if pinned is not None else None
        found: dict[str, Any] = {
            "listed_as": offer.model.name,
            "canonical_slug": offer.model.canonical,
            "routing": routed,
            "model": {name: entry[name] for name in kept if name in entry},
            "key": offer.key,
        }
        if pinned is not None:
            found["endpoint"] = msgspec.to_builtins(pinned)
        if self.model.endswith(":free"):
            found["limits"] = FREE
        return found

    def _options_unknown(self) -> dict[str, str]:
        values = msgspec.structs.asdict(self.options)
        names = [name for name in _SENT if values.get(name) is None]
        not_sent = {f"options.{name}": "not sent: the provider decides" for name in names}
        return not_sent | {f"options.{n}": why for n, why in self._set_per_call().items()}


_SENT: Final = (
    *("temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty"),
)
