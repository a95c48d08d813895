"""`harness models tiny-hf`: write a model with random weights."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from harness.errors import SpecError
from harness_hf import models, tiny

__all__ = ["tiny_hf"]

_HEAD_DIM = 64


@click.command("tiny-hf", short_help="Write a model with random weights for transformers.")
@click.option("--size", type=click.Choice([*tiny.SHAPES]), default="tiny", show_default=True)
@click.option("--layers", type=click.IntRange(1, 512), help="Instead of the size's own.")
@click.option("--hidden", type=click.IntRange(64, 16384), help="Its width, a multiple of 64.")
@click.option("--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), default="float32")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Default: the cache.")
def tiny_hf(
    size: str, layers: int | None, hidden: int | None, dtype: str, seed: int, out: Path | None
) -> None:
    """Write a model with random weights and its tokenizer, as transformers loads them.

    Nothing is fetched and no torch is needed. Its speed and memory are those of a real model of its
    shape; its text is noise, and reports say so. The same words give the same bytes anywhere.

    \b
    Examples:
      harness models tiny-hf
      harness models tiny-hf --size tiny-22M --dtype bfloat16 --out ./tiny-22M
      harness models tiny-hf --layers 16 --hidden 1024 --out ./quarter-billion
    """
    shape = _shape(size, layers, hidden, seed)
    given = shape != tiny.SHAPES[size] or dtype != "float32"
    folder = out or (models.models_dir() / _name(shape, dtype) if given else models.tiny_path(size))
    if out is not None and out.exists():
        raise SpecError(f"{out} is there already", where="--out", remedy="another folder")
    if not (folder / "config.json").is_file():
        tiny.write(folder, shape, dtype=dtype)
    numbers = models.config(folder).get("parameters", 0)
    size_bytes = models.disk_bytes(folder) or 0
    click.echo(f"{folder}: {numbers:,} parameters, {size_bytes / 2**20:.1f} MiB, {dtype}")
    name = str(out) if out is not None else (folder.name if given else size)
    click.echo(f"next: harness run load --backend hf --model {shlex.quote(name)}", err=True)


def _shape(size: str, layers: int | None, hidden: int | None, seed: int) -> tiny.Shape:
    own = tiny.SHAPES[size]
    width = own.width if hidden is None else hidden
    if width % _HEAD_DIM:
        raise SpecError(f"{width} is no multiple of {_HEAD_DIM}", where="--hidden", remedy="512")
    heads = own.heads if hidden is None else width // _HEAD_DIM
    fits = (kv for kv in (4, 2, 1) if heads % kv == 0 and kv < max(heads, 2))
    return tiny.Shape(
        name=own.name,
        width=width,
        layers=own.layers if layers is None else layers,
        heads=heads,
        heads_kv=own.heads_kv if hidden is None else next(fits),
        seed=seed,
    )


def _name(shape: tiny.Shape, dtype: str) -> str:
    parts = [f"tiny-{shape.layers}x{shape.width}", dtype if dtype != "float32" else ""]
    return "-".join(filter(None, [*parts, f"seed{shape.seed}" if shape.seed else ""]))
