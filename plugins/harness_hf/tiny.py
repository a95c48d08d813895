"""Models with random weights for `hf`, written in a second or two, without torch and offline.

They are the `tiny` models of backend `llamacpp` (harness_llamacpp.tiny says how those are made, and
why their text is printable), as a folder that transformers can load: a Llama with a byte-pair
tokenizer and a chat template. Every file has the same bytes on every machine.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Final

import msgspec
from harness_llamacpp import tiny as base
from harness_llamacpp.tiny import SHAPES, Shape

from harness.errors import BackendError
from harness_hf import tensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GENERATOR_VERSION", "MARKER", "SHAPES", "Shape", "write"]

GENERATOR_VERSION: Final = 1
"""Part of the folder's name: raise it with any change of what is written."""
MARKER: Final = "harness_random_weights"
"""A key of config.json, so that a copy under another name is recognised too."""

_PARTS: Final = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_OUTER: Final = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def write(folder: Path, shape: Shape = SHAPES["tiny"], *, dtype: str = "float32") -> None:
    """Make the folder, all or nothing: a reader never sees a part of it. One that is there already
    is replaced by nothing, and left as it is. BackendError where it cannot be written."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            _write_files(part, shape, dtype)
            part.chmod(0o755)
            if not folder.exists():
                part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        if (folder / "config.json").is_file():
            return  # somebody else was making the same, and was first
        raise BackendError(
            f"cannot write the model {shape.name!r}: {error.strerror}",
            where=os.fspath(folder.parent),
            remedy="set HARNESS_CACHE_DIR to a folder that can be written",
        ) from error


def _write_files(folder: Path, shape: Shape, dtype: str) -> None:
    tokens, merges = base.tokens_and_merges()
    weights = {_name(name): tensor for name, tensor in base.weights(tokens, shape).items()}
    tensors.write(folder / "model.safetensors", weights, dtype)
    _json(folder / "config.json", _config(shape, weights, dtype))
    _json(folder / "generation_config.json", _marks())
    _json(folder / "tokenizer.json", _tokenizer(tokens, merges))
    _json(folder / "tokenizer_config.json", _tokenizer_config(tokens))
    (folder / "chat_template.jinja").write_text(base.CHAT_TEMPLATE, "utf-8")


def _json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")


def _name(name: str) -> str:
    """A GGUF tensor's name in transformers' words."""
    if name in _OUTER:
        return _OUTER[name]
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{_PARTS[part]}.weight"


def _marks() -> dict[str, int]:
    return {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


def _config(shape: Shape, weights: Mapping[str, NDArray[np.float32]], dtype: str) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        MARKER: True,
        "dtype": dtype,
        "vocab_size": base.VOCABULARY,
        "hidden_size": shape.width,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads_kv,
        "head_dim": base.HEAD_DIM,
        "hidden_act": "silu",
        "max_position_embeddings": base.CONTEXT_LENGTH,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        **_marks(),
        "parameters": sum(tensor.size for tensor in weights.values()),
    }


def _tokenizer(tokens: tuple[str, ...], merges: tuple[str, ...]) -> dict[str, Any]:
    """tokenizer.json: GPT-2's scheme, a begin mark before every text."""
    begin = {"SpecialToken": {"id": tokens[0], "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for number, token in enumerate(base.SPECIAL)
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, text],
            "pair": [begin, text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {tokens[0]: {"id": tokens[0], "ids": [0], "tokens": [tokens[0]]}},
        },
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in merges],
        },
    }


def _tokenizer_config(tokens: tuple[str, ...]) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[0],
        "eos_token": tokens[1],
        "pad_token": tokens[2],
        "model_max_length": base.CONTEXT_LENGTH,
        "clean_up_tokenization_spaces": False,
    }
