"""Backend `hf`: Hugging Face transformers on this machine, in a process of its own.

options.py     what can be set
backend.py     the backend: the worker's life, requests, what is read back
decode.py      a finished stream, read
models.py      what a model name means: ours, a folder, or a repository in the hub's cache
tiny.py        models with random weights, written without torch
tensors.py     safetensors files, read (headers) and written
footprint.py   how much memory a model is going to take
counting.py    token counts by the served model's tokenizer
command.py     harness models tiny-hf

In the worker (python -m harness_hf.worker), which alone imports torch:

worker.py      its life: load, say that it is ready, serve, end
serving.py     HTTP on loopback: one line of JSON a step
jobs.py        requests that wait, and batches of them
engine.py      a model, loaded: prompts in, steps out
steps.py       what comes of a step: its stamp, then tokens, text and lines
pieces.py      text out of token ids, stop strings held back
loops.py       the two ways to generate: `generate`, and a plain loop of ours
loading.py     dtype, device, quantisation, and what of them is so
memory.py      three measures of memory
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness
from harness_hf.options import HfOptions

if TYPE_CHECKING:
    import click

    from harness.protocols import Backend, BackendConfig
    from harness.registry import BackendRegistry

__all__ = [
    "HfOptions",
    "harness_add_commands",
    "harness_count_tokens",
    "harness_register_backends",
]


def _backend(config: BackendConfig) -> Backend:
    from harness_hf.backend import HfBackend

    return HfBackend(config)


@harness.hookimpl
def harness_register_backends(registry: BackendRegistry) -> None:
    registry.add(
        "hf",
        _backend,
        options=HfOptions,
        summary="transformers in a process of its own: a hub id, a folder, or `tiny`",
    )


@harness.hookimpl
def harness_count_tokens(model: str, text: str) -> int | None:
    """Exact while the model is served by this plugin; not known before and after."""
    from harness_hf import counting

    return counting.count(model, text)


@harness.hookimpl
def harness_add_commands(group: click.Group) -> None:
    """Below `harness models`."""
    models = group.commands.get("models")
    if models is not None:
        from harness_hf.command import tiny_hf

        models.add_command(tiny_hf)  # type: ignore[attr-defined]
