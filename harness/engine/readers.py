"""Who can read a response that another program asked for: the run's own backend, or whichever
registered one knows its path (harness.protocols.Reads)."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from harness.host import Host
from harness.protocols import Backend, BackendConfig, Reads
from harness.schema import TimeoutsSpec

__all__ = ["Readers", "ends_with"]

log = logging.getLogger("harness.engine")


class Readers:
    """Backends by the paths that they can read. Others than the run's own are made when first
    needed, with their defaults, and never opened."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._found: dict[str, Backend | None] = {}

    def reader(self, backend: Backend, path: str, more: Iterable[str] = ()) -> Backend | None:
        """Of the response to a request for `path`; None where it is no model call. `more` are paths
        that `backend` is known to read besides those it names."""
        path = path.partition("?")[0]
        own = backend.paths if isinstance(backend, Reads) else ()
        if ends_with(path, (*own, *more)):
            return backend
        if path not in self._found:
            # Paths are a stranger's to choose: no more of them than any client has.
            if len(self._found) > 1000:
                self._found.clear()
            self._found[path] = self._search(path)
        return self._found[path]

    def _search(self, path: str) -> Backend | None:
        for name, one in self._others().items():
            if isinstance(one, Reads) and ends_with(path, one.paths):
                log.debug("%s is read by the backend %s", path, name)
                return one
        return None

    def _others(self) -> dict[str, Backend]:
        if not hasattr(self, "_made"):
            self._made = {}
            for entry in self._host.backends:
                try:
                    config = BackendConfig(
                        model=None,
                        urls=(),
                        options=entry.decode_options({}, entry.name),
                        timeouts=TimeoutsSpec(),
                        seed=0,
                    )
                    self._made[entry.name] = entry.factory(config)
                except Exception:  # a stranger's factory, or one that needs a model
                    log.debug("backend %s cannot be had for reading", entry.name, exc_info=True)
        return self._made

    _made: dict[str, Backend]


def ends_with(path: str, endings: Iterable[str]) -> bool:
    return any(ending and path.endswith(ending) for ending in endings)
