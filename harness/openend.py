"""Work that has no end of its own, and the person who says that it is enough. Public.

A tap that stands open is done when somebody says so: Ctrl-C is then its proper end, and not an
interrupt. The scenario waits; whoever conducts the run listens to it, and speaks.

    with open_end(url=calls.url) as enough:
        await enough.wait()
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Listener", "listening", "open_end", "say_enough", "wrote"]


class Listener(Protocol):
    """Called on the event loop's thread; must be quick."""

    def began(self, url: str) -> None:
        """From now on: agents come in at `url`."""

    def wrote(self, stream: int, data: bytes) -> None:
        """The program that the work consists of: to its standard output (1) or error (2)."""


_waiting: list[asyncio.Event] = []
_listeners: list[Listener] = []


@contextmanager
def open_end(*, url: str) -> Iterator[asyncio.Event]:
    """The event is set when somebody says that it is enough."""
    enough = asyncio.Event()
    _waiting.append(enough)
    try:
        for one in _listeners:
            one.began(url)
        yield enough
    finally:
        _waiting.remove(enough)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def wrote(stream: int, data: bytes) -> None:
    """For the scenario: to whoever listens."""
    for one in _listeners:
        one.wrote(stream, data)


def say_enough() -> bool:
    """On the event loop's thread. Whether anything was waiting for it: else it is an interrupt."""
    for enough in _waiting:
        enough.set()
    return bool(_waiting)
