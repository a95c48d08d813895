"""Token counts by the tokenizer of a model that is being served.

The file tokenizer.json is read by the tokenizers library, in this process: that takes no torch and
no request to the worker. A model without such a file is not counted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["count", "forget", "serves"]

_served: dict[str, tuple[Path, Any]] = {}


def serves(model: str, folder: Path) -> None:
    """From now on, `model` is counted by the tokenizer in `folder`."""
    _served[model] = (folder, None)


def forget(model: str, folder: Path) -> None:
    """No more, if it is that one."""
    if model in _served and _served[model][0] == folder:
        del _served[model]


def count(model: str, text: str) -> int | None:
    """Tokens of `text`, without begin marks and template; None if nobody serves `model`, or its
    tokenizer cannot be read here."""
    if model not in _served:
        return None
    folder, tokenizer = _served[model]
    if tokenizer is None:
        try:
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception:  # no library, no such file, or one of another kind
            tokenizer = False
        _served[model] = (folder, tokenizer)
    if tokenizer is False:
        return None
    return len(tokenizer.encode(text, add_special_tokens=False).ids)
