"""Which folder a model name means, what is in it, and what identifies it.

A name is `tiny`, `tiny-5M` or `tiny-22M` (made on first use), a folder that transformers can load,
the bare name of a folder in `<cache>/models/hf`, or a repository of the Hugging Face hub such as
`org/name`: taken from the hub's cache, and fetched if it is not there and the hub may be asked
(HF_HUB_OFFLINE).
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from harness.cache import cache_dir
from harness.control import NOT_JSON
from harness.errors import BackendError, MissingExtra
from harness.schema import ModelInfo
from harness.text import as_argument, one_line
from harness_hf import tiny

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo

__all__ = [
    "TINY",
    "Found",
    "config",
    "digest",
    "disk_bytes",
    "fetched",
    "find",
    "known_models",
    "random_weights",
    "tiny_path",
    "weight_files",
]

TINY: Final = "tiny"
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_YES: Final = ("1", "true", "yes", "on")
_WANTED: Final = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py", "*.safetensors")
_PICKLED: Final = ("*.bin",)
"""Only of repositories that have nothing better."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Found(Struct, frozen=True, kw_only=True):
    """A model that is on this disk."""

    folder: Path
    commit: str | None = None
    """Of a hub repository."""


def find(model: str, revision: str | None = None) -> Found | None:
    """Where it is; makes `tiny` and its like. None: a repository that is not in the cache, and may
    be fetched. BackendError where it cannot be had; MissingExtra where a package is missing."""
    if shape := tiny.SHAPES.get(model):
        folder = tiny_path(model)
        if not (folder / "config.json").is_file():
            tiny.write(folder, shape)
        return Found(folder=folder)
    own = models_dir() / model
    given = Path(model).expanduser()
    if _looks_like_path(model) or given.is_dir():
        return Found(folder=_checked(model, given))
    if (own / "config.json").is_file():
        return Found(folder=own.resolve())
    if not _REPOSITORY.fullmatch(model):
        raise _no_such(model, "is neither a folder nor the name of a hub repository", given)
    cached = _cached(model, revision)
    if cached is None and is_offline():
        where = _hub_folder()
        raise _no_such(
            model,
            "is not in the hub's cache, and the hub is not to be asked (HF_HUB_OFFLINE)",
            where,
            f"HF_HUB_OFFLINE=0 hf download {as_argument(model) or 'MODEL'}, the path of a folder, "
            "or --model tiny",
        )
    return cached


def fetched(model: str, revision: str | None = None) -> Found:
    """As `find`; what is not in the cache is fetched from the hub. For the worker: it may take as
    long as it likes there, and can be ended. BackendError."""
    found = find(model, revision)
    if found is not None:
        return found
    from huggingface_hub import HfApi, snapshot_download

    try:
        names = HfApi().list_repo_files(model, revision=revision)
        safe = any(name.endswith(".safetensors") for name in names)
        folder = snapshot_download(
            model, revision=revision, allow_patterns=[*_WANTED, *(() if safe else _PICKLED)]
        )
    except Exception as error:  # of the hub, of the network, of the disk
        raise _no_such(
            model,
            f"cannot be fetched from the hub: {type(error).__name__}: {error}",
            _hub_folder(),
            "the right name, HF_TOKEN for one that is gated, the path of a folder, or --model "
            "tiny, which needs no network",
        ) from None
    return Found(folder=Path(folder), commit=Path(folder).name)


def is_offline() -> bool:
    return any(os.environ.get(name, "").lower() in _YES for name in _OFFLINE)


def models_dir() -> Path:
    """Put a folder here that transformers can load, and its bare name will do."""
    return cache_dir() / "models" / "hf"


def tiny_path(name: str = TINY) -> Path:
    return models_dir() / f"{name}-v{tiny.GENERATOR_VERSION}"


def known_models() -> list[ModelInfo]:
    """Ours first, made or not; then folders in our cache, then repositories in the hub's."""
    ours = {name: tiny_path(name) for name in tiny.SHAPES}
    noise = {"weights": "random", "text": "noise"}
    found = [_info(name, path, noise) for name, path in ours.items()]
    for path in sorted(models_dir().glob("*/")):
        if path not in ours.values() and (path / "config.json").is_file():
            found.append(_info(path.name, path, {"path": os.fspath(path)}))
    return [*found, *map(_cached_info, _repositories())]


# ------------------------------------------------------------------------------ what is in a folder


def config(folder: Path) -> dict[str, Any]:
    """config.json; empty where there is none that can be read."""
    try:
        return msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, Any])
    except (OSError, *NOT_JSON):
        return {}


def random_weights(folder: Path) -> bool:
    """True for `tiny` under whatever name: the folder says so itself."""
    return config(folder).get(tiny.MARKER) is True


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers would load; other kinds are not listed."""
    index = folder / "model.safetensors.index.json"
    try:
        named = msgspec.json.decode(index.read_bytes(), type=_Index).weight_map.values()
        return [folder / Path(name).name for name in dict.fromkeys(named)]
    except (OSError, *NOT_JSON):
        whole = folder / "model.safetensors"
        return [whole] if whole.is_file() else []


def disk_bytes(folder: Path) -> int | None:
    """Of the files that were used: the weights, configuration and tokenizer. None: unknown kinds
    of weights."""
    try:
        weights = weight_files(folder) or sorted(folder.glob("*.bin"))
        if not weights:
            return None
        return sum(path.stat().st_size for path in [*weights, *_small(folder)])
    except OSError:
        return None


def digest(folder: Path) -> str:
    """`sha256:…` over the names and contents of weights, configuration and tokenizer: about a
    second per GB, once per process and file version. The hub's cache names large files by it."""
    seen = hashlib.sha256()
    for path in [*(weight_files(folder) or sorted(folder.glob("*.bin"))), *_small(folder)]:
        facts = path.stat()
        seen.update(f"{path.name} {_digest(path, facts.st_size, facts.st_mtime_ns)}\n".encode())
    return f"sha256:{seen.hexdigest()}"


class _Index(Struct):
    weight_map: dict[str, str]


def _small(folder: Path) -> list[Path]:
    found = [
        path for ending in ("*.json", "*.jinja", "*.model", "*.py") for path in folder.glob(ending)
    ]
    return sorted(path for path in found if path.is_file())


@lru_cache(maxsize=1024)
def _digest(path: Path, size_bytes: int, mtime_ns: int) -> str:
    del size_bytes, mtime_ns  # part of the key: a file that changed is read again
    if path.is_symlink() and _SHA256.fullmatch(name := path.readlink().name):
        return name
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------------- the hub


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtra("hf", missing="huggingface_hub") from error
    return huggingface_hub


def _hub_folder() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _cached(model: str, revision: str | None) -> Found | None:
    """The whole of it, as far as the cache can tell: the configuration and some weights."""
    hub = _hub()
    try:
        folder = Path(hub.snapshot_download(model, revision=revision, local_files_only=True))
    except Exception:  # of several kinds, from one version to the next: it is not there
        return None
    usable = (folder / "config.json").is_file() and disk_bytes(folder) is not None
    return Found(folder=folder, commit=folder.name) if usable else None


def _repositories() -> list[CachedRepoInfo]:
    try:
        import huggingface_hub

        found = huggingface_hub.scan_cache_dir().repos
    except Exception:  # no library, or no cache
        return []
    return sorted((repo for repo in found if repo.repo_type == "model"), key=lambda r: r.repo_id)


def _cached_info(repo: CachedRepoInfo) -> ModelInfo:
    commits = sorted(revision.commit_hash for revision in repo.revisions)
    return ModelInfo(
        name=repo.repo_id,
        size_bytes=repo.size_on_disk,
        details={"path": os.fspath(repo.repo_path), "commits": commits},
    )


def _info(name: str, folder: Path, details: dict[str, Any]) -> ModelInfo:
    return ModelInfo(name=name, size_bytes=disk_bytes(folder), details=details)


def _looks_like_path(model: str) -> bool:
    return model.startswith((".", "/", "~")) or (os.sep in model[1:] and model.count("/") > 1)


def _checked(model: str, folder: Path) -> Path:
    if not folder.is_dir():
        raise _no_such(model, "does not exist", folder)
    if not (folder / "config.json").is_file():
        raise _no_such(model, "is a folder without a config.json", folder)
    return folder.resolve()


def _no_such(model: str, why: str, where: Path, remedy: str = "") -> BackendError:
    return BackendError(
        f"the model {one_line(model)!r} {one_line(why, 400)}",
        where=one_line(os.fspath(where)),
        remedy=remedy or "harness models --backend hf, or give the path of a folder",
    )
