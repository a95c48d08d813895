"""A tap without sockets: what comes through its doors is written down beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from harness._native import recorder
from harness.testing.wire import Piece, record_from
from harness.transport.tap import Tapped

__all__ = ["ScriptedDoor", "ScriptedTap", "passed"]


def passed(
    body: bytes | dict[str, object],
    answer: Sequence[Piece],
    *,
    path: str = "/",
    method: str = "POST",
    headers: Sequence[tuple[str, str]] = (),
    at_ns: int = 1_000_000_000,
    kept_ns: int = 20_000,
    left: bool = False,
) -> Tapped:
    """One exchange: its request arrived at `at_ns` and was sent on a microsecond later; each chunk
    was with the tap for `kept_ns`. Stamps pass for the kernel's. `left`: the agent went away when
    it had the last piece of `answer`."""
    seen = record_from(answer, sent_ns=at_ns + 1000)
    made = recorder.Recorder(due_ns=at_ns)
    made.mark(sent_ns=at_ns + 1000, headers_ns=seen.headers_ns or 0, head=seen.head)
    made.mark(first_byte_ns=seen.first_byte_ns or 0, http_status=seen.http_status or 0)
    flags = seen.size_flags & recorder.FLAG_NAMED
    for index, arrival_ns in enumerate(seen.arrival_ns.tolist()):
        payload = seen.payload(index)
        made.append(arrival_ns, arrival_ns + kept_ns, payload, int(flags[index]))
    ended_ns = seen.closed_ns
    record = made.seal(
        "cancelled" if left else seen.outcome,
        closed_ns=ended_ns,
        body_end_ns=0 if left else seen.body_end_ns or 0,
        comments=seen.comments,
        unterminated=seen.unterminated,
    )
    return Tapped(
        method=method,
        path=path,
        headers=tuple(headers),
        body=body if isinstance(body, bytes) else msgspec.json.encode(body),
        request_ns=at_ns,
        request_by_kernel=True,
        record=record,
        end_sent_ns=ended_ns + kept_ns,
    )


class ScriptedDoor:
    """Gives `exchanges` when it is asked, or closed."""

    def __init__(self, url: str, exchanges: Sequence[Tapped]) -> None:
        self.url = url
        self.closed = False
        self._left = [*exchanges]

    def take(self) -> list[Tapped]:
        taken, self._left = self._left, []
        return taken

    async def close(self) -> list[Tapped]:
        self.closed = True
        return self.take()


class ScriptedTap:
    """Its n-th door gives what `script(n)` has."""

    name = "scripted"

    def __init__(self, script: Callable[[int], Sequence[Tapped]]) -> None:
        self._script = script
        self.doors: list[ScriptedDoor] = []
        self.upstreams: list[str] = []
        self.ports: list[int] = []
        self.closed = False

    async def open(self) -> None: ...

    async def door(self, upstream: str, *, port: int = 0) -> ScriptedDoor:
        self.upstreams.append(upstream)
        self.ports.append(port)
        number = len(self.doors)
        self.doors.append(ScriptedDoor(f"http://127.0.0.1:{7000 + number}", self._script(number)))
        return self.doors[-1]

    def stats(self) -> dict[str, int]:
        return {"requests": len(self.doors)}

    async def close(self) -> None:
        self.closed = True
