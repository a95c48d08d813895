"""A model loaded as it was asked for, and what of it is so.

Nothing falls back in silence: a GPU, a quantisation or a kind of attention that cannot be had is
refused, and what the loaded model turns out to have is read back from its parameters.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.errors import BackendError
from harness_hf.options import HfOptions

if TYPE_CHECKING:
    import torch

__all__ = [
    "chat_template",
    "devices",
    "import_for",
    "load_model",
    "load_tokenizer",
    "read_back",
    "refuse_missing",
]

_PACKAGES: Final = {
    "bnb": ("bitsandbytes", "bitsandbytes"),
    "torchao": ("torchao", "torchao"),
    "quanto": ("optimum.quanto", "optimum-quanto"),
}
"""Prefix of the option → (module, distribution)."""


def import_for(folder: str, options: HfOptions) -> None:
    """The modules that this model needs, which takes seconds and is no part of loading it. What
    cannot be imported is left for the load to say."""
    import contextlib

    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    del AutoTokenizer
    with contextlib.suppress(Exception):
        found = AutoConfig.from_pretrained(
            folder, trust_remote_code=options.trust_remote_code, local_files_only=True
        )
        # transformers has no other word for: the class, imported and not made.
        _ = AutoModelForCausalLM._model_mapping[type(found)]


def load_model(folder: str, options: HfOptions) -> Any:
    """BackendError for what cannot be had here; what transformers raises for the rest."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    how: dict[str, Any] = {
        "dtype": options.dtype if options.dtype == "auto" else getattr(torch, options.dtype),
        "trust_remote_code": options.trust_remote_code,
        "local_files_only": True,
    }
    if options.attention != "auto":
        how["attn_implementation"] = options.attention
    if options.quantization != "none":
        how["quantization_config"] = _quantization(options)
    if options.device_map is not None:
        how["device_map"] = options.device_map
    else:
        device = _device(options.device)
        if device.type != "cpu":
            how["device_map"] = {"": str(device)}
    model = AutoModelForCausalLM.from_pretrained(folder, **how)
    model.eval()
    own = model.generation_config
    marks = {name: getattr(own, f"{name}_token_id", None) for name in ("bos", "eos", "pad")}
    model.generation_config = GenerationConfig(**{f"{k}_token_id": v for k, v in marks.items()})
    return model


def load_tokenizer(folder: str, options: HfOptions) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=options.trust_remote_code, local_files_only=True
    )
    tokenizer.padding_side = "left"
    return tokenizer


def chat_template(options: HfOptions) -> str | None:
    """Jinja text that is to be used instead of the model's own; None: that one. BackendError."""
    asked = options.chat_template
    if asked is None or "{" in asked:
        return asked
    try:
        return Path(asked).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BackendError(
            f"the chat template cannot be read: {error}",
            where="chat_template",
            remedy="`off`, Jinja text, or the path of a .jinja file",
        ) from None


def devices(model: Any) -> list[torch.device]:
    """On which its parameters are, without repeats."""
    return list(dict.fromkeys(parameter.device for parameter in model.parameters()))


def _device(asked: str) -> torch.device:
    import torch

    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise BackendError(
            f"torch knows no device {asked!r}", where="device", remedy="cuda, cuda:1, mps or cpu"
        ) from None
    found = {
        "cuda": torch.cuda.device_count,
        "mps": lambda: int(torch.backends.mps.is_available()),
    }
    count = found[device.type]() if device.type in found else None
    if count is not None and (device.index or 0) >= count:
        raise BackendError(
            f"device {asked} was asked for, and torch {torch.__version__} sees {count} of its kind",
            where="device",
            remedy="harness doctor; -o device=cpu",
        )
    return device


def refuse_missing(options: HfOptions) -> None:
    """BackendError where a quantisation needs a package that is not there. Imports none."""
    if options.quantization == "none":
        return
    module, package = _PACKAGES[options.quantization.partition("-")[0]]
    try:
        there = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of what the module is in
        there = False
    if not there:
        raise BackendError(
            f"quantization {options.quantization} needs the package {package!r}, which is not "
            "installed",
            where="quantization",
            remedy=f"pip install {package}",
        )


def _quantization(options: HfOptions) -> Any:
    import torch
    import transformers

    refuse_missing(options)
    kind, bits = options.quantization.split("-")
    if kind == "quanto":
        return transformers.QuantoConfig(weights="int8")
    if kind == "torchao":
        from torchao.quantization import Int8WeightOnlyConfig  # type: ignore[import-not-found]

        return transformers.TorchAoConfig(Int8WeightOnlyConfig())
    if bits == "int8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    compute = torch.bfloat16 if options.dtype == "auto" else getattr(torch, options.dtype)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute
    )


# ------------------------------------------------------------------------------ what it is in fact


def read_back(model: Any) -> dict[str, Any]:
    """What the loaded model is, from its parameters and its configuration. JSON-ready."""
    tensors = [*model.parameters(), *model.buffers()]
    layers = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    on_gpu = [tensor for tensor in tensors if tensor.device.type not in ("cpu", "meta")]
    return {
        "architecture": type(model).__name__,
        "code": "the model's own"
        if "transformers_modules" in type(model).__module__
        else "transformers",
        "parameters": model.num_parameters(),
        "dtype": _dtype(model.parameters()),
        "quantization": _kept_as(model),
        "attention": getattr(model.config, "_attn_implementation", None),
        "devices": [str(device) for device in devices(model)],
        "device_map": _plain(getattr(model, "hf_device_map", None)),
        "layers": layers,
        "memory_bytes": sum(_bytes(tensor) for tensor in tensors),
        "gpu_memory_bytes": sum(_bytes(tensor) for tensor in on_gpu),
        "context_model": getattr(model.config.get_text_config(), "max_position_embeddings", None),
    }


def _bytes(tensor: Any) -> int:
    return int(tensor.numel() * tensor.element_size())


def _dtype(parameters: Iterable[Any]) -> str:
    """Of most of its floating-point numbers."""
    found: Counter[str] = Counter()
    for parameter in parameters:
        if parameter.is_floating_point():
            found[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
    return found.most_common(1)[0][0] if found else "unknown"


def _kept_as(model: Any) -> str | None:
    """How the weights of a quantised model are kept: by what its layers are, not by what its
    configuration says. None: they are plain numbers."""
    kinds = Counter(type(module).__name__ for module in model.modules())
    if kinds["Linear4bit"]:
        said = getattr(model.config, "quantization_config", None)
        return f"bnb-{getattr(said, 'bnb_4bit_quant_type', '4bit')}"
    if kinds["Linear8bitLt"]:
        return "bnb-int8"
    if kinds["QLinear"]:
        said = getattr(model.config, "quantization_config", None)
        return f"quanto-{getattr(said, 'weights', 'quantised')}"
    tensors = Counter(
        type(one.data).__name__ for one in model.parameters() if type(one.data).__name__ != "Tensor"
    )
    if tensors:
        name = tensors.most_common(1)[0][0]
        return "torchao-int8" if "Int8" in name or name == "AffineQuantizedTensor" else name
    said = getattr(model.config, "quantization_config", None)
    if said is None:
        return None
    method = said.get("quant_method") if isinstance(said, dict) else said.quant_method
    return str(getattr(method, "value", method))


def _plain(mapping: Any) -> dict[str, str] | None:
    return {str(k): str(v) for k, v in mapping.items()} if isinstance(mapping, dict) else None
