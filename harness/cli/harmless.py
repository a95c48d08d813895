"""The edge of the program: what every word passes on its way to a terminal or a log.

Reports escape what they are made of. This is the last line behind them: whatever a message, a log
line or a traceback quotes, from a server, a file or a plugin, comes out without control characters
and without the keys that this process was given.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any

import click

from harness.text import plain, plain_json

__all__ = ["LogFormatter", "crashed", "harmless", "print_json"]


def harmless(text: str) -> str:
    from harness.redaction import Redactor, environment_secrets

    return Redactor(environment_secrets()).text(plain(text))


def print_json(value: Any, *, indent: int | None = None) -> None:
    """`value` on standard output, in UTF-8 whatever the terminal's encoding, as JSON is; what is
    not printable in it as \\uXXXX."""
    import msgspec

    encoded = msgspec.json.encode(value)
    if indent is not None:
        encoded = msgspec.json.format(encoded, indent=indent)
    click.echo(plain_json(encoded))


class LogFormatter(logging.Formatter):
    """A log line with its traceback, harmless."""

    def format(self, record: logging.LogRecord) -> str:
        return harmless(super().format(record))


def crashed(error: Exception) -> str:
    """The traceback of a bug, for the terminal."""
    return harmless("".join(traceback.format_exception(error)).rstrip())
