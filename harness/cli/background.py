"""asyncio for a command: the event loop, and threads that nobody has to wait for.

The one blocking call that cannot be cancelled is the system's resolver, which may take half a
minute to give up. asyncio's own threads are joined when the loop closes, and again when Python
exits: Ctrl-C would seem to do nothing. These are daemons, and are left behind.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

__all__ = ["DaemonThreads", "run_async"]

THREADS_MAX: Final = 32

P = ParamSpec("P")
T = TypeVar("T")


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """asyncio.run, with DaemonThreads."""

    async def with_threads() -> T:
        asyncio.get_running_loop().set_default_executor(DaemonThreads())
        return await main

    return asyncio.run(with_threads())


class DaemonThreads(ThreadPoolExecutor):
    """A ThreadPoolExecutor by name only, because an event loop takes no other kind: it starts
    threads of its own, as long as none is idle, up to THREADS_MAX."""

    def __init__(self) -> None:
        super().__init__(max_workers=1)
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._jobs = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self._jobs.put((future, partial(fn, *args, **kwargs)))
        if not self._idle.acquire(blocking=False) and self._started < THREADS_MAX:
            self._started += 1
            threading.Thread(target=self._work, name="harness-background", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Idle threads end; a busy one is not waited for, whatever is asked."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # whatever it is, it is the caller's
                    future.set_exception(error)
            del job, future, call  # an idle thread must not keep a result alive
            self._idle.release()
