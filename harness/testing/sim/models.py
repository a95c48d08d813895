"""The model as Ollama's API shows it: on disk, in memory, loaded and dropped."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from harness.testing.sim.asked import Asked
from harness.testing.sim.ollama import created_at
from harness.testing.sim.openrouter import canonical_slug
from harness.testing.sim.spec import SimSpec

__all__ = ["Memory", "listed", "running", "same_model", "shown"]

_GO_PART: Final = re.compile(r"([\d.]+)(ns|us|µs|ms|s|m|h)")
_GO_NS: Final = {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}
KEEP_NS: Final = 300_000_000_000


class Memory(Struct, kw_only=True):
    """Whether the model is loaded, with what, and until when."""

    key: tuple[tuple[str, Any], ...] | None = None
    """The options it was loaded with; None: it is not loaded."""
    ready_ns: int = 0
    expires_ns: float = 0
    busy: int = 0
    unload_ns: Callable[[], int] = lambda: 0
    """Draws how long the next unload takes."""
    gone_ns: float = 0
    """When the one that was unloaded last is out of memory; until then it is still shown."""
    going: tuple[tuple[str, Any], ...] = ()

    def loaded(self, now_ns: int) -> bool:
        if self.key is not None and not self.busy and now_ns >= self.expires_ns:
            self.drop(self.expires_ns)
        return self.key is not None

    def drop(self, now_ns: float) -> None:
        if self.key is not None:
            self.going, self.gone_ns = self.key, now_ns + self.unload_ns()
        self.key = None

    def load(self, asked: Asked, now_ns: int, draw_ns: Callable[[], int]) -> int:
        """ns until the model is in memory; 0: it is there, as asked for. `draw_ns` says how long
        loading itself takes, if it has to be."""
        if self.loaded(now_ns) and self.key == asked.load_options:
            return 0
        load_ns = draw_ns()
        self.drop(now_ns)  # with other options: that one has to go first
        load_ns += max(0, round(self.gone_ns) - now_ns)
        self.key = asked.load_options
        self.ready_ns = now_ns + load_ns
        self.keep(asked, self.ready_ns)
        return load_ns

    def keep(self, asked: Asked, now_ns: int) -> None:
        """Its time counts from the end of the latest request."""
        self.expires_ns = now_ns + _keep_ns(asked.keep_alive)
        if self.expires_ns <= now_ns and not self.busy:
            self.drop(now_ns)


def _keep_ns(value: Any) -> float:
    """Seconds, or a Go duration; negative for ever."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return math.inf if value < 0 else value * 1e9
    if isinstance(value, str):
        if value.startswith("-"):
            return math.inf
        parts = _GO_PART.findall(value)
        if parts and "".join(number + unit for number, unit in parts) == value:
            return sum(float(number) * _GO_NS[unit] for number, unit in parts)
    return KEEP_NS


def same_model(spec: SimSpec, name: str) -> bool:
    """`sim` is `sim:latest`, and by the name that never changes."""
    if spec.dialect == "openrouter" and name == canonical_slug(spec):
        return True
    return name.lower().removesuffix(":latest") == spec.model.lower().removesuffix(":latest")


def _name(spec: SimSpec) -> str:
    return spec.model if ":" in spec.model else f"{spec.model}:latest"


def _entry(spec: SimSpec) -> dict[str, Any]:
    digest = hashlib.sha256(f"harness-sim {spec.model}".encode()).hexdigest()
    details = {
        "parent_model": "",
        "format": "sim",
        "family": "sim",
        "families": ["sim"],
        "parameter_size": "0",
        "quantization_level": "none",
    }
    return {"name": _name(spec), "model": _name(spec), "digest": digest, "details": details}


def listed(spec: SimSpec, realtime_ns: int) -> dict[str, Any]:
    """/api/tags"""
    more = {"modified_at": created_at(realtime_ns), "size": spec.size_bytes}
    return {"models": [_entry(spec) | more]}


def running(spec: SimSpec, memory: Memory, now_ns: int, offset_ns: int) -> dict[str, Any]:
    """/api/ps"""
    loaded = memory.loaded(now_ns) and now_ns >= memory.ready_ns
    if not loaded and now_ns >= memory.gone_ns:
        return {"models": []}
    options = dict(memory.key if loaded and memory.key is not None else memory.going)
    # More context than the model was trained for is cut to that, and only the server's log says so.
    asked = options.get("num_ctx") or spec.context_length
    expires_ns = min(memory.expires_ns, now_ns + 3e18)  # for ever: in a hundred years
    more = {
        "size": spec.size_bytes,
        "size_vram": 0 if options.get("num_gpu") == 0 else spec.size_bytes,
        "expires_at": created_at(round(expires_ns) + offset_ns),
        "context_length": min(asked, spec.context_length),
    }
    return {"models": [_entry(spec) | more]}


def shown(spec: SimSpec, realtime_ns: int) -> dict[str, Any]:
    """/api/show"""
    info = {"general.architecture": "sim", "sim.context_length": spec.context_length}
    return {
        "details": _entry(spec)["details"],
        "model_info": info,
        "capabilities": ["completion", "thinking"] if spec.reasoning_tokens else ["completion"],
        "parameters": "",
        "template": "{{ .Prompt }}",
        "modified_at": created_at(realtime_ns),
    }
