"""What the truth server is to do. A spec file for `harness sim` holds these fields."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from msgspec import Meta, Struct

from harness.errors import SpecError
from harness.strict import decode
from harness.testing.sim.laws import Constant, Drawn, Law, Replay, plain_law

__all__ = ["FAULTS", "Dialect", "Fault", "FaultKind", "SimSpec", "fault_from", "sim_spec"]

Dialect: TypeAlias = Literal[
    "openai", "vllm", "sglang", "llamacpp", "transformers", "ollama", "openrouter", "deepseek"
]
FaultKind: TypeAlias = Literal[
    "refuse",
    "reset_before",
    "reset_mid",
    "stall_before",
    "stall_mid",
    "trickle",
    "truncated_chunk",
    "close_mid",
    "no_end",
    "error_mid",
    "http_400",
    "http_429",
    "http_500",
    "http_503",
    "http_status",
    "cache_hit",
    "malformed_json",
    "long_line",
    "invalid_utf8",
    "line_separators",
    "empty_chunks",
    "comments_only",
    "wrong_usage",
    "duplicate_done",
    "hostile_text",
]
FAULTS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)

Whole: TypeAlias = Annotated[int, Meta(ge=1)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something that goes wrong, and with which requests. Exactly one of `rate`, `requests` and
    `match` is given."""

    kind: FaultKind
    rate: Share | None = None
    """Share of the requests, drawn from the seed and the request's number; those of all faults
    together are 1 at most."""
    requests: tuple[Whole, ...] = ()
    """By number: 1 is the first that asks for text. Probes and warm-ups count."""
    match: str | None = None
    """Those whose prompt contains this text."""
    at: Annotated[float, Meta(ge=0, lt=1)] = 0.5
    """How far into the content it happens, for the kinds that happen in mid-stream."""
    for_ms: Annotated[float, Meta(ge=0)] = 200.0
    """refuse: how long nothing listens."""
    step_ms: Annotated[float, Meta(gt=0)] = 0.1
    """trickle: between two bytes."""
    status: Annotated[int, Meta(ge=400, le=599)] = 502
    """http_status."""
    retry_after_s: Annotated[int, Meta(ge=0)] = 1
    """Of a 429 or a 503: the header."""

    def __post_init__(self) -> None:
        given = (self.rate is not None) + bool(self.requests) + (self.match is not None)
        if given != 1:
            raise ValueError("give exactly one of `rate`, `requests` and `match`")
        if self.match == "":
            raise ValueError("`match` is empty")


class SimSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All times are in ms; a law may be written short: `50`, `uniform:40,60`, `lognormal:50,10`
    (mean and standard deviation), `gamma:50,10`, `replay:RUN` (`ttft` and `gap`: replay.py)."""

    dialect: Dialect = "openai"
    """How /v1 speaks; /api always speaks as Ollama 0.30 and later."""
    model: str = "sim"
    ttft: Law = Constant(ms=50)
    """From when a request's turn comes (its slot is free, the model loaded, the prompt read) to the
    first chunk with content."""
    gap: Law = Constant(ms=10)
    """Between two chunks with content."""
    shared_tok_s: Annotated[float, Meta(gt=0)] | None = None
    """All streams that are decoding share this many tokens a second equally; none goes faster than
    `gap` (its mean) has it alone. None: they do not slow each other down."""
    prefill_tok_s: Annotated[float, Meta(gt=0)] | None = None
    """Reading the prompt takes its (uncached) tokens over this rate, before `ttft`. None: no
    time."""
    tokens_per_chunk: Whole = 1
    output_tokens: Whole = 64
    """Where the request sets no bound."""
    stop_after: Whole | None = None
    """The model ends by itself after this many tokens, if the bound is not reached before."""
    reasoning_tokens: Annotated[int, Meta(ge=0)] = 0
    """The first of the output tokens are reasoning."""
    slots: Whole | None = None
    """Requests answered at a time, as OLLAMA_NUM_PARALLEL; the others wait in order. None: all."""
    queue_max: Annotated[int, Meta(ge=0)] | None = None
    """Requests that may wait; one more gets 503. None: any number."""
    load: Drawn = Constant(ms=0)
    """Time to load the model: at the first request to /api, after it was unloaded, and when an
    option that needs a reload changes."""
    unload: Drawn = Constant(ms=0)
    """From when an unload is answered until the model is out of memory: until then /api/ps still
    shows it, and another load has to wait."""
    prompt_cache: bool = False
    """Prompts share their prefixes (word by word) with those of the last 64 requests."""
    cached_tokens_shown: bool = False
    """vllm, sglang: as with --enable-prompt-tokens-details, --enable-cache-report."""
    context_length: Whole = 4096
    """A longer prompt is cut (Ollama, which may be given another `num_ctx`) or refused."""
    size_bytes: Whole = 1_073_741_824
    cost_usd_per_token: Annotated[float, Meta(ge=0)] = 1e-6
    """openrouter: of the prompt and of the answer alike."""
    providers: Annotated[tuple[str, ...], Meta(min_length=1)] = ("harness-sim",)
    """openrouter: who serves the model, by their slugs, such as `alpha` or `alpha/fp8`."""
    credit_usd: Annotated[float, Meta(ge=0)] | None = None
    """openrouter: of the key; once it is spent, requests get 402. None: no limit."""
    account_delay: Annotated[int, Meta(ge=0)] = 0
    """openrouter: so many times that /generation is asked of an answer, it does not know it yet."""
    comments: Annotated[int, Meta(ge=0)] = 1
    """openrouter, deepseek: comment lines before the first token."""
    faults: tuple[Fault, ...] = ()
    """The first that concerns a request happens to it; at most one rate does."""
    seed: int = 0
    """Fixes every draw, by the request's number."""

    def __post_init__(self) -> None:
        if self.shared_tok_s is not None and isinstance(self.gap, Replay):
            raise ValueError("`shared_tok_s` is for gaps that are drawn, not for replayed ones")


_LAWS: Final = ("ttft", "gap", "load", "unload")
_FAULT: Final = re.compile(r"(?P<kind>[a-z_0-9]+)(?P<how>[@:~])(?P<what>.+)", re.DOTALL)


def sim_spec(raw: dict[str, Any]) -> SimSpec:
    """Strict: raises SpecError with the path of the mistake."""
    raw = dict(raw)
    for name in _LAWS:
        if name in raw:
            raw[name] = plain_law(raw[name], f"$.{name}")
    faults = raw.get("faults")
    if isinstance(faults, list | tuple):
        raw["faults"] = [fault_from(f) if isinstance(f, str) else f for f in faults]
    spec = decode(raw, SimSpec)
    total = math.fsum(fault.rate or 0 for fault in spec.faults)
    if total > 1 + 1e-9:  # ten times 0.1 is one
        raise SpecError(
            f"the rates add up to {total:g}",
            where="$.faults",
            remedy="shares of at most 1 together",
        )
    return spec


def fault_from(text: str) -> dict[str, Any]:
    """`reset_mid@3,5` (request numbers), `reset_mid:0.1` (rate), `reset_mid~words` (match)."""
    found = _FAULT.fullmatch(text)
    if found and found["kind"] in FAULTS:
        kind, how, what = found["kind"], found["how"], found["what"]
        try:
            if how == "@":
                return {"kind": kind, "requests": [int(number) for number in what.split(",")]}
            if how == ":":
                return {"kind": kind, "rate": float(what)}
            return {"kind": kind, "match": what}
        except ValueError:
            pass
    raise SpecError(
        f"{text!r} is no fault",
        where="$.faults",
        remedy="KIND@N,N (request numbers), KIND:RATE or KIND~WORDS, with KIND one of "
        + ", ".join(FAULTS),
    )
