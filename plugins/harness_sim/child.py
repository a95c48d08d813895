"""The process of one truth server: `harness sim`, with a watch on whoever started it.

    python -m harness_sim.child [--cpus 0,1] [WORDS OF harness sim …] --parent PID

It ends in order (with its log complete) when standard input ends or its parent is gone.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

from harness import lifeline

__all__ = ["main"]


def main() -> int:
    """Does not return: the server's exit is ours."""
    words = sys.argv[1:]
    parent = int(_taken(words, "--parent") or 0)
    if parent:
        lifeline.die_with_parent(parent)
    cpus = _taken(words, "--cpus")
    if cpus:
        os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    watched = lifeline.watch(parent) if parent else None
    threading.Thread(target=_end_after, args=(watched,), daemon=True).start()
    sys.argv = ["harness", "sim", *words]
    runpy.run_module("harness", run_name="__main__", alter_sys=True)
    return 0


def _end_after(parent: int | None) -> None:
    lifeline.wait(parent)
    os.kill(os.getpid(), signal.SIGTERM)


def _taken(words: list[str], option: str) -> str | None:
    """Its value, and both are gone from `words`."""
    if option not in words:
        return None
    at = words.index(option)
    found = words[at + 1]
    del words[at : at + 2]
    return found


if __name__ == "__main__":
    sys.exit(main())
