"""Which of the exchanges that the tap saw is which of the calls that the program reported.

A program that keeps to docs/agent-protocol.md sends the call's name as X-Request-ID. Of a program
that cannot, calls are taken in order, if there are as many on either side; else nobody knows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from harness.schema import ReportedCall
from harness.transport.tap import Tapped

__all__ = ["REQUEST_ID", "Pair", "header_of", "match"]

REQUEST_ID: Final = "x-request-id"

Pair = tuple[Tapped | None, ReportedCall | None]
"""At least one of the two is there."""


def match(tapped: Sequence[Tapped], reported: Sequence[ReportedCall]) -> list[Pair]:
    """Each of `tapped` and of `reported` once; what was tapped in the order of its requests, then
    what was reported and never seen."""
    seen = sorted(tapped, key=lambda one: one.request_ns)
    found = _by_name(seen, reported)
    left = [one for index, one in enumerate(seen) if index not in found]
    # Several reports of one name: the first has the exchange.
    taken = {id(call) for call in found.values()}
    untold = [call for call in reported if id(call) not in taken]
    if left and len(left) == len(untold) and not any(_is_named(one, reported) for one in left):
        in_order = sorted(untold, key=_sent_ns)
        places = [index for index in range(len(seen)) if index not in found]
        found |= dict(zip(places, in_order, strict=True))
        untold = []
    pairs: list[Pair] = [(one, found.get(index)) for index, one in enumerate(seen)]
    return pairs + [(None, call) for call in untold]


def _by_name(seen: Sequence[Tapped], reported: Sequence[ReportedCall]) -> dict[int, ReportedCall]:
    """Place in `seen` → its report. Where a client tried again under the same name, it reports of
    the last try."""
    places: dict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(seen):
        name = header_of(one, REQUEST_ID)
        if name:
            places[name].append(index)
    found: dict[int, ReportedCall] = {}
    for call in reported:
        if places.get(call.call):
            found.setdefault(places[call.call][-1], call)
    return found


def _is_named(one: Tapped, reported: Sequence[ReportedCall]) -> bool:
    """It has a name that was reported: an earlier try of that call."""
    name = header_of(one, REQUEST_ID)
    return any(call.call == name for call in reported)


def header_of(one: Tapped, name: str) -> str:
    return next((value for key, value in one.headers if key.lower() == name), "")


def _sent_ns(call: ReportedCall) -> int:
    known = (call.reported.sent_ns, call.reported.first_token_ns, call.reported.end_ns)
    return next((at for at in known if at is not None), 0)
