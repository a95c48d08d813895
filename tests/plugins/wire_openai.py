"""OpenAI's SSE as three servers send it, and how the tests of its decoder read it."""

from __future__ import annotations

import struct

from harness_openai.decode import decode

from harness.schema import ChunkKind, Decoded
from tests.plugins.wire_records import SSE, record, sse

EMPTY, REASONING, TOOL, ANSWER = (
    ChunkKind.EMPTY,
    ChunkKind.REASONING,
    ChunkKind.TOOL,
    ChunkKind.ANSWER,
)


OPENAI = sse(
    '{"id":"c1","object":"chat.completion.chunk","created":1,"model":"gpt","system_fingerprint":"fp",'
    '"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},'
    '"finish_reason":null}],"usage":null,"obfuscation":"xyz"}',
    '{"id":"c1","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}],"usage":null}',
    '{"id":"c1","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}],"usage":null}',
    '{"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}',
    '{"id":"c1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,'
    '"prompt_tokens_details":{"cached_tokens":4},'
    '"completion_tokens_details":{"reasoning_tokens":1}}}',
    "[DONE]",
)


VLLM_CONTINUOUS = sse(
    '{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],'
    '"usage":{"prompt_tokens":5,"completion_tokens":0,"total_tokens":5}}',
    '{"choices":[{"index":0,"delta":{"content":"ab"}}],'
    '"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}',
    '{"choices":[{"index":0,"delta":{"content":"c"}}],'
    '"usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9}}',
    '{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"length"}],'
    '"usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":10}}',
    '{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":10},'
    '"metrics":{"time_to_first_token_ms":12.5,"queue_time_ms":0.5}}',
    "[DONE]",
)


LLAMA_CPP = sse(
    '{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],'
    '"created":1,"id":"x","model":"m","system_fingerprint":"b1-2","object":"chat.completion.chunk"}',
    '{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"df"}}]}',
    '{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"eb"}}]}',
    '{"choices":[{"finish_reason":"length","index":0,"delta":{}}]}',
    '{"choices":[],"usage":{"completion_tokens":2,"prompt_tokens":15,"total_tokens":17,'
    '"prompt_tokens_details":{"cached_tokens":8}},"timings":{"cache_n":8,"prompt_n":7,'
    '"prompt_ms":0.669,"predicted_n":2,"predicted_ms":0.395}}',
    "[DONE]",
)


def read(body: bytes, content_type: bytes = SSE, **how: object) -> Decoded:
    return decode(record(body, content_type, **how), lambda text: text)


def tokens(decoded: Decoded) -> list[int] | None:
    if decoded.chunk_tokens is None:
        return None
    return list(struct.unpack(f"<{len(decoded.kinds)}I", decoded.chunk_tokens))
