"""The cluster's end: one actor for each attempt at a trial, in a process of a node that had room.

In it works the same executor as on this machine: the trial has a fresh process, with a guard that
ends it with the actor, however that ends. What the trial says waits here until the driver takes it,
by number, so that an answer that was lost on its way is given again, and none twice. The driver of
an attempt that was given up asks no more; so nothing of it can come home late.

Ray alone imports this; it need be importable on every node.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from typing import Final

from harness.errors import HarnessError, TrialLostError
from harness.executors import local_executor
from harness.jobs import here

__all__ = ["Place"]

EASE_S: Final = 0.1
"""Messages are gathered for so long: each answer wakes this machine while calls are timed."""
BATCH_BYTES: Final = 1 << 20
WAITING_BYTES_MAX: Final = 1 << 29
"""Of messages that nobody took. A run that is so far behind does not come back."""


class Place:
    """Made an actor by Ray: its methods are called over the network, one trial in its life."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._first = 0
        """Number of the first message that waits."""
        self._news = asyncio.Event()
        self._ended = asyncio.Event()
        self._how = ("", "")
        self._task: asyncio.Task[None] | None = None

    async def start(self, job: bytes, environment: dict[str, str]) -> dict[str, str]:
        """Where this is. The trial is under way then."""
        os.environ.update(environment)
        gpus = _gpus()
        self._task = asyncio.ensure_future(self._run(job, {"gpus": gpus}))
        return {**_node(), **({"gpus": gpus} if gpus else {}), **here()}

    async def take(self, first: int) -> tuple[int, list[bytes], tuple[str, str] | None]:
        """Message number `first` and some that follow, as soon as there are any; whoever asks has
        all before. With the last of them, how it ended: what, and in which words."""
        while self._first < first:
            self._bytes -= len(self._waiting.popleft())
            self._first += 1
        while not self._waiting and not self._ended.is_set():
            self._news.clear()
            await self._news.wait()
        if not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), EASE_S)
        batch: list[bytes] = []
        size = 0
        for message in self._waiting:
            if batch and size + len(message) > BATCH_BYTES:
                break
            batch.append(message)
            size += len(message)
        is_last = self._ended.is_set() and len(batch) == len(self._waiting)
        return self._first, batch, self._how if is_last else None

    async def interrupt(self) -> None:
        """Politely; the second time, at once."""
        if self._task is not None:
            self._task.cancel()

    # ------------------------------------------------------------------------------------------

    async def _run(self, job: bytes, placement: dict[str, str]) -> None:
        executor = local_executor()
        try:
            await executor.execute(job, placement, self._keep)
        except asyncio.CancelledError:
            self._how = ("cancelled", "")
        except TrialLostError as error:
            self._how = ("lost", error.what)
        except HarnessError as error:
            self._how = ("lost", str(error))
        except Exception as error:  # ours, or the system's: told at home, not here
            self._how = ("lost", f"{type(error).__name__}: {error}")
        else:
            self._how = ("done", "")
        finally:
            self._ended.set()
            self._news.set()

    def _keep(self, message: bytes) -> None:
        self._bytes += len(message)
        if self._bytes > WAITING_BYTES_MAX:
            raise TrialLostError(f"{self._bytes} bytes that it said were not taken: too many")
        self._waiting.append(message)
        self._news.set()


def _node() -> dict[str, str]:
    import ray

    return {"node": str(ray.get_runtime_context().get_node_id())[:12]}


def _gpus() -> str:
    """As CUDA_VISIBLE_DEVICES names those that Ray gave us. Without any, none is to be seen: they
    are other trials'."""
    import ray

    given = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    return (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, given))) if given else ""
