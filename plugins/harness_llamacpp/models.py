"""Which file a model name means, where ours are kept, and what identifies them.

A name is `tiny`, `tiny-5M` or `tiny-22M` (made on first use), the path of a GGUF file, or the bare
name of a file in `<cache>/models`. The cache is $HARNESS_CACHE_DIR, or the platform's usual place.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from harness.cache import cache_dir
from harness.errors import BackendError
from harness.schema import ModelInfo
from harness.text import as_argument, one_line
from harness_llamacpp import tiny

__all__ = [
    "TINY",
    "cache_dir",
    "digest",
    "find",
    "known_models",
    "random_weights",
    "there",
    "tiny_path",
]

TINY: Final = "tiny"
_MAGIC = b"GGUF"
_HEAD_BYTES = 4096


def models_dir() -> Path:
    """Put a GGUF file (or a link to one) here, and its bare name will do."""
    return cache_dir() / "models"


def tiny_path(name: str = TINY) -> Path:
    return models_dir() / f"{name}-v{tiny.GENERATOR_VERSION}.gguf"


def find(model: str) -> Path:
    """The GGUF file that `model` means; makes one of ours if it is not there yet.

    BackendError where there is no such file, or it is no GGUF; MissingExtra where `tiny` must be
    made and the `gguf` package is missing.
    """
    if shape := tiny.SHAPES.get(model):
        path = tiny_path(model)
        if not path.exists():
            tiny.write(path, shape)
        return path
    path = Path(model).expanduser()
    if not _looks_like_path(model) and not path.exists():
        path = models_dir() / f"{model}.gguf"
    _check(model, path)
    return path.resolve()


def there(model: str) -> Path | None:
    """As `find`, but makes nothing: None for one of ours that is not there yet."""
    if model in tiny.SHAPES and not tiny_path(model).exists():
        return None
    return find(model)


def known_models() -> list[ModelInfo]:
    """Ours first, made or not; then the GGUF files in the cache."""
    ours = {name: tiny_path(name) for name in tiny.SHAPES}
    models = [_ours(name, path) for name, path in ours.items()]
    for path in sorted(models_dir().glob("*.gguf")):
        if path not in ours.values() and path.is_file():
            details = {"path": os.fspath(path)}
            size = path.stat().st_size
            models.append(ModelInfo(name=path.stem, size_bytes=size, details=details))
    return models


def _ours(name: str, path: Path) -> ModelInfo:
    size = path.stat().st_size if path.exists() else None
    return ModelInfo(name=name, size_bytes=size, details={"weights": "random", "text": "noise"})


def digest(path: Path) -> str:
    """`sha256:…` of the whole file: about a second per GB, once per process and file version."""
    facts = path.stat()
    return _digest(path, facts.st_size, facts.st_mtime_ns)


def random_weights(path: Path) -> bool:
    """True for `tiny` under whatever name: the file says so itself."""
    with path.open("rb") as file:
        return tiny.MARKER.encode() in file.read(_HEAD_BYTES)


@lru_cache(maxsize=64)
def _digest(path: Path, size_bytes: int, mtime_ns: int) -> str:
    del size_bytes, mtime_ns  # part of the key: a file that changed is read again
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _looks_like_path(model: str) -> bool:
    return model.endswith(".gguf") or "/" in model or os.sep in model


def _check(model: str, path: Path) -> None:
    where = one_line(os.fspath(path))
    offer = "harness models --backend llamacpp, or give the path of a .gguf file"
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise BackendError(f"the model {one_line(model)!r} {kind}", where=where, remedy=offer)
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise BackendError(
            f"the model cannot be read: {error.strerror}",
            where=where,
            remedy=f"ls -l {as_argument(where) or 'FILE'}",
        ) from error
    if magic != _MAGIC:
        raise BackendError(f"not a GGUF file: it begins with {magic!r}", where=where, remedy=offer)
