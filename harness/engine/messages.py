"""What goes between a run and a trial that is executed elsewhere: a job there, messages back.

    job        one Job, as msgpack
    messages   one of Message each, as msgpack, in the order in which they were made; the trial's
               last is Ended

Both ends run the same version of the harness: what is sent is never kept, so it has no versions.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, TypeAlias

import msgspec

from harness import errors
from harness.errors import HarnessError, PluginError, StoreError
from harness.schema import CallRecord, IterationRecord, PriceRecord, RunSpec, TrialRecord
from harness.text import without_surrogates

__all__ = [
    "Begun",
    "Ended",
    "Failure",
    "Job",
    "Kept",
    "Message",
    "Printed",
    "Said",
    "decode_job",
    "decode_message",
    "encode_message",
    "log_level_of",
    "other_version",
]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One trial of one run."""

    spec: RunSpec
    """As it was asked for, before defaults were filled in: it is planned again where it runs."""
    digest: str
    """Of the plan, which must come out the same there."""
    version: str
    """Of the harness, likewise."""
    run_id: str
    trial: int
    log_level: int
    """Log messages from there are of at least this level."""
    prices: tuple[PriceRecord, ...] = ()
    """What calls cost there, too: the user's own files are here."""
    budget_usd: str | None = None
    """The trial's part of the budget; a decimal."""


class Begun(msgspec.Struct, frozen=True, kw_only=True, tag="begun", tag_field="t"):
    """An iteration begins."""

    phase: str
    calls: int | None


class Kept(msgspec.Struct, frozen=True, kw_only=True, tag="kept", tag_field="t"):
    """An artifact. Records to come name it by `ticket`, until who keeps it knows its path."""

    ticket: str
    name: str
    content: Any
    """Text or bytes."""


class Said(msgspec.Struct, frozen=True, kw_only=True, tag="said", tag_field="t"):
    """A log message."""

    level: int
    name: str
    text: str


class Printed(msgspec.Struct, frozen=True, kw_only=True, tag="printed", tag_field="t"):
    """What was written to standard output and standard error, or the last of it."""

    text: str


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What ended a trial: an error of harness.errors by its name, or `cancelled`."""

    kind: str
    what: str = ""
    where: str = ""
    remedy: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        if isinstance(error, asyncio.CancelledError):
            return cls(kind="cancelled")
        if isinstance(error, HarnessError):
            kind = type(error).__name__
            return cls(kind=kind, what=error.what, where=error.where, remedy=error.remedy)
        return cls(kind="PluginError", what=f"{type(error).__name__}: {error}")

    def error(self) -> BaseException:
        if self.kind == "cancelled":
            return asyncio.CancelledError()
        found = getattr(errors, self.kind, None)
        kind: type[HarnessError] = PluginError
        if isinstance(found, type) and issubclass(found, HarnessError):
            kind = found
        error = kind.__new__(kind)  # some of them take other words to be made of
        HarnessError.__init__(error, self.what, where=self.where, remedy=self.remedy)
        return error


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended", tag_field="t"):
    """The trial has nothing more to say."""

    record: TrialRecord | None
    """None: the trial could not be begun there."""
    failure: Failure | None


Message: TypeAlias = CallRecord | IterationRecord | Begun | Kept | Said | Printed | Ended

_encoder = msgspec.msgpack.Encoder()
_messages: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)


def encode_message(message: Message | Job) -> bytes:
    """Raises StoreError for what cannot be written down, as a store does."""
    try:
        return _encoder.encode(message)
    except UnicodeEncodeError:
        # A model may answer with half a surrogate pair.
        return _encoder.encode(
            without_surrogates(msgspec.to_builtins(message, builtin_types=(bytes,)))
        )
    except (TypeError, OverflowError, RecursionError) as error:
        raise StoreError(
            f"a {type(message).__name__} cannot be stored: {error}",
            remedy="leave only numbers, text, bytes, lists and dicts in ctx.note",
        ) from error


def decode_message(message: bytes) -> Message:
    return _messages.decode(message)


def decode_job(job: bytes) -> Job:
    """Raises PluginError for the job of a version that knows other fields."""
    try:
        return msgspec.msgpack.decode(job, type=Job)
    except msgspec.ValidationError as error:
        raise other_version(str(error)) from error


def log_level_of(job: bytes) -> int:
    """Of the job of any version."""
    return msgspec.msgpack.decode(job, type=_Level).log_level


def other_version(how: str = "") -> PluginError:
    return PluginError(
        "this trial was planned by another version of the harness or of its plugins"
        + (f" ({how})" if how else ""),
        where="executor",
        remedy="the same packages wherever trials are executed",
    )


class _Level(msgspec.Struct):
    log_level: int = logging.WARNING
