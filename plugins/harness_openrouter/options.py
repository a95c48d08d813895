"""Everything that can be asked of OpenRouter: the options of `openai`, and how to route."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from harness_openai.options import OpenAIOptions
from msgspec import Meta, field

__all__ = ["ANY", "OpenRouterOptions"]

ANY: Final = "any"
"""In place of a provider: whichever the service chooses."""

_ROUTING: Final = ("provider", "models", "route", "preset")
_UNPINNED: Final = ("order", "only", "ignore", "sort", "allow_fallbacks")
HeaderText = Annotated[str, Meta(pattern=r"^[\x20-\x7e]*$", max_length=200)]
Names = tuple[Annotated[str, Meta(min_length=1)], ...]


class OpenRouterOptions(OpenAIOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the `openrouter` backend. `None` means: not sent, the service decides."""

    provider: str | None = None
    """The one that is to serve, by the slug under which the service lists it (`deepinfra`,
    `deepinfra/fp8`) or by its name; no other may. `any`: whichever the service chooses, which may
    be another for each call; the run is then doubtful. Without it nothing is begun."""
    quantizations: Names = ()
    """`fp8`, `bf16` … Default: that of the pinned provider, where it is listed."""
    data_collection: Literal["allow", "deny"] | None = None
    """deny: providers that may keep prompts are left out."""
    zdr: bool | None = None
    """true: only providers that keep nothing at all."""
    max_price: dict[str, float] = field(default_factory=dict)
    """USD per million tokens: `{prompt: 1, completion: 2}`; dearer providers are left out."""

    # With `provider=any` alone.
    order: Names = ()
    """Providers, the first that is able to serve."""
    only: Names = ()
    ignore: Names = ()
    sort: Literal["price", "throughput", "latency"] | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool = True
    """false: providers may leave out, in silence, options that they do not support."""

    canonical: bool = True
    """Ask for the model by its canonical slug, which never comes to mean another model. false: by
    the name that was given."""
    retries: Annotated[int, Meta(ge=0, le=9)] = 2
    """How often a call is sent again that the service refuses for a while (429, 503), after the
    wait that it names. Such a call is in no figure of time."""
    retry_wait_max_s: Annotated[float, Meta(ge=0, le=120)] = 60.0
    """If it names a longer wait, the call fails at once."""
    reconcile: Annotated[int, Meta(ge=0, le=1000)] = 20
    """Calls of an iteration of which the service's own account is fetched afterwards; 0: none."""
    http_referer: HeaderText = ""
    title: HeaderText = ""
    """Names the application in the service's rankings. Nothing is sent without it."""

    # Of the `openai` backend, with other defaults.
    api_key_env: Annotated[str, Meta(pattern="^([A-Z_][A-Z0-9_]*)?$")] = "OPENROUTER_API_KEY"
    """Name of the environment variable that holds the key."""
    include_usage: bool = False
    """The service sends token counts and cost in any case."""
    continuous_usage: Literal["auto"] | bool = False
    probe: bool = False
    """true: a small request (2 tokens) when opened, which costs money."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in _ROUTING:
            if name in self.extra:
                raise ValueError(f"`extra` cannot set `{name}`: see `provider` and `order`")
        if self.provider == "":
            raise ValueError("`provider` is empty")
        if self.provider == ANY:
            return
        for name in _UNPINNED:
            if getattr(self, name) not in ((), None):
                raise ValueError(f"`{name}` chooses among providers: it needs `provider: any`")

    @property
    def pinned(self) -> bool:
        return self.provider is not None and self.provider != ANY

    def limits(self) -> dict[str, Any]:
        """Fields of `provider` in the body that hold for any way of routing."""
        found: dict[str, Any] = {"require_parameters": self.require_parameters}
        if self.data_collection is not None:
            found["data_collection"] = self.data_collection
        if self.zdr is not None:
            found["zdr"] = self.zdr
        if self.max_price:
            found["max_price"] = self.max_price
        return found
