"""Everything that can be asked of transformers, by the names that other backends use too.

The first part is sent with every call and may differ between calls; the second is fixed when the
worker loads the model. What a model's author put into generation_config.json is not used but for
its special tokens: a default that nobody stated is not comparable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

from harness.errors import SpecError
from harness.options import merged

__all__ = ["FIXED", "PER_CALL", "HfOptions", "call_options", "fixed_options"]


class HfOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the `hf` backend."""

    api: Literal["auto", "chat", "completions"] = "auto"
    """auto: messages are a chat; a bare prompt is completed as it stands, without the model's
    template. chat: a bare prompt is sent as a message of the user. completions: a single message is
    completed as a bare prompt."""
    template_options: dict[str, Any] = field(default_factory=dict)
    """Given to the chat template (`enable_thinking`, say)."""

    # Sampling: a call's own options win.
    temperature: Annotated[float, Meta(ge=0)] = 0.0
    """0: greedy, which is what `generate` does where nothing is said. Above: sampled."""
    top_k: Annotated[int, Meta(ge=0)] = 50
    """0: all tokens. Only where it is sampled, as `top_p`."""
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    repeat_penalty: Annotated[float, Meta(gt=0)] = 1.0
    """1.0: none."""
    seed: int | None = None
    """Default: the run's seed. A request's own seed wins over both."""
    stop: tuple[str, ...] = ()
    """A request's own win."""

    # Fixed when the model is loaded.
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """auto: as the checkpoint has it."""
    device: str = "auto"
    """`cuda`, `cuda:1`, `mps`, `cpu`; auto: the first GPU there is, else the CPU."""
    device_map: str | None = None
    """Over several devices, as accelerate spreads it: `auto`, `balanced`, `sequential`."""
    quantization: Literal["none", "bnb-int8", "bnb-nf4", "torchao-int8", "quanto-int8"] = "none"
    """Weights made smaller while they are loaded, by bitsandbytes, torchao or optimum-quanto; the
    package must be there."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3"] = "auto"
    """auto: what transformers chooses for the model."""
    chat_template: str | None = None
    """The model's own, if None; `off`: messages are put together as they are; else Jinja text, or
    the path of a .jinja file."""
    num_ctx: Annotated[int, Meta(ge=1)] | None = None
    """Tokens of context, prompt and reply together; None: what the model was trained for. A prompt
    beyond it is refused, never cut."""
    loop: Literal["generate", "own"] = "generate"
    """generate: as users run it. own: a plain loop without what `generate` does at each step."""
    cache: Literal["dynamic", "static", "offloaded", "quantized"] = "dynamic"
    """Of keys and values. `loop: own` has the dynamic one alone."""
    compile: bool = False
    """torch.compile the decode step; needs `cache: static`. Give it `warmup`s of its own."""
    assistant: str | None = None
    """A smaller model that guesses ahead (assisted decoding): several tokens a step."""
    prompt_lookup: Annotated[int, Meta(ge=0)] = 0
    """Tokens guessed ahead from the prompt itself; 0: none."""
    batch: Annotated[int, Meta(ge=1)] = 1
    """Requests computed together, at most: those that wait when the worker becomes free."""
    batch_wait_ms: Annotated[float, Meta(ge=0)] = 0.0
    """How long the first of a batch waits for others; it is in `queue_ns`."""
    warmup: Annotated[int, Meta(ge=0)] = 1
    """Generations after the load, before the worker says that it is ready. Two or three for a
    static cache or `compile`."""
    num_thread: Annotated[int, Meta(ge=0)] = 0
    """Threads that compute on the CPU; 0: the physical cores we may use less one, which the client
    keeps."""
    revision: str | None = None
    """Branch, tag or commit of a hub repository."""
    trust_remote_code: bool = False
    """Run the Python that comes with a model. It can do whatever you can."""
    load_timeout_s: Annotated[float, Meta(gt=0)] = 600.0
    """How long the worker may take until it is ready, download included."""

    def __post_init__(self) -> None:
        for fault in _contradictions(self):
            raise ValueError(fault)


PER_CALL: Final = (
    "api",
    "template_options",
    "temperature",
    "top_k",
    "top_p",
    "repeat_penalty",
    "seed",
    "stop",
)
FIXED: Final = tuple(name for name in HfOptions.__struct_fields__ if name not in PER_CALL)


def call_options(options: HfOptions, changes: Mapping[str, Any]) -> HfOptions:
    """`options` with one call's own changes. SpecError for a name or value that is wrong, and for
    what cannot change while the model is loaded."""
    for name, value in changes.items():
        if name in FIXED and value != getattr(options, name):
            raise SpecError(
                f"{name!r} is fixed when the model is loaded",
                where=f"request.options.{name}",
                remedy=f"-o {name}={value}, or an arm of its own",
            )
    return merged(options, changes, backend="hf")


def fixed_options(options: HfOptions) -> bytes:
    """JSON, for the worker."""
    return msgspec.json.encode({name: getattr(options, name) for name in FIXED})


def _contradictions(options: HfOptions) -> list[str]:
    guesses = options.assistant is not None or options.prompt_lookup > 0
    found = []
    if options.compile and options.cache != "static":
        found.append("`compile` needs `cache: static`")
    if options.loop == "own" and (options.cache != "dynamic" or guesses):
        found.append("`loop: own` has a dynamic cache and guesses nothing ahead")
    if options.assistant is not None and options.prompt_lookup:
        found.append("`assistant` and `prompt_lookup` are two ways to guess ahead: choose one")
    if guesses and options.batch > 1:
        found.append("transformers guesses ahead for one sequence at a time: `batch: 1`")
    if guesses and options.cache == "static":
        found.append("guessing ahead needs a dynamic cache")
    if options.device_map is not None and options.device != "auto":
        found.append("`device_map` and `device` both say where the model goes: choose one")
    return found
