"""How much memory a model is going to take, by /api/tags, /api/show and /api/ps: nothing is loaded.

Weights take what the file does. Keys and values follow from the model's shape and `num_ctx`, for
one slot (`OLLAMA_NUM_PARALLEL` cannot be read) and as 16-bit floats (nor can
`OLLAMA_KV_CACHE_TYPE`). What is loaded already gives way to a model that needs its place, so that
its memory counts as free.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from harness_llamacpp.memory import kv_bytes, of_architecture

from harness.errors import SpecError
from harness.schema import Footprint
from harness.sizes import parse_size
from harness.text import whole_number
from harness_ollama.options import OllamaOptions

__all__ = ["footprint", "parameters_of", "quantization_of", "taken"]

ALLOWANCE_BYTES: Final = 512 * 2**20
"""The runner, the device's context and buffers of computation: an allowance, not measured."""


def footprint(
    url: str,
    version: str,
    entry: dict[str, Any],
    shown: dict[str, Any],
    running: list[dict[str, Any]],
    options: OllamaOptions,
) -> Footprint:
    """`entry`: of the model in /api/tags; `running`: all of /api/ps."""
    if version.startswith("harness-sim"):
        why = "a simulated server loads nothing"
        return Footprint(unknown={"weights_bytes": why, "kv_bytes": why})
    device: Literal["gpu", "host"] = "host" if options.num_gpu == 0 else "gpu"
    own = _own(shown)
    trained = whole_number(own.get("context_length"))
    context = min(options.num_ctx, trained) if trained else options.num_ctx
    weights, keys = whole_number(entry.get("size")), kv_bytes(own, context)
    unknown = {}
    if weights is None:
        unknown["weights_bytes"] = "/api/tags does not tell the size"
    if keys is None:
        unknown["kv_bytes"] = "/api/show does not tell the model's shape"
    if not _is_here(url):
        unknown["device"] = "the server is on another machine"
    return Footprint(
        weights_bytes=weights,
        kv_bytes=keys,
        overhead_bytes=ALLOWANCE_BYTES,
        parameters=parameters_of(shown),
        context_length=context,
        device=device,
        spread=True,  # what one GPU cannot hold goes over several
        reclaimable_bytes=_held(running, device),
        basis={
            "weights_bytes": "size in /api/tags",
            "kv_bytes": f"1 slot x {context} tokens, 16-bit",
            "overhead_bytes": "an allowance",
            "reclaimable_bytes": "models in /api/ps, which give way",
        },
        unknown=unknown,
    )


def parameters_of(shown: dict[str, Any]) -> int | None:
    """As /api/show has it: exactly, or to the digits of `7.6B`."""
    info = shown.get("model_info")
    exact = whole_number(info.get("general.parameter_count")) if isinstance(info, dict) else None
    if exact:
        return exact
    details = shown.get("details")
    words = details.get("parameter_size") if isinstance(details, dict) else None
    try:
        return parse_size(words) if isinstance(words, str) else None
    except SpecError:
        return None


def quantization_of(shown: dict[str, Any]) -> str | None:
    details = shown.get("details")
    level = details.get("quantization_level") if isinstance(details, dict) else None
    return level if isinstance(level, str) and level else None


def taken(running: dict[str, Any]) -> dict[str, Any]:
    """What the server says that the loaded model takes, under the names that others use."""
    on_gpu, size = whole_number(running.get("size_vram")), whole_number(running.get("size"))
    if not size:
        return {}
    of = "size_vram of /api/ps" if on_gpu else "size of /api/ps"
    return {"memory_process_peak_bytes": on_gpu or size, "memory_process_of": of}


def _own(shown: dict[str, Any]) -> dict[str, Any]:
    info = shown.get("model_info")
    if not isinstance(info, dict):
        return {}
    return of_architecture(info, str(info.get("general.architecture", "")))


def _held(running: list[dict[str, Any]], device: str) -> int:
    """Of that memory. Where nothing that is loaded is on a GPU, the server may well have none."""
    on_gpu = [whole_number(one.get("size_vram")) or 0 for one in running]
    sizes = [whole_number(one.get("size")) or 0 for one in running]
    if device == "gpu" and any(on_gpu):
        return sum(on_gpu)
    return sum(max(0, size - vram) for size, vram in zip(sizes, on_gpu, strict=True))


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
