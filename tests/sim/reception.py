"""The desk without sockets: requests go in, answers come out, and time is what the test says."""

from __future__ import annotations

import msgspec

from harness._native.framing import ResponseParser
from harness.testing.sim import sim_spec
from harness.testing.sim.desk import Desk
from harness.testing.sim.draft import CONTENT
from harness.testing.sim.job import Job

HEAD = b"POST %b HTTP/1.1\r\nHost: x\r\n\r\n"


class Reception:
    """A Desk whose answers are kept."""

    def __init__(self, **spec):
        self.answers = {}
        self.refused = []
        self.desk = Desk(
            sim_spec(spec),
            boot="b00",
            version="1",
            offset_ns=1_700_000_000_000_000_000,
            answer=self._answer,
            revise=self._answer,
            refuse=self.refused.append,
        )
        self.serials = 0

    def _answer(self, job, wire):
        job.answered_ns = job.arrived_ns
        self.answers[job.serial] = wire

    def ask(self, at_ns=0, path="/api/chat", text="a b c", **more):
        self.serials += 1
        body = {"model": "sim", "messages": [{"role": "user", "content": text}], **more}
        job = Job(serial=self.serials, conn=1, arrived_ns=at_ns)
        self.desk.arrive(job, HEAD % path.encode(), msgspec.json.encode(body))
        self.desk.settle()
        return job

    def wire(self, job):
        return self.answers[job.serial]

    def body(self, job):
        """Of an answer: its text, without HTTP."""
        parser = ResponseParser()
        data, got = self.wire(job).data, b""
        while data and not parser.complete:
            piece, used = parser.feed(data)
            got, data = got + piece, data[used:]
        assert parser.complete or self.wire(job).ending != 0
        return parser.status, got

    def lines(self, job):
        return [msgspec.json.decode(line) for line in self.body(job)[1].splitlines() if line]


def content_due(wire):
    return [due for due, kind in zip(wire.due_ns, wire.kinds, strict=True) if kind == CONTENT]
