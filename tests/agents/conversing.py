"""The harness's side of the agent protocol, in its plainest form: a job in, events out."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time

from tests.agents import vectors
from tests.raw import Connections, read_request

PATHS = {"ollama": "/api/chat", "openai": "/v1/chat/completions"}
BARRIER_NS = 5_000_000


def stage(name, prompt, *, dialect="openai", **fields):
    body = {"model": "sim", "stream": True, "messages": [{"role": "user", "content": ""}]}
    place = ["messages", 0, "content"]
    common = {"body": body, "prompt_at": place, "answer_chars_max": 1000, "timeout_s": 60.0}
    return {"name": name, "prompt": prompt, "path": PATHS[dialect], **common, **fields}


def job(url, stages, *, dialect="openai", **fields):
    return {
        "t": "job",
        "protocol": 1,
        "job_id": "j",
        "agent": "a",
        "model": "sim",
        "endpoint": {"url": url, "dialect": dialect, "headers": []},
        "options": {},
        "seed": 0,
        "corpus": None,
        "stages": stages,
        "streams": 1,
        "chunk_stamps": True,
        "keep_text": True,
        **fields,
    }


class Talk:
    """One program, started and spoken to."""

    def __init__(self, *command):
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.events = []
        self.start_ns = None

    def hear(self):
        line = self.process.stdout.readline()
        if line:
            self.events.append(json.loads(line))
        return bool(line)

    def tell(self, message):
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def begin(self, job):
        """Up to the start, which is given."""
        self.tell(job)
        assert self.hear(), self.process.stderr.read()
        for n in range(5):
            self.tell({"t": "clock", "n": n})
            assert self.hear(), self.process.stderr.read()
        assert self.hear()
        assert self.events[-1] == {"t": "ready"}
        self.start_ns = time.monotonic_ns() + BARRIER_NS
        self.tell({"t": "start", "at_ns": self.start_ns})

    def end(self):
        """(exit status, events)"""
        while self.hear():
            pass
        self.process.stdin.close()
        status = self.process.wait(60)
        self.process.stdout.close()
        self.process.stderr.close()
        return status, self.events


def converse(command, job):
    talk = Talk(*command)
    talk.begin(job)
    return talk.end()


def without_instants(events):
    """What happened, with nothing of when: instants become the number of those that there are."""
    plain = []
    for event in events:
        if event["t"] in ("hello", "clock", "ready"):
            continue
        event = dict(event)
        if event.get("at_ns") is not None:
            event["at_ns"] = "known"
        if "chunk_ns" in event:
            event["chunk_ns"] = len(event["chunk_ns"])
        plain.append(event)
    return plain


class Replay(Connections):
    """Answers each request by the vector whose number is its prompt, in HTTP chunks of `size`
    bytes, and remembers the request's body by the call's name. `closes`: after each answer."""

    def __init__(self, cases, size, closes=False):
        super().__init__()
        self.cases, self.size, self.closes = cases, size, closes
        self.bodies = {}

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def _serve(self, reader, writer):
        while (request := await read_request(reader)) is not None:
            head, _, body = request.partition(b"\r\n\r\n")
            asked = json.loads(body)
            names = [line for line in head.split(b"\r\n") if line.lower().startswith(b"x-request")]
            self.bodies[names[0].split(b": ")[1].decode()] = asked
            case = self.cases[int(asked["messages"][0]["content"])]
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n")
            writer.write(b"Connection: close\r\n\r\n" if self.closes else b"\r\n")
            data = vectors.body(case)
            for at in range(0, len(data), self.size):
                piece = data[at : at + self.size]
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            if self.closes:
                return
