"""Tool calls, which arrive in pieces: the first names the function, later ones add arguments."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["ToolCalls"]


class ToolCalls:
    """Puts the pieces of `delta.tool_calls` together by their index."""

    def __init__(self) -> None:
        self._calls: dict[int, dict[str, Any]] = {}
        self._arguments: dict[int, list[str]] = {}

    def add(self, delta: dict[str, Any]) -> bool:
        """Whether `delta` carried anything of a tool call."""
        pieces = delta.get("tool_calls")
        if not isinstance(pieces, list):
            # The older way: one function call, not in a list.
            legacy = delta.get("function_call")
            pieces = [{"index": 0, "function": legacy}] if isinstance(legacy, dict) else []
        found = [self._add(place, p) for place, p in enumerate(pieces) if isinstance(p, dict)]
        return any(found)

    def _add(self, place: int, piece: dict[str, Any]) -> bool:
        index = piece.get("index")
        if not isinstance(index, int):
            index = place
        call = self._calls.setdefault(index, {"type": "function", "function": {"name": ""}})
        function = piece.get("function")
        if not isinstance(function, dict):
            function = {}
        if isinstance(piece.get("id"), str) and piece["id"]:
            call["id"] = piece["id"]
        name = function.get("name")
        if isinstance(name, str) and name:
            call["function"]["name"] = name
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        if arguments:
            self._arguments.setdefault(index, []).append(arguments)
        return bool(name or arguments)

    def calls(self) -> list[dict[str, Any]]:
        """Complete calls in the order of their index, `arguments` as a string of JSON."""
        return [
            call | {"function": call["function"] | {"arguments": self._joined(index)}}
            for index, call in sorted(self._calls.items())
        ]

    def _joined(self, index: int) -> str:
        return "".join(self._arguments.get(index, ()))
