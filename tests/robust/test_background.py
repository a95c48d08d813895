"""The threads that nobody waits for still do what an executor is to do."""

from __future__ import annotations

import asyncio
import threading

import pytest

from harness.cli.background import THREADS_MAX, DaemonThreads, run_async


def test_results_errors_and_arguments_come_back():
    async def main():
        assert await asyncio.to_thread(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 7, 0)
        return "done"

    assert run_async(main()) == "done"


def test_threads_are_bounded_and_used_again():
    threads = DaemonThreads()
    gate = threading.Event()
    waiting = [threads.submit(gate.wait) for _ in range(2 * THREADS_MAX)]
    names = [t for t in threading.enumerate() if t.name == "harness-background"]
    assert len(names) == THREADS_MAX
    assert all(thread.daemon for thread in names)
    gate.set()
    assert all(future.result(60) for future in waiting)
    assert threads.submit(int, "7").result(60) == 7
    assert sum(t.name == "harness-background" for t in threading.enumerate()) == THREADS_MAX
    threads.shutdown()
    for thread in names:
        thread.join(60)


def test_a_call_that_hangs_is_left_behind():
    """The loop closes at once; the thread ends when it will."""
    gate = threading.Event()
    reached = threading.Event()

    busy = []

    def hang():
        busy.append(threading.current_thread())
        reached.set()
        gate.wait()

    async def main():
        hanging = asyncio.get_running_loop().run_in_executor(None, hang)
        await asyncio.to_thread(reached.wait)
        hanging.cancel()

    run_async(main())
    assert busy[0].is_alive()
    gate.set()
    busy[0].join(60)
