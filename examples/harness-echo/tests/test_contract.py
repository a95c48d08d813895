"""The contract suite that ships with the harness, over the example's backend."""

from __future__ import annotations

from harness_echo import EchoBackend, EchoOptions

from harness.protocols import BackendConfig
from harness.schema import TimeoutsSpec
from harness.testing import BackendContract, respond


class TestEchoBackend(BackendContract):
    good_text = "one two "
    good_tokens = 2

    def backend(self):
        return EchoBackend(
            BackendConfig(
                model=None, urls=(), options=EchoOptions(), timeouts=TimeoutsSpec(), seed=0
            )
        )

    def good(self):
        lines = [b'{"word": "one "}\n', b'{"word": "two "}\n', b'{"end": true, "words": 2}\n']
        return respond(lines, content_type="application/x-ndjson")
