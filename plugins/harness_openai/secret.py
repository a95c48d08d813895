"""The API key: read from the environment, sent as a header, and kept out of everything else."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from harness.errors import BackendError
from harness.redaction import Redactor

__all__ = ["Secret", "redacted"]


class Secret:
    """Holds one key. Never shows it: not by repr, not in a message."""

    def __init__(self, variable: str) -> None:
        """Raises BackendError, without quoting it, for a key that cannot stand in a header."""
        self.variable = variable
        self._key = os.environ.get(variable, "").strip() if variable else ""
        if not all("!" <= character <= "~" for character in self._key):
            raise BackendError(
                "the key holds characters that cannot be sent",
                where=f"${variable}",
                remedy=f"export {variable}=… with the key alone",
            )
        self._redactor = Redactor({f"${variable}": self._key})

    def __repr__(self) -> str:
        return f"Secret({self.variable})"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("Authorization", f"Bearer {self._key}"),) if self._key else ()

    @property
    def present(self) -> bool:
        return bool(self._key)

    def redact(self, text: str) -> str:
        """`text` without the key: servers quote it when they refuse it."""
        return self._redactor.text(text)

    def redact_bytes(self, content: bytes) -> bytes:
        return self._redactor.content(content)


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """`value` (JSON-like) with every string in it, keys too, passed through `redact`."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(key): redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted(item, redact) for item in value]
    return value
