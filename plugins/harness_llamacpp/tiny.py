"""`tiny`: a Llama of 2 layers and random weights, written by ourselves in about a second; and two
that are larger, for what is compared over sizes.

A real engine runs it for real (tokenising, prefill, attention over a KV cache, sampling, slots), so
its speed and its stream are those of llama.cpp; its text is noise, and reports say so.

Strategy. Every number comes from SHAKE-256 of the tensor's name, through exact integer-to-float
steps, so the file has the same bytes on every machine. Dimension 0 of the residual stream is a bias
channel: each embedding holds the same constant there and no layer writes to it, so a single entry
in a token's output row moves its logit whatever the context. Tokens that would end the text early
or would not print (end marks, roles, control characters, halves of UTF-8 sequences) are pushed far
down that way: the model runs to `max_tokens`, and gives one chunk of plain text a token.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness.errors import BackendError, MissingExtra
from harness_llamacpp import vocabulary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "CHAT_TEMPLATE",
    "CONTEXT_LENGTH",
    "GENERATOR_VERSION",
    "HEAD_DIM",
    "MARKER",
    "SHAPES",
    "SPECIAL",
    "TINY",
    "VOCABULARY",
    "Shape",
    "tokens_and_merges",
    "weights",
    "write",
]

GENERATOR_VERSION: Final = 1
"""Part of the file's name: raise it with any change of what is written."""

MARKER: Final = "harness.random_weights"
"""A key near the start of the file, so that a copy under another name is recognised too."""

CONTEXT_LENGTH: Final = 32_768
VOCABULARY: Final = 4096
HEAD_DIM: Final = 64


class Shape(Struct, frozen=True, kw_only=True):
    """What tells one of them from another."""

    name: str
    width: int
    layers: int
    heads: int
    heads_kv: int
    seed: int = 0
    """Other numbers of the same kind."""

    @property
    def feed_forward(self) -> int:
        return 3 * self.width

    @property
    def parameters(self) -> int:
        """Of the file that `write` makes."""
        attention = 2 * self.width * HEAD_DIM * (self.heads + self.heads_kv)
        layer = attention + 3 * self.width * self.feed_forward + 2 * self.width
        return 2 * VOCABULARY * self.width + self.width + self.layers * layer

    @property
    def gain(self) -> float:
        """Wider sums of as large numbers would be larger: the text would soon repeat itself."""
        return float(math.sqrt(TINY.width / self.width))


TINY: Final = Shape(name="tiny", width=64, layers=2, heads=2, heads_kv=1)
SHAPES: Final = {
    shape.name: shape
    for shape in (
        TINY,
        Shape(name="tiny-5M", width=256, layers=4, heads=4, heads_kv=1),
        Shape(name="tiny-22M", width=512, layers=6, heads=8, heads_kv=2),
    )
}
"""By name: 0.65, 5.1 and 22 million parameters."""

_ROLES: Final = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
SPECIAL: Final = ("<|begin|>", "<|end|>", "<|pad|>", *_ROLES)
"""Marks, and no text: the beginning of the vocabulary."""
_NORMAL_TOKEN, _CONTROL_TOKEN = 1, 3  # llama_token_type

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + (message['content'] or '') + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)

_BIAS = 5.0  # the constant in dimension 0; after normalisation it is about as large
_PUSH_DOWN = -6.0  # times that: a logit near −30, where the best tokens have about +3
_SPREAD = 0.25  # gives logits a standard deviation near 1: varied text without favourites


def write(path: Path, shape: Shape = TINY) -> None:
    """Make the file, all or nothing: a reader never sees a part of it.

    MissingExtra without the `gguf` package; BackendError where the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            part = Path(file.name)
        try:
            _write_gguf(part, shape)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise BackendError(
            f"cannot write the model `{shape.name}`: {error.strerror}",
            where=os.fspath(path.parent),
            remedy="set HARNESS_CACHE_DIR to a folder that can be written",
        ) from error


@cache
def tokens_and_merges() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """4096 tokens (control tokens, bytes, then one per merge) and the merges in GGUF's spelling."""
    alphabet = vocabulary.byte_alphabet()
    merges = vocabulary.learn(VOCABULARY - len(SPECIAL) - len(alphabet))
    tokens = (*SPECIAL, *alphabet, *(left + right for left, right in merges))
    return tokens, tuple(f"{left} {right}" for left, right in merges)


def weights(tokens: Sequence[str], shape: Shape = TINY) -> dict[str, NDArray[np.float32]]:
    """Tensors by their GGUF names, shapes (out, in)."""
    import numpy as np

    noise = partial(_noise, seed=shape.seed)
    width, inner = shape.width, shape.feed_forward
    query, key = shape.heads * HEAD_DIM, shape.heads_kv * HEAD_DIM
    embedding = noise("token_embd.weight", VOCABULARY, width)
    embedding[:, 0] = _BIAS
    output = noise("output.weight", VOCABULARY, width) * np.float32(_SPREAD * shape.gain)
    output[:, 0] = [
        0.0 if place >= len(SPECIAL) and vocabulary.printable(token) else _PUSH_DOWN
        for place, token in enumerate(tokens)
    ]
    tensors = {"token_embd.weight": embedding, "output.weight": output}
    tensors["output_norm.weight"] = np.ones(width, np.float32)
    for layer in range(shape.layers):
        shapes = {
            "attn_q": (query, width),
            "attn_k": (key, width),
            "attn_v": (key, width),
            "attn_output": (width, query),
            "ffn_gate": (inner, width),
            "ffn_up": (inner, width),
            "ffn_down": (width, inner),
        }
        for part, (rows, columns) in shapes.items():
            name = f"blk.{layer}.{part}.weight"
            tensors[name] = noise(name, rows, columns) * np.float32(0.25 * shape.gain)
            if rows == width:
                tensors[name][0] = 0.0  # what a layer adds leaves the bias channel alone
        for norm in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{norm}.weight"] = np.ones(width, np.float32)
    return tensors


def _noise(name: str, rows: int, columns: int, *, seed: int) -> NDArray[np.float32]:
    """Uniform in [−1, 1), from the name alone. Both steps are exact in float32."""
    import numpy as np

    words = f"harness tiny {GENERATOR_VERSION} {name}" + (f" seed {seed}" if seed else "")
    stream = hashlib.shake_256(words.encode())
    raw = np.frombuffer(stream.digest(2 * rows * columns), "<i2").reshape(rows, columns)
    return raw.astype(np.float32) / np.float32(32768)


def _write_gguf(path: Path, shape: Shape) -> None:
    try:
        import gguf
    except ImportError as error:
        raise MissingExtra("llamacpp", missing="gguf") from error
    tokens, merges = tokens_and_merges()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_bool(MARKER, True)
    _describe(writer, gguf.LlamaFileType.MOSTLY_F16, shape)
    _add_tokenizer(writer, tokens, merges)
    for name, tensor in weights(tokens, shape).items():
        # Norms stay float32, as every converter leaves them.
        writer.add_tensor(name, tensor if tensor.ndim == 1 else tensor.astype("<f2"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: Any, file_type: int, shape: Shape) -> None:
    writer.add_name(f"harness {shape.name} (random weights)")
    writer.add_description("Random weights for benchmarks: its text is noise")
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads_kv)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(file_type)


def _add_tokenizer(writer: Any, tokens: Sequence[str], merges: Sequence[str]) -> None:
    control = len(SPECIAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([_CONTROL_TOKEN] * control + [_NORMAL_TOKEN] * (len(tokens) - control))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(SPECIAL.index("<|begin|>"))
    writer.add_eos_token_id(SPECIAL.index("<|end|>"))
    writer.add_eot_token_id(SPECIAL.index("<|end|>"))
    writer.add_pad_token_id(SPECIAL.index("<|pad|>"))
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)
