"""The public contract suite, run over the openai backend as any plugin author runs it."""

from __future__ import annotations

import json

from harness_openai.backend import OpenAIBackend
from harness_openai.options import OpenAIOptions

from harness.protocols import BackendConfig
from harness.schema import Request, TimeoutsSpec
from harness.testing import BackendContract, Piece, respond


def event(choice: dict | None, **fields: object) -> bytes:
    found = {"id": "c", "choices": [choice] if choice else [], **fields}
    return b"data: " + json.dumps(found).encode() + b"\n\n"


class TestChat(BackendContract):
    good_text = "Hello"
    good_tokens = 2
    api = "chat"

    def backend(self) -> OpenAIBackend:
        options = OpenAIOptions(api=self.api)
        return OpenAIBackend(
            BackendConfig(model="m", urls=(), options=options, timeouts=TimeoutsSpec(), seed=0)
        )

    def good(self) -> list[Piece]:
        body = [
            event({"index": 0, "delta": {"role": "assistant", "content": ""}}),
            event({"index": 0, "delta": {"content": "Hel"}}),
            event({"index": 0, "delta": {"content": "lo"}}),
            event({"index": 0, "delta": {}, "finish_reason": "stop"}),
            event(None, usage={"prompt_tokens": 3, "completion_tokens": 2}),
            b"data: [DONE]\n\n",
        ]
        return respond(body)


class TestCompletions(TestChat):
    api = "completions"

    def request(self) -> Request:
        return Request(prompt="Hello?", max_tokens=8, seed=1)

    def good(self) -> list[Piece]:
        body = [
            event({"index": 0, "text": "Hel"}),
            event({"index": 0, "text": "lo", "finish_reason": "stop"}),
            event(None, usage={"prompt_tokens": 3, "completion_tokens": 2}),
        ]
        return respond(body)
