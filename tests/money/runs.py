"""Runs whose calls cost something: a scripted backend, with prices and a provider's own account."""

from __future__ import annotations

import msgspec

import harness
from harness.schema import Effective, PriceRecord, Request, Usage
from harness.testing import ScriptedBackend, run_scripted

PRICE = {
    "backend": "paid",
    "model": "m",
    "input_usd_per_token": "0.000001",
    "output_usd_per_token": "0.000002",
    "date": "2026-01-01",
    "source": "the test",
}
PRICED = {"backend": {"name": "paid", "model": "m"}, "prices": [PRICE]}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    location: str | None = "api"
    fetched: dict | None = None
    prompt_tokens: int | None = 10


class PaidBackend(ScriptedBackend):
    """Says what its calls cost, where the answer's last line does: {"end": true, "cost": "0.01"}.
    It counts prompt tokens."""

    def __init__(self, config):
        super().__init__(config, url="http://paid.invalid/")
        options = config.options
        price = msgspec.convert(options.fetched, PriceRecord) if options.fetched else None
        self.effective_ = Effective(
            server="paid", model=config.model, location=options.location, price=price
        )

    def decode(self, request, record):
        decoded = super().decode(request, record)
        for payload in record.payloads():
            try:
                line = msgspec.json.decode(payload)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if isinstance(line, dict) and line.get("end"):
                decoded.usage = Usage(
                    prompt_tokens=self.config.options.prompt_tokens,
                    output_tokens=line.get("tokens"),
                    cached_tokens=line.get("cached"),
                )
                decoded.cost_usd = line.get("cost")
        return decoded


class NoOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Bare:
    def __init__(self, config):
        pass

    def requests(self, context):
        while True:
            yield Request(messages=({"role": "user", "content": "go on"},))


class plugin:  # noqa: N801  (stands for a module)
    @staticmethod
    @harness.hookimpl
    def harness_register_backends(registry):
        registry.add("paid", PaidBackend, options=Options, summary="calls that cost something")

    @staticmethod
    @harness.hookimpl
    def harness_register_scenarios(registry):
        registry.add("bare", Bare, options=NoOptions, summary="leaves the length of answers open")


def paid(raw=None, answers=None, **more):
    """A run of `load` against it."""
    base = {
        "scenario": {"name": "load", "options": {"max_tokens": 16}},
        "load": {"mode": "closed", "requests": 4, "concurrency": 1},
        "iterations": {"warmup": 1, "measured": 1},
        **PRICED,
    }
    return run_scripted({**base, **(raw or {}), **more}, plugin=plugin, answers=answers)
