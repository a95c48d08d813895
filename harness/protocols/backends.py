"""What speaks to a model's server: one dialect, one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from harness.schema import (
    Account,
    CallRecord,
    Decoded,
    Effective,
    Exchange,
    Footprint,
    ModelInfo,
    Request,
    TimeoutsSpec,
)

if TYPE_CHECKING:
    from harness._native.recorder import Record as WireRecord

__all__ = [
    "Backend",
    "BackendConfig",
    "BackendFactory",
    "Footprints",
    "ListsModels",
    "Reads",
    "Reconciles",
    "Retries",
    "Unloads",
]


class BackendConfig(Struct, frozen=True, kw_only=True):
    """What a backend factory is given."""

    model: str | None
    urls: tuple[str, ...]
    """Empty: the backend's own default."""
    options: Any
    """An instance of the options Struct that the backend registered."""
    timeouts: TimeoutsSpec
    seed: int
    passive: bool = False
    """True: other programs make the calls, and the harness looks on. No model need be named, and
    `open` loads none and tries none out."""


@runtime_checkable
class Backend(Protocol):
    """One model, on one server or several equal ones. Speaks one dialect; knows no scenario.

    The order of calls is: open, effective, (prepare, decode) many times, effective, close. `close`
    is called after a failed `open` too. Control traffic (version, tags, preload) belongs in open
    and effective, with whatever HTTP client you like; it is never timed.
    """

    urls: tuple[str, ...]
    """Where the model is served; final once `open` has returned. Decides which transport serves."""

    async def open(self) -> None:
        """Make the model ready to answer at once: reach the server, check that the model exists,
        load it. Raise BackendError saying what, where, and the next command to try."""

    async def effective(self) -> Effective:
        """What the server says it runs, read back now; unknown fields are None, with a reason.
        Asked again when all is measured: what changed since then is a doubt about the trial."""

    def prepare(self, request: Request) -> Exchange:
        """The exchange for one request, complete. Must be pure and cheap; may rotate endpoints.
        Raise SpecError for an option that this server does not know."""

    def decode(self, request: Request, record: WireRecord) -> Decoded:
        """Read a finished response. Called for every outcome at the wire, also for a torn stream
        and for HTTP errors; must not raise on any bytes. `len(kinds) == len(record)`."""

    async def close(self) -> None:
        """Leave nothing running that open started. Called exactly once."""


@runtime_checkable
class Reads(Protocol):
    """A backend that says which responses it can decode: those of other programs' requests, which
    the tap saw go by, are given to it."""

    paths: tuple[str, ...]
    """Ends of request paths, such as `/api/chat`. The request that `decode` is given with them is
    what was read out of the body; its `options` are {"stream": …}, True, False, or None where the
    body says nothing: a response in one piece may be what the program asked for, and no fault."""


@runtime_checkable
class ListsModels(Protocol):
    """A backend that can say what it offers (`harness models`). Called without open."""

    async def models(self) -> list[ModelInfo]: ...


@runtime_checkable
class Unloads(Protocol):
    """A backend that can drop the model from memory, and confirm it."""

    async def unload(self) -> None:
        """Return once the model is really gone; BackendError if that cannot be confirmed."""


@runtime_checkable
class Footprints(Protocol):
    """A backend that can predict how much memory its model takes."""

    async def footprint(self) -> Footprint:
        """Called before `open`, in the process of the trial; loads nothing. What cannot be told is
        None, with a reason. May raise BackendError as `open` does."""


@runtime_checkable
class Reconciles(Protocol):
    """A backend whose service can be asked about a call afterwards."""

    accounts_max: int
    """How many calls of an iteration it is to be asked about; 0: none."""

    async def reconcile(self, calls: Sequence[CallRecord]) -> Sequence[Account]:
        """What the service now says of these calls: one account each, in their order. Called after
        a measured iteration, never while calls are timed; must not raise."""


@runtime_checkable
class Retries(Protocol):
    """A backend whose service may refuse a call for a while (429, 503)."""

    def retry_after_s(self, record: CallRecord) -> float | None:
        """Seconds to wait before this failed call is sent once more; None: it has failed. `record`
        is that of the attempt, with `attempts` counted. Must be pure and cheap."""


BackendFactory: TypeAlias = Callable[[BackendConfig], Backend]
