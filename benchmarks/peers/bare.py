"""epoll, recvmsg with receive stamps, and nothing else: what reading these streams costs at least.

    python -m benchmarks.peers.bare URL STREAMS TOKENS

One chat completion on each of STREAMS connections, read to the end by `read_bare` of
benchmarks/reactor_ends.pyx: nothing is parsed, kept or decoded.
"""

from __future__ import annotations

import importlib
import json
import socket
import sys
from urllib.parse import urlsplit

from benchmarks import reactor

__all__ = ["request"]


def request(host: str, tokens: int, text: str) -> bytes:
    body = json.dumps(
        {
            "model": "sim",
            "messages": [{"role": "user", "content": text}],
            "max_tokens": tokens,
            "stream": True,
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def main() -> None:
    url, streams, tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    sys.path.insert(0, str(reactor.BUILD))
    ends = importlib.import_module("reactor_ends")
    reactor.allow_many_files()
    where = urlsplit(url)
    assert where.hostname and where.port
    sockets = [socket.create_connection((where.hostname, where.port)) for _ in range(streams)]
    for one in sockets:
        one.setblocking(False)
    asked = [request(where.netloc, tokens, f"stream {i} of a bare loop") for i in range(streams)]
    print(json.dumps(ends.read_bare([one.fileno() for one in sockets], asked)))


if __name__ == "__main__":
    main()
