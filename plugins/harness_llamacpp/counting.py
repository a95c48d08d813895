"""Counts tokens with the tokenizer of a model that is being served: the server's own `/tokenize`.

A scenario counts while it makes its prompts, before any of them is sent. One connection is kept per
server (it would take a new thread there each time), and closed when the backend closes.
"""

from __future__ import annotations

import contextlib
import http.client
from typing import Final
from urllib.parse import urlsplit

import msgspec

__all__ = ["count", "forget", "serves"]

_TIMEOUT_S: Final = 10.0
_served: dict[str, tuple[str, http.client.HTTPConnection]] = {}


def serves(model: str, url: str) -> None:
    """From now on, `model` is counted at `url`."""
    forget(model)
    address = urlsplit(url)
    connection = http.client.HTTPConnection(
        address.hostname or "", address.port, timeout=_TIMEOUT_S
    )
    _served[model] = (url, connection)


def forget(model: str, url: str | None = None) -> None:
    """No more, if it is `url` (default: anything) that serves it."""
    if model in _served and url in (None, _served[model][0]):
        _served.pop(model)[1].close()


def count(model: str, text: str) -> int | None:
    """Tokens of `text`, without begin marks and template; None if nobody serves `model`."""
    if model not in _served:
        return None
    connection = _served[model][1]
    body = msgspec.json.encode({"content": text, "add_special": False})
    for _ in range(2):  # the server closes a connection after some requests, or five idle seconds
        try:
            connection.request("POST", "/tokenize", body, {"Content-Type": "application/json"})
            with connection.getresponse() as response:
                return len(msgspec.json.decode(response.read(), type=_Tokens).tokens)
        except (OSError, http.client.HTTPException, msgspec.DecodeError):
            with contextlib.suppress(OSError):
                connection.close()
    return None


class _Tokens(msgspec.Struct):
    tokens: list[int]
