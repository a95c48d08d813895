"""A backend: how to reach a server, what bytes to send it, and how to read its stream.

The server here is started by the backend itself, so that the example needs nothing else. It streams
the words of the prompt back, one NDJSON line each, and ends with {"end": true, "words": n}.
"""

from __future__ import annotations

import asyncio
import json

import msgspec

from harness.protocols import BackendConfig
from harness.schema import CallError, ChunkKind, Decoded, Effective, Exchange, Request, Usage


class EchoOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    upper: bool = False
    """Shout."""


class EchoBackend:
    def __init__(self, config: BackendConfig) -> None:
        self.config = config
        self.options: EchoOptions = config.options
        self.urls = ("http://127.0.0.1:9/",)  # nothing listens there until open
        self.server: asyncio.Server | None = None

    async def open(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.urls = (f"http://127.0.0.1:{port}/",)

    async def effective(self) -> Effective:
        """Say what really runs. `simulated` puts a watermark on every report."""
        return Effective(
            server="echo",
            model="echo",
            simulated=True,
            options={"upper": self.options.upper},
        )

    def prepare(self, request: Request) -> Exchange:
        prompt = request.prompt or " ".join(message.content for message in request.messages)
        body = {"prompt": prompt, "max": request.max_tokens, "upper": self.options.upper}
        return Exchange(url=self.urls[0], body=json.dumps(body).encode(), framing="ndjson")

    def decode(self, request: Request, record) -> Decoded:
        """Called after the call ended, whatever became of it. Must not raise on any bytes."""
        decoded = Decoded()
        kinds = bytearray(len(record))
        if record.http_status is not None and record.http_status >= 400:
            decoded.error = CallError(code=f"http.{record.http_status}", message="refused")
            decoded.kinds = bytes(kinds)
            return decoded
        for index, payload in enumerate(record.payloads()):
            try:
                line = json.loads(payload)
            except ValueError:
                decoded.error = CallError(code="protocol", message="a line is not JSON")
                break
            if not isinstance(line, dict):
                decoded.error = CallError(code="protocol", message="a line is not an object")
                break
            if line.get("end") is True:
                decoded.end = index
                decoded.finish_reason = "stop"
                decoded.usage = Usage(output_tokens=line.get("words"))
                decoded.server = line
            elif isinstance(line.get("word"), str):
                kinds[index] = ChunkKind.ANSWER
                decoded.text += line["word"]
        decoded.kinds = bytes(kinds)
        return decoded

    async def close(self) -> None:
        if self.server is not None:
            self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                asked = json.loads(await reader.readexactly(length))
                words = asked["prompt"].split()[: asked["max"]]
                lines = [{"word": (w.upper() if asked["upper"] else w) + " "} for w in words]
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n"
                    b"transfer-encoding: chunked\r\n\r\n"
                )
                for line in [*lines, {"end": True, "words": len(words)}]:
                    text = json.dumps(line).encode() + b"\n"
                    writer.write(b"%x\r\n%s\r\n" % (len(text), text))
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is done
        finally:
            writer.close()
