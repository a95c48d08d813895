"""One contract suite for executors: ours, and one that a stranger might write."""

from __future__ import annotations

import asyncio
import contextlib
import errno

import pytest

from harness.engine.local import LocalExecutor
from harness.errors import TrialLostError
from harness.jobs import perform
from harness.testing import ExecutorContract


class TestLocal(ExecutorContract):
    def executor(self):
        return LocalExecutor()


def test_a_trial_without_descriptors_is_lost_and_nobody_waits_for_it(monkeypatch):
    def none_left(descriptor):
        raise OSError(errno.EMFILE, "Too many open files")

    async def main():
        executor = LocalExecutor()
        try:
            await executor.execute(b"no job", {}, lambda message: None)
        finally:
            await executor.close()

    monkeypatch.setattr("harness.engine.local.os.dup", none_left)
    with pytest.raises(TrialLostError, match="Too many open files"):
        asyncio.run(main())


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
