"""The truth server in a process of its own, as a person starts it, and clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import trustme

from harness.testing.sim import SimServer, sim_spec
from harness.testing.sim.log import read_log

SIM = [sys.executable, "-m", "harness", "sim"]
RUN = [sys.executable, "-m", "harness", "run"]


class Running:
    def __init__(self, process, ready):
        self.process = process
        self.url = ready["url"]
        self.pid = ready["pid"]
        self.log = Path(ready["log"])

    def stop(self):
        """Ends its standard input; returns its log."""
        self.process.stdin.close()
        assert self.process.wait(60) == 0
        return read_log(self.log)


@contextlib.contextmanager
def sim(log, *words):
    process = subprocess.Popen(
        [*SIM, "--until-eof", "--log", str(log), *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Running(process, json.loads(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


@contextlib.contextmanager
def inline_sim(log, spec):
    """A SimServer in a thread of this process; its log is complete afterwards."""
    server = SimServer(sim_spec(spec), log)
    reader, writer = os.pipe()
    thread = threading.Thread(target=server.serve, args=([reader],))
    thread.start()
    try:
        yield server
    finally:
        os.close(writer)
        thread.join()
        os.close(reader)
        server.close()


@contextlib.contextmanager
def tls_front(url, folder):
    """(https address that leads to `url`, environment in which its certificate is trusted)"""
    authority = trustme.CA()
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with relay(url, context) as port:
        yield f"https://127.0.0.1:{port}", {"SSL_CERT_FILE": str(trusted)}


@contextlib.contextmanager
def relay(url, context):
    """A port that decrypts, and passes everything on."""
    host, port = re.fullmatch(r"http://(.+):(\d+)", url).groups()
    loop = asyncio.new_event_loop()

    async def one_way(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def both_ways(reader, writer):
        inner, outer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(one_way(reader, outer), one_way(inner, writer))

    server = loop.run_until_complete(asyncio.start_server(both_ways, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:

        async def end():
            server.close()
            rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def post(url, path, body):
    return httpx.post(url + path, json=body, trust_env=False, timeout=60)


def chat(url, text="one two three", tokens=4, **more):
    """A streamed Ollama chat: its lines."""
    body = {
        "model": "sim",
        "messages": [{"role": "user", "content": text}],
        "options": {"num_predict": tokens} | more.pop("options", {}),
    }
    answer = post(url, "/api/chat", body | more)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.split("\n") if line]


def events(url, text="one two three", tokens=4, path="/v1/chat/completions", **more):
    """A streamed OpenAI chat: its data, [DONE] as a string."""
    said = {"prompt": text} if path == "/v1/completions" else None
    said = said or {"messages": [{"role": "user", "content": text}]}
    body = {"model": "sim", "stream": True, "max_tokens": tokens, **said, **more}
    answer = post(url, path, body)
    assert answer.status_code == 200, answer.text
    data = [line[6:] for line in answer.text.split("\n") if line.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in data]
