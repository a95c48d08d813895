"""What Ray says when something is gone, in one line and with what follows from it.

Ray's own messages run over a page, and name every cause that there is. Which of them is ours, its
exception's type and a few fixed words tell.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from harness.text import one_line

__all__ = ["how_it_went", "in_short"]

How = tuple[Literal["lost", "place_lost", "refused"], str, str]
"""(what follows, what happened, what to try)"""

_MEMORY: Final = re.compile(
    r"NODE_OUT_OF_MEMORY|running low on memory|memory usage threshold", re.I
)
_NODE: Final = re.compile(r"node (has )?(died|was terminated|is dead)|health check", re.I)
_DETAIL: Final = re.compile(r"Worker exit detail: ([^.]+\.)")
_IMPORT: Final = re.compile(r"failed to import|ModuleNotFoundError|ImportError|No module named")


def how_it_went(error: BaseException, node: str) -> How:
    """Of a trial's actor. `node`: where it was; empty while it was nowhere yet."""
    text = str(error)
    at = f"node {node}" if node else "a node"
    if not node and (_IMPORT.search(text) or getattr(error, "actor_init_failed", False)):
        return (
            "refused",
            f"a node of the cluster cannot begin a trial: {in_short(text)}",
            "the same packages wherever trials are executed, or executor_options.runtime_env",
        )
    if not node and type(error) in (TypeError, ValueError):  # of what was asked, not of a place
        return "refused", f"Ray takes no such trial: {in_short(text)}", "placement.executor_options"
    if type(error).__name__ == "RuntimeEnvSetupError":
        return "refused", f"the runtime_env cannot be had: {in_short(text)}", "ray's runtime_env"
    if _MEMORY.search(text):
        return "lost", f"Ray ended it because {at} ran out of memory", ""
    if _NODE.search(text):
        return "place_lost", f"{at} of the cluster is gone", ""
    detail = _DETAIL.search(text)
    said = f": {in_short(detail[1])}" if detail else ""
    return "place_lost", f"the Ray worker on {at} is gone{said}", ""


def in_short(error: Any) -> str:
    """The last line that says something: of a traceback, what was raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return one_line(lines[-1] if lines else type(error).__name__, 300).rstrip(".")
