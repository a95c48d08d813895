"""One contract suite for executors: ours, and one that a stranger might write."""

from __future__ import annotations

import asyncio
import contextlib

from harness.engine.local import LocalExecutor
from harness.jobs import perform
from harness.testing import ExecutorContract


class TestLocal(ExecutorContract):
    def executor(self):
        return LocalExecutor()


class Here:
    """In this process, by the public entry point: what a remote worker would do with a job."""

    def __init__(self):
        self.running = set()

    async def execute(self, job, placement, deliver):
        task = asyncio.ensure_future(perform(job, deliver))
        self.running.add(task)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        finally:
            self.running.discard(task)

    async def close(self):
        for task in self.running:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


class TestAnother(ExecutorContract):
    def executor(self):
        return Here()
