"""Everything that can be asked of the `sim` backend: the fields of the server's own spec, how it is
started, and what each call asks of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from harness_ollama.options import OllamaOptions
from harness_openai.options import OpenAIOptions
from msgspec import Meta, field

from harness.errors import SpecError
from harness.options import merged
from harness.testing.sim import SimSpec, sim_spec

__all__ = ["SimOptions", "asked_of", "parse_cpus", "spec_of"]

ShortLaw: TypeAlias = float | str | dict[str, Any]
"""As it is written; SimSpec has what it means."""

ASKED: Final = ("num_ctx", "num_gpu", "repeat_penalty", "temperature", "top_k", "top_p")
"""Of calls; the rest of them is in `client`."""

_RANGE: Final = re.compile(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*")


class SimOptions(SimSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the `sim` backend."""

    ttft: ShortLaw = 50.0  # type: ignore[assignment]
    gap: ShortLaw = 10.0  # type: ignore[assignment]
    load: ShortLaw = 0.0  # type: ignore[assignment]
    unload: ShortLaw = 0.0  # type: ignore[assignment]
    faults: tuple[str | dict[str, Any], ...] = ()  # type: ignore[assignment]
    seed: int | None = None  # type: ignore[assignment]
    """Fixes every draw, by the request's number. Default: the run's seed; of several servers, each
    has the next one."""

    # How it is started.
    servers: Annotated[int, Meta(ge=1, le=64)] = 1
    """So many equal ones, each with an address of its own."""
    cpus: Annotated[int, Meta(ge=0)] | str = ""
    """CPUs that the servers may use, such as `1` or `0-3,8`. Default: all of the run's."""
    realtime: bool = False
    """Send with real-time priority, where that is granted."""
    log: str = ""
    """Folder in which each server leaves its log, in a folder of its own; with `sims`, `harness sim
    --join RUN` finds them. Default: they are not kept."""

    # What is asked of it. None: not sent, or as the client has it.
    num_ctx: int | None = None
    """Dialect ollama, as are the next."""
    num_gpu: int | None = None
    repeat_penalty: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    client: dict[str, Any] = field(default_factory=dict)
    """More options of the backend that speaks to it (`ollama` where the dialect is that, else
    `openai`), by its own names."""

    def __post_init__(self) -> None:
        try:
            spec_of(self, 0)
            parse_cpus(self.cpus)
            asked_of(self, {})
        except SpecError as error:
            # The path is for whoever decodes us: said as msgspec says it.
            said = f"{error.what} (try: {error.remedy})" if error.remedy else error.what
            raise ValueError(f"{said} - at `{error.where}`") from None

    @property
    def endpoints(self) -> int:
        """Addresses that there will be …"""
        return self.servers

    @property
    def endpoints_option(self) -> str:
        """… and the option that says so."""
        return "servers"


def spec_of(options: SimOptions, seed: int) -> SimSpec:
    """What a server is told. Raises SpecError with the path of the mistake."""
    values = {name: getattr(options, name) for name in SimSpec.__struct_fields__}
    if values["seed"] is None:
        values["seed"] = seed
    raw = {name: value for name, value in values.items() if value is not None}
    return sim_spec(msgspec.to_builtins(raw))


def asked_of(options: SimOptions, changes: Mapping[str, Any]) -> OllamaOptions | OpenAIOptions:
    """What the backend of the dialect is told; `changes` are of one call. Raises SpecError with the
    path of the mistake."""
    ollama = options.dialect == "ollama"
    own: dict[str, Any] = {name: getattr(options, name) for name in ASKED} | options.client
    for name, value in changes.items():
        if name == "client" and isinstance(value, Mapping):
            own |= value
        elif name in ASKED:
            own[name] = value
        else:
            raise SpecError(
                f"{name!r} is not for one call to decide",
                where=f"$.{name}",
                remedy="client: {NAME: VALUE} for an option of the request; the server's own are "
                "fixed when it starts",
            )
    base: OllamaOptions | OpenAIOptions = (
        OllamaOptions() if ollama else OpenAIOptions(api_key_env="")
    )
    given = {name: value for name, value in own.items() if value is not None}
    try:
        return merged(base, given, backend="ollama" if ollama else "openai")
    except SpecError as error:
        name = error.where.removeprefix("request.options").lstrip(".")
        where = f"$.{name}" if name in ASKED else "$.client" + (f".{name}" if name else "")
        ours = "dialect: ollama" if name in ASKED and not ollama else error.remedy
        raise SpecError(error.what, where=where, remedy=ours) from None


def parse_cpus(text: int | str) -> list[int]:
    """`0-3,8` → [0, 1, 2, 3, 8]; empty for an empty text. Raises SpecError."""
    found: set[int] = set()
    for part in str(text).split(",") if text != "" else ():
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise SpecError(f"{text!r} is no list of CPUs", where="$.cpus", remedy="such as 0-3,8")
        found.update(range(first, last + 1))
    return sorted(found)
