"""The backend's account of itself, read twice: what changed while it was measured is not effective.

A server that was restarted, updated, or made to load the model with other options in the middle of
a trial measured two configurations under one name. The record keeps the first reading, with every
difference of the second in `not_effective`. What the second does not tell is no difference: a model
may be unloaded by then, as its `keep_alive` says.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from harness.errors import HarnessError
from harness.protocols import Backend
from harness.schema import Effective
from harness.text import one_line

__all__ = ["CONFIGURATION", "merged", "nothing_asked", "read_again"]

PATIENCE_S: Final = 10.0
"""For the second reading: all is measured by then, and a dead server must hold up nothing."""

CONFIGURATION: Final = (
    "server",
    "server_version",
    "model",
    "model_digest",
    "context_length",
    "layers_on_gpu",
)
"""Fields of Effective in which two readings of one configuration agree exactly."""
VRAM_SHARE: Final = 0.05
"""Of the model: by so much may its part on the GPU differ between readings. Servers estimate it."""

UNREAD: Final = "at the end"
"""Entry of `unknown` where the second reading failed."""


async def read_again(backend: Backend, first: Effective) -> Effective:
    """`first`, with what a second reading says otherwise. Never raises but CancelledError."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            last = await backend.effective()
    except HarnessError as error:
        return _unread(first, str(error))
    except TimeoutError:
        return _unread(first, f"no answer within {PATIENCE_S:g} s")
    except Exception as error:  # a stranger's backend
        return _unread(first, f"{type(error).__name__}: {error}")
    return merged(first, last)


def nothing_asked(read: Effective) -> Effective:
    """Of a backend that only looked on: what the requests asked for, it cannot know."""
    unknown = {name: why for name, why in read.unknown.items() if not name.startswith("options.")}
    return msgspec.structs.replace(
        read, options={}, read_back={}, not_effective={}, unknown=unknown
    )


def merged(first: Effective, last: Effective) -> Effective:
    """The first reading with all that either, or the two together, show not to be effective; and
    with the memory that was taken by the end."""
    if peaks := _peaks(last):
        first = msgspec.structs.replace(first, details=first.details | peaks)
    changed = {
        name: _changed(before, after)
        for name, before, after in _pairs(first, last)
        if before is not None and after is not None and before != after
    }
    if _share_moved(first, last):
        changed["size_vram_bytes"] = _changed(first.size_vram_bytes, last.size_vram_bytes)
    found = {**last.not_effective, **first.not_effective, **changed}
    if not found:
        return first
    return msgspec.structs.replace(first, not_effective=found, changed=tuple(changed))


def _peaks(last: Effective) -> dict[str, Any]:
    return {name: value for name, value in last.details.items() if name.startswith("memory_")}


def _pairs(first: Effective, last: Effective) -> list[tuple[str, Any, Any]]:
    fields = [(name, getattr(first, name), getattr(last, name)) for name in CONFIGURATION]
    options = [(n, v, last.read_back.get(n)) for n, v in first.read_back.items()]
    return [*fields, *options]


def _share_moved(first: Effective, last: Effective) -> bool:
    before, after, size = first.size_vram_bytes, last.size_vram_bytes, first.size_bytes
    if before is None or after is None or not size:
        return False
    return abs(after - before) > VRAM_SHARE * size


def _changed(before: Any, after: Any) -> str:
    return f"{_shown(before)} when it was opened, {_shown(after)} at the end"


def _shown(value: Any) -> str:
    return one_line(str(value), 40)


def _unread(first: Effective, why: str) -> Effective:
    unknown = {**first.unknown, UNREAD: one_line(why, 300)}
    return msgspec.structs.replace(first, unknown=unknown)
