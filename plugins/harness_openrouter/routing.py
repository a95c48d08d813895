"""Which provider is to serve, and what the body of every request says of it.

A service of many providers is no system under test: two calls may meet other hardware, another
quantisation, another context. So a benchmark pins one, allows no other, and has it refuse what it
does not support; who wants the service's own choice says so, and the run says it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NoReturn

import msgspec

from harness.errors import BackendError
from harness.text import as_argument, listed, nearest, one_line
from harness_openrouter.catalog import Endpoint
from harness_openrouter.options import ANY, OpenRouterOptions

__all__ = ["eligible", "pinned_endpoint", "provider_field", "unsupported"]

_PARAMETERS: Final = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "top_k": ("top_k",),
    "min_p": ("min_p",),
    "seed": ("seed",),
    "presence_penalty": ("presence_penalty",),
    "frequency_penalty": ("frequency_penalty",),
    "stop": ("stop",),
    "logprobs": ("logprobs", "top_logprobs"),
}
"""Option → the names under which the service lists support for it."""
_ELSEWHERE: Final = ("cache_prompt", "obfuscation", "timings")
"""Options of other servers, which nobody here knows."""


def pinned_endpoint(
    endpoints: Sequence[Endpoint], options: OpenRouterOptions, model: str, url: str
) -> Endpoint | None:
    """The one way of serving that the options name; None: any provider may serve, or the service
    does not list them. Raises BackendError where they name none, or several."""
    if options.provider is None:
        _refuse_unpinned(endpoints, model, url)
    if not options.pinned or not endpoints:
        return None
    name = options.provider
    ways = [one for one in endpoints if one.answers_to(name)]
    if not ways:
        tags = [one.tag for one in endpoints]
        close = nearest(name, [*tags, *(one.provider for one in endpoints)]) or tags[0]
        raise BackendError(
            f"no provider {one_line(name, 80)!r} serves {one_line(model, 100)}; it is served by "
            f"{listed(tags)}",
            where=url,
            remedy=f"-o provider={as_argument(close) or 'NAME'}",
        )
    return _only_way(ways, options, url)


def _only_way(ways: list[Endpoint], options: OpenRouterOptions, url: str) -> Endpoint:
    """A provider's slug reaches every way in which it serves the model: there must be one."""
    provider = one_line(ways[0].provider, 80)
    wanted = {one.casefold() for one in options.quantizations}
    left = [one for one in ways if not wanted or (one.quantization or "").casefold() in wanted]
    if not left:
        served = listed([one.quantization or "unknown" for one in ways])
        raise BackendError(
            f"{provider} does not serve it as {listed(sorted(wanted))}, but as {served}",
            where=url,
            remedy="other quantizations, or none",
        )
    if len({(one.tag, one.quantization) for one in left}) > 1:
        shown = [f"{one.tag} ({one.quantization or 'unknown'})" for one in left]
        raise BackendError(
            f"{provider} serves it in {len(left)} ways: {listed(shown)}",
            where=url,
            remedy=f"-o provider={as_argument(left[-1].tag) or 'SLUG'}, or -o quantizations=[…]",
        )
    return left[0]


def _refuse_unpinned(endpoints: Sequence[Endpoint], model: str, url: str) -> NoReturn:
    tags = list(dict.fromkeys(one.tag for one in endpoints))
    served = f"; it is served by {listed(tags)}" if tags else ""
    first = as_argument(tags[0]) if tags else None
    raise BackendError(
        f"no provider is named, so each call of {one_line(model, 100)} could meet other hardware, "
        f"another quantisation and other limits{served}",
        where=url,
        remedy=f"-o provider={first or 'NAME'}, or -o provider={ANY} (the run is then doubtful)",
    )


def eligible(endpoints: Sequence[Endpoint], options: OpenRouterOptions) -> list[Endpoint]:
    """Where a call may be served when none is pinned."""
    wanted = {one.casefold() for one in options.quantizations}
    return [
        one
        for one in endpoints
        if (not options.only or any(one.answers_to(name) for name in options.only))
        and not any(one.answers_to(name) for name in options.ignore)
        and (not wanted or (one.quantization or "").casefold() in wanted)
    ]


def provider_field(options: OpenRouterOptions, pinned: Endpoint | None) -> dict[str, Any]:
    """`provider` of every body."""
    field: dict[str, Any] = options.limits()
    quantizations = list(options.quantizations)
    if options.pinned:
        if not quantizations and pinned is not None and pinned.quantization is not None:
            quantizations = [pinned.quantization]
        name = pinned.tag if pinned is not None else options.provider
        field |= {"only": [name], "allow_fallbacks": False}
    else:
        for name in ("order", "only", "ignore"):
            if getattr(options, name):
                field[name] = list(getattr(options, name))
        for name in ("sort", "allow_fallbacks"):
            if getattr(options, name) is not None:
                field[name] = getattr(options, name)
    if quantizations:
        field["quantizations"] = quantizations
    return field


def unsupported(options: OpenRouterOptions, endpoints: Sequence[Endpoint]) -> list[str]:
    """Options that were set and that no one of `endpoints` supports. Empty where they do not say
    what they support."""
    defaults = msgspec.structs.asdict(OpenRouterOptions())
    given = {n: v for n, v in msgspec.structs.asdict(options).items() if v != defaults[n]}
    missing: list[str] = [name for name in _ELSEWHERE if name in given]
    said = [one.supported for one in endpoints if one.supported is not None]
    if len(said) == len(endpoints) and said:
        known = {name for one in said for name in one}
        missing += [n for n, names in _PARAMETERS.items() if n in given and not known & {*names}]
    return missing
