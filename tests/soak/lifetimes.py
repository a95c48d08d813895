"""Opens, uses and closes one kind of object again and again, and says what that left behind.

    python -m tests.soak.lifetimes reactor|sender|native|portable LIVES [PLANTED]

In a process of its own: what earlier tests gave back to the heap would hide what is lost here.
Prints a JSON list of samples, [lives, rss_bytes, descriptors, threads], taken at rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import selectors
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from harness._native.reactor import Reactor
from harness._native.truth import Sender
from harness.schema import Exchange, TimeoutsSpec
from harness.transport import open_transport
from tests.native.drive_reactor import Client, response, sockaddr

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from steady import sample

Address = tuple[str, int]
Life = Callable[[Address], Awaitable[None]]

SAMPLES = 100
TIMEOUTS = TimeoutsSpec(connect_s=30, first_byte_s=30, between_payloads_s=30, total_s=60)


async def reactor(server: Address) -> None:
    """With a call in flight when it is closed, and one that is never drained."""
    client = Client()
    origin = client.origin(sockaddr(socket.AF_INET, server))
    client.call(origin)
    client.submit(origin)
    client.reactor.close()


async def sender(server: Address) -> None:
    """With a request that is never answered."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    address = listener.getsockname()
    with_it = Sender()
    with_it.listen(listener.detach())
    with socket.create_connection(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    with_it.drain()
    with_it.close()


async def _transport(kind: Any, server: Address) -> None:
    """With a call that ended, one that was given up, and one that closing ends."""
    url = f"http://127.0.0.1:{server[1]}/x"
    transport = open_transport(kind, [url])
    await transport.open()
    sent = [transport.send(Exchange(url=url, body=b"{}"), TIMEOUTS) for _ in range(3)]
    await sent[0]
    sent[1].cancel()
    await transport.close()
    await asyncio.gather(*sent, return_exceptions=True)


async def native(server: Address) -> None:
    await _transport("native", server)


async def portable(server: Address) -> None:
    await _transport("portable", server)


LIVES: dict[str, Life] = {f.__name__: f for f in (reactor, sender, native, portable)}

PLANTS: dict[str, Callable[[], Any]] = {
    "memory": lambda: b"x" * 20_000,
    "descriptors": lambda: os.open(os.devnull, os.O_RDONLY),
    "threads": Reactor,
}


ANSWER = response(b"data: 1\n\n" * 100)


class Server(threading.Thread):
    """Answers whatever comes, in one thread, and keeps nothing of it. Ends with the process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address: Address = self._listener.getsockname()
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._listener, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            for key, _ in self._ready.select():
                if key.fileobj is self._listener:
                    self._ready.register(self._listener.accept()[0], selectors.EVENT_READ)
                elif not _answered(key.fileobj):
                    self._ready.unregister(key.fileobj)
                    key.fileobj.close()

    def connections(self) -> int:
        return len(self._ready.get_map()) - 1


def _answered(connection: Any) -> bool:
    with contextlib.suppress(OSError):
        if connection.recv(65536):
            connection.sendall(ANSWER)
            return True
    return False


async def main(kind: str, lives: int, plant: str | None) -> list[Any]:
    found, planted = [], []
    server = Server()
    server.start()
    for life in range(1, lives + 1):
        await LIVES[kind](server.address)
        if plant:
            planted.append(PLANTS[plant]())
        if life % (lives // SAMPLES) == 0:
            while server.connections():
                os.sched_yield()  # it has not seen yet that its client has gone
            gc.collect()
            found.append(sample(life))
    return found


if __name__ == "__main__":
    kind, lives, *plant = sys.argv[1:]
    print(json.dumps(asyncio.run(main(kind, int(lives), plant[0] if plant else None))))
