"""The reference agent in Python: httpx, and asyncio where there are several streams.

    python -m harness_agents.python_agent

It keeps to docs/agent-protocol.md and to nothing else: of the harness it takes the reading of the
corpus (ingest.py) and of answers (answers.py), which are plain Python. Every chunk is stamped when
the read returns, and then decoded, as any client does; events are written when the work is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx

from harness_agents.answers import Answer, reader_for
from harness_agents.ingest import ingest, sha256

VERSION = "1.0"
PROTOCOL = 1
CLOCKS = 5


def main() -> int:
    job = json.loads(sys.stdin.readline() or "{}")
    if job.get("protocol") != PROTOCOL:
        say(t="error", message=f"this agent speaks protocol {PROTOCOL}, and no other")
        return 2
    say(
        t="hello",
        protocol=PROTOCOL,
        name="python",
        version=VERSION,
        language="Python",
        runtime=f"{sys.implementation.name} {sys.version.split()[0]}, asyncio",
        about={"httpx": httpx.__version__},
    )
    agent = Agent(job)
    start_ns = greet(agent)
    if start_ns is None:
        return 1  # nobody is there any more
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(agent.work(start_ns))
    return agent.finish()


def say(**event: Any) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def greet(agent: Agent) -> int | None:
    """Answer the clock until the start is given: its instant."""
    for line in sys.stdin:
        message = json.loads(line)
        if message["t"] == "clock":
            say(t="clock", n=message["n"], at_ns=time.monotonic_ns())
            if message["n"] == CLOCKS - 1:
                agent.prepare()
                say(t="ready")
        elif message["t"] == "start":
            return int(message["at_ns"])
    return None


class Agent:
    """One job's work, and what there is to tell of it."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.endpoint = job["endpoint"]
        self.alone = job["streams"] == 1
        self.events: list[dict[str, Any]] = []
        self.failed = False
        self.summary = ""
        self.clients: list[httpx.AsyncClient] = []

    def prepare(self) -> None:
        """What is to be there before work begins. Each client is to have one connection."""
        tls = self.endpoint["url"].startswith("https:")
        context = httpx.create_ssl_context() if tls else False
        self.clients = [
            httpx.AsyncClient(
                headers=[(name, value) for name, value in self.endpoint["headers"]],
                timeout=None,
                trust_env=False,
                verify=context,
            )
            for _ in range(self.job["streams"])
        ]

    async def work(self, start_ns: int) -> None:
        """Cancelled by SIGTERM: everything ends with what it has."""
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await until(start_ns)
        self.events.append({"t": "begin", "at_ns": time.monotonic_ns()})
        try:
            self.ingest()
            await asyncio.gather(*(self.stream(n) for n in range(self.job["streams"])))
        except asyncio.CancelledError:
            self.failed = True
            raise
        finally:
            self.done_ns = time.monotonic_ns()
        for client in self.clients:
            await client.aclose()

    def ingest(self) -> None:
        corpus = self.job["corpus"]
        if corpus is not None:
            with self.phase("ingest"):
                listed = [(file["path"], file["kind"]) for file in corpus["files"]]
                self.summary = ingest(corpus["path"], listed).summary

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.events.append({"t": "phase_start", "name": name, "at_ns": time.monotonic_ns()})
        try:
            yield
        finally:
            self.events.append({"t": "phase_end", "name": name, "at_ns": time.monotonic_ns()})

    async def stream(self, number: int) -> None:
        texts: dict[str, str] = {}
        for stage in self.job["stages"]:
            with self.phase(stage["name"]) if self.alone else contextlib.nullcontext():
                answer = await self.call(number, stage, texts)
            texts[stage["name"]] = answer.text
            if answer.status != "ok":
                self.failed = True
                return

    async def call(self, number: int, stage: dict[str, Any], texts: dict[str, str]) -> Answer:
        name = f"{self.job['agent']}.{number}.{stage['name']}"
        prompt = filled(stage, number, self.summary, texts)
        request = self.clients[number].build_request(
            "POST",
            self.endpoint["url"] + stage["path"],
            content=json.dumps(put(stage["body"], stage["prompt_at"], prompt)).encode(),
            headers={"Content-Type": "application/json", "X-Request-ID": name},
        )
        answer = Answer(reader_for(self.endpoint["dialect"]), time.monotonic_ns())
        request.extensions = {**request.extensions, "trace": sending_stamp(answer)}
        try:
            async with asyncio.timeout(stage["timeout_s"]):
                await exchange(self.clients[number], request, answer)
        except TimeoutError:
            what = f"not over after {stage['timeout_s']:g} s"
            answer.fail("timeout", "timeout", what, time.monotonic_ns())
        except asyncio.CancelledError:
            answer.fail("cancelled", "cancelled", "interrupted", time.monotonic_ns())
            raise
        except httpx.HTTPError as error:
            ends_badly(answer, error)
        finally:
            kept = {"chunk_stamps": self.job["chunk_stamps"], "keep_text": self.job["keep_text"]}
            self.events += answer.events(name, stage["name"], **kept)
        return answer

    def finish(self) -> int:
        data = {"summary_sha256": sha256(self.summary)} if self.job["corpus"] else {}
        status = "error" if self.failed else "ok"
        self.events.append({"t": "result", "at_ns": self.done_ns, "status": status, "data": data})
        sys.stdout.write("".join(json.dumps(event) + "\n" for event in self.events))
        sys.stdout.flush()
        return 1 if self.failed else 0


async def until(start_ns: int) -> None:
    """A sleep may end a little early: never before the instant."""
    await asyncio.sleep(max(0, start_ns - time.monotonic_ns()) / 1e9)
    while time.monotonic_ns() < start_ns:
        pass


async def exchange(client: httpx.AsyncClient, request: httpx.Request, answer: Answer) -> None:
    response = await client.send(request, stream=True)
    try:
        answer.http_status = response.status_code
        if response.status_code // 100 != 2:
            said = (await response.aread()).decode("utf-8", "replace")
            answer.fail("error", f"http.{response.status_code}", said, time.monotonic_ns())
            return
        async for data in response.aiter_raw():
            if not answer.feed(data, time.monotonic_ns()):
                break  # it failed: what comes behind that is of no interest
        answer.finish(time.monotonic_ns())
    finally:
        await response.aclose()


def sending_stamp(answer: Answer) -> Any:
    """httpx says when it is about to write the request, on a connection that stands."""

    async def trace(event: str, info: dict[str, Any]) -> None:
        if event == "http11.send_request_headers.started":
            answer.sent_ns = time.monotonic_ns()

    return trace


def ends_badly(answer: Answer, error: httpx.HTTPError) -> None:
    now_ns = time.monotonic_ns()
    what = str(error) or type(error).__name__
    if answer.http_status is None:
        code = "connect" if isinstance(error, httpx.ConnectError) else "reset"
        answer.fail("error", code, what, now_ns)
    elif not answer.torn(now_ns):
        cut = isinstance(error, httpx.RemoteProtocolError)
        status, code = ("truncated", "truncated") if cut else ("error", "reset")
        answer.fail(status, code, what, now_ns)


def filled(stage: dict[str, Any], number: int, summary: str, texts: dict[str, str]) -> str:
    """The prompt with its places filled, in one go: what a model wrote is not looked at again."""

    def value(found: re.Match[str]) -> str:
        name, answer = found[1], found[2]
        if name == "stream":
            return str(number)
        if name == "data_summary":
            return summary
        return texts[answer][: stage["answer_chars_max"]] if answer in texts else found[0]

    return re.sub(r"\{\{(stream|data_summary|answer:([^{}]*))\}\}", value, stage["prompt"])


def put(body: dict[str, Any], place: list[str | int], prompt: str) -> dict[str, Any]:
    """`body` with the prompt in its place; the job's own stays as it is."""
    body = copy.deepcopy(body)
    at: Any = body
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = prompt
    return body


if __name__ == "__main__":
    sys.exit(main())
