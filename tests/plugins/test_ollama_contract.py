"""The public contract suite, run over the ollama backend as any plugin author runs it."""

from __future__ import annotations

import json

from harness_ollama.backend import OllamaBackend
from harness_ollama.options import OllamaOptions

from harness.protocols import BackendConfig
from harness.schema import Request, TimeoutsSpec
from harness.testing import BackendContract, Piece, respond


def line(**fields: object) -> bytes:
    return json.dumps({"model": "m", **fields}).encode() + b"\n"


class TestChat(BackendContract):
    good_text = "Hello"
    good_tokens = 2

    def backend(self) -> OllamaBackend:
        options = OllamaOptions()
        return OllamaBackend(
            BackendConfig(model="m", urls=(), options=options, timeouts=TimeoutsSpec(), seed=0)
        )

    def good(self) -> list[Piece]:
        body = [
            line(message={"role": "assistant", "content": "Hel"}, done=False),
            line(message={"role": "assistant", "content": "lo"}, done=False),
            line(message={"content": ""}, done=True, done_reason="stop", eval_count=2),
        ]
        return respond(body, content_type="application/x-ndjson")


class TestGenerate(TestChat):
    def backend(self) -> OllamaBackend:
        options = OllamaOptions(api="generate", raw=True)
        return OllamaBackend(
            BackendConfig(model="m", urls=(), options=options, timeouts=TimeoutsSpec(), seed=0)
        )

    def request(self) -> Request:
        return Request(prompt="Hello?", max_tokens=8, seed=1)

    def good(self) -> list[Piece]:
        body = [
            line(response="Hel", done=False),
            line(response="lo", done=False),
            line(response="", done=True, done_reason="stop", eval_count=2, context=[1, 2]),
        ]
        return respond(body, content_type="application/x-ndjson")
