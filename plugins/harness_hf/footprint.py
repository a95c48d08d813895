"""How much memory a model is going to take, from the headers of its files. Nothing is loaded.

weights   what the tensors come to at the dtype asked for, or as quantised
keys and values   2 (keys, values) x layers x heads x head size x bytes x context x sequences
overhead  an allowance, see `_ALLOWANCE`
"""

from __future__ import annotations

import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

from harness.schema import Footprint
from harness_hf import models
from harness_hf.options import HfOptions
from harness_hf.tensors import WIDTH_BYTES, BadHeaderError, TensorInfo, headers

__all__ = ["device_of", "predict"]

_DTYPES: Final = {"float32": 4, "float16": 2, "bfloat16": 2}
_SMALL: Final = {"bnb-int8": 1.0, "torchao-int8": 1.0, "quanto-int8": 1.0, "bnb-nf4": 0.5}
"""Bytes a number of a quantised matrix. Scales come to a few per cent and are in the overhead."""
_WHOLE: Final = re.compile(r"(^|[._])(embed\w*|embeddings?|wte|wpe|lm_head|shared)\.")
"""Names of matrices that are not quantised: embeddings, and the head, which the library leaves out.
Of a model with a large vocabulary they are the greater part of what is left."""

_ALLOWANCE: Final[dict[str, tuple[int, str]]] = {
    "gpu": (800 << 20, "800 MiB: CUDA context, libraries, activations of a prompt"),
    "host": (900 << 20, "900 MiB: Python, torch and transformers; activations of a prompt"),
}
"""What a process takes that has loaded next to nothing, and some. docs/hf.md says what was seen;
nothing was on a GPU."""


def predict(found: models.Found | None, options: HfOptions) -> Footprint:
    """None: the model is not on this disk, and so nothing is known of it."""
    device = device_of(options)
    if found is None:
        why = "the model is not on this disk: its files are fetched when it is loaded"
        return Footprint(device=device, unknown={"weights_bytes": why, "kv_bytes": why})
    unknown: dict[str, str] = {}
    config = _text_config(models.config(found.folder))
    weights, parameters, basis = _weights(found.folder, options, unknown)
    context = _context(config, options)
    kv_bytes = _kv(config, context, options, unknown, basis)
    overhead, why = _ALLOWANCE[device]
    basis["overhead_bytes"] = why
    return Footprint(
        weights_bytes=weights,
        kv_bytes=kv_bytes,
        overhead_bytes=overhead,
        parameters=parameters,
        context_length=context,
        device=device,
        spread=bool(options.device_map),
        basis=basis,
        unknown=unknown,
    )


def device_of(options: HfOptions) -> Literal["gpu", "host"]:
    """Which memory it will take, as far as that can be told without torch."""
    if options.device != "auto":
        return "host" if options.device.startswith("cpu") else "gpu"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1", "NoDevFiles"):
        return "host"
    try:
        build = metadata.version("torch")
    except metadata.PackageNotFoundError:
        build = ""
    driver = Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()
    return "gpu" if driver and "+cpu" not in build else "host"


def _weights(
    folder: Path, options: HfOptions, unknown: dict[str, str]
) -> tuple[int | None, int | None, dict[str, str]]:
    files = models.weight_files(folder)
    try:
        tensors = headers(files) if files else {}
    except (OSError, BadHeaderError) as error:
        unknown["weights_bytes"] = str(error)
        return None, None, {}
    if not tensors:
        unknown["weights_bytes"] = "the model has no safetensors files, and others tell nothing"
        return None, None, {}
    total = sum(_bytes(name, one, options) for name, one in tensors.items())
    numbers = sum(one.numbers for one in tensors.values())
    kept = options.quantization if options.quantization != "none" else options.dtype
    said = "as the checkpoint has them" if kept == "auto" else f"as {kept}"
    basis = {"weights_bytes": f"{len(tensors)} tensors of {len(files)} safetensors files, {said}"}
    return int(total), numbers, basis


def _bytes(name: str, one: TensorInfo, options: HfOptions) -> float:
    own = WIDTH_BYTES.get(one.dtype, 4)
    if not one.floating:
        return one.numbers * own
    is_small = len(one.shape) == 2 and not _WHOLE.search(name)
    if options.quantization != "none" and is_small:
        return one.numbers * _SMALL[options.quantization]
    return one.numbers * _DTYPES.get(options.dtype, own)


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    """Of a model that sees pictures too: the part that writes."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def _context(config: dict[str, Any], options: HfOptions) -> int | None:
    found = [options.num_ctx, _number(config, "max_position_embeddings", "n_positions")]
    known = [one for one in found if one is not None]
    return min(known) if known else None


def _kv(
    config: dict[str, Any],
    context: int | None,
    options: HfOptions,
    unknown: dict[str, str],
    basis: dict[str, str],
) -> int | None:
    layers = _number(config, "num_hidden_layers", "n_layer")
    heads = _number(config, "num_attention_heads", "n_head")
    width = _number(config, "hidden_size", "n_embd")
    if None in (layers, heads, width, context):
        unknown["kv_bytes"] = "config.json does not say how many layers, heads or positions"
        return None
    assert layers and heads and width and context
    kv_heads = _number(config, "num_key_value_heads") or heads
    head = _number(config, "head_dim") or width // heads
    each = _DTYPES.get(options.dtype) or _checkpoint_bytes(config)
    basis["kv_bytes"] = (
        f"2 x {layers} layers x {kv_heads} heads x {head} x {each} bytes x {context} tokens "
        f"x {options.batch} sequences, all of the context filled"
    )
    return 2 * layers * kv_heads * head * each * context * options.batch


def _checkpoint_bytes(config: dict[str, Any]) -> int:
    said = config.get("dtype") or config.get("torch_dtype")
    return _DTYPES.get(str(said).removeprefix("torch."), 4)


def _number(config: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
