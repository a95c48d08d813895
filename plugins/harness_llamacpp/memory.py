"""How much memory a model is going to take, from its metadata alone: nothing is loaded.

The keys are those of GGUF files, by which Ollama, too, tells of a model. Keys and values are
16-bit floats, as both servers keep them by default:

    layers x tokens of context x heads of keys x (length of a key + length of a value) x 2 bytes

A model whose layers do not all look back over the whole context (sliding windows, state spaces)
takes less: the prediction is an upper bound for it, and `basis` says so where it can be seen.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from harness.schema import Footprint
from harness_llamacpp.header import BadHeaderError, parts, read_header
from harness_llamacpp.options import LlamaCppOptions
from harness_llamacpp.tiny import CONTEXT_LENGTH, HEAD_DIM, VOCABULARY, Shape

__all__ = ["footprint", "footprint_of", "kv_bytes", "of_architecture"]

MIB: Final = 2**20
PROCESS_BYTES: Final = 48 * MIB
"""Of the server without a model: measured as 49.5 MB (peak RSS) with `tiny`, whose weights and keys
are 1.8 MB of that; Linux, the CPU build of 2026-10, one slot."""
MICRO_BATCH: Final = 512
FLOAT_BYTES: Final = 4
HALF_BYTES: Final = 2
CONTEXT_STEP: Final = 256

GPU_NODES: Final = ("/dev/nvidiactl", "/dev/kfd")
"""Without one of these, Linux has no GPU to offer to this engine."""
GPU_WORDS: Final = (b"ggml_cuda_", b"ggml_backend_cuda_reg", b"hipGetDeviceCount")


def footprint(path: Path, options: LlamaCppOptions) -> Footprint:
    """Of the file `path`, as `options` would have it served."""
    device: Literal["gpu", "host"] = "gpu" if options.num_gpu and offers_gpu() else "host"
    files = parts(path)
    try:
        headers = [read_header(one) for one in files]
        weights = sum(one.stat().st_size for one in files)
    except (OSError, BadHeaderError) as error:
        why = f"the file's header cannot be read: {error}"
        return Footprint(device=device, unknown={"weights_bytes": why, "kv_bytes": why})
    own = of_architecture(headers[0].entries, headers[0].architecture)
    told = "size of the file" + (f", {len(files)} parts" if files[1:] else "")
    parameters = sum(one.parameters for one in headers)
    return _predicted(own, weights, told, parameters, options, device)


def footprint_of(shape: Shape, options: LlamaCppOptions) -> Footprint:
    """Of one of our own models, before its file is made."""
    own = {
        "block_count": shape.layers,
        "embedding_length": shape.width,
        "feed_forward_length": shape.feed_forward,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.heads_kv,
        "attention.key_length": HEAD_DIM,
        "attention.value_length": HEAD_DIM,
        "context_length": CONTEXT_LENGTH,
        "vocab_size": VOCABULARY,
    }
    weights = shape.parameters * HALF_BYTES
    device: Literal["gpu", "host"] = "gpu" if options.num_gpu and offers_gpu() else "host"
    told = "2 bytes a parameter: the file is made when it is first used"
    return _predicted(own, weights, told, shape.parameters, options, device)


def _predicted(
    own: Mapping[str, Any],
    weights_bytes: int,
    told: str,
    parameters: int,
    options: LlamaCppOptions,
    device: Literal["gpu", "host"],
) -> Footprint:
    context = _context(options.num_ctx, own.get("context_length"))
    keys = kv_bytes(own, context * options.parallel)
    return Footprint(
        weights_bytes=weights_bytes,
        kv_bytes=keys,
        overhead_bytes=PROCESS_BYTES + _compute_bytes(own),
        parameters=parameters,
        context_length=context,
        device=device,
        spread=True,  # the engine splits a model over the GPUs that it sees
        basis={
            "weights_bytes": told,
            "kv_bytes": f"{options.parallel} slots x {context} tokens, 16-bit" + _less(own),
            "overhead_bytes": "the process, and buffers for a step of 512 tokens: an allowance",
        },
        unknown={} if keys is not None else {"kv_bytes": "the metadata does not tell its shape"},
    )


def of_architecture(entries: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """`llama.block_count` → `block_count`, of the model's own architecture."""
    prefix = f"{architecture}."
    found = {k.removeprefix(prefix): v for k, v in entries.items() if k.startswith(prefix)}
    words = entries.get("tokenizer.ggml.tokens.length")
    return {"vocab_size": words, **found} if isinstance(words, int) else found


def kv_bytes(own: Mapping[str, Any], tokens: int) -> int | None:
    """Keys and values of `tokens` tokens, over all layers; None where the metadata does not say.

    own   the metadata without the name of the architecture (`block_count`, `attention.…`)
    """
    layers, heads = _whole(own.get("block_count")), own.get("attention.head_count")
    heads_kv = own.get("attention.head_count_kv", heads)
    width, all_heads = _whole(own.get("embedding_length")), _whole(_first(heads))
    even = width // all_heads if width and all_heads else None
    key = _whole(own.get("attention.key_length")) or even
    value = _whole(own.get("attention.value_length")) or even
    if not layers or key is None or value is None:
        return None
    if isinstance(heads_kv, list):  # one number for each layer
        known = [_whole(one) for one in heads_kv]
        total = None if None in known else sum(one or 0 for one in known)
    else:
        each = _whole(heads_kv)
        total = None if each is None else each * layers
    return None if total is None else total * tokens * (key + value) * HALF_BYTES


@cache
def offers_gpu() -> bool:
    """Whether the engine was built for GPUs and this machine may have one. Loads neither: the
    library is searched for the names of what such a build has."""
    import importlib.util
    import sys

    if sys.platform != "linux":
        return False  # macOS: one memory for both; elsewhere we know of no build
    if not any(Path(node).exists() for node in GPU_NODES):
        return False
    spec = importlib.util.find_spec("xllamacpp")
    folders = spec.submodule_search_locations if spec is not None else None
    libraries = [one for folder in folders or () for one in Path(folder).glob("*.so")]
    return any(_mentions(library) for library in libraries)


def _mentions(library: Path) -> bool:
    try:
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as m:
            return any(m.find(word) >= 0 for word in GPU_WORDS)
    except (OSError, ValueError):
        return False


def _context(asked: int, trained: Any) -> int:
    """As the engine rounds it up, and cuts it to what the model was trained for."""
    rounded = -(-asked // CONTEXT_STEP) * CONTEXT_STEP
    most = _whole(trained)
    return min(rounded, most) if most else rounded


def _compute_bytes(own: Mapping[str, Any]) -> int:
    """Logits and activations of one step of MICRO_BATCH tokens."""
    words = _whole(own.get("vocab_size")) or 0
    width = _whole(own.get("embedding_length")) or 0
    inner = _whole(_first(own.get("feed_forward_length"))) or 0
    return MICRO_BATCH * FLOAT_BYTES * (words + 4 * width + 2 * inner)


def _less(own: Mapping[str, Any]) -> str:
    window = _whole(own.get("attention.sliding_window"))
    return f"; less, where layers look back over {window} tokens alone" if window else ""


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
