"""The contract suite for executors.

    class TestMine(ExecutorContract):
        def executor(self):
            return MyExecutor()

pytest then runs every test below: real trials of installed scenarios, against a truth server in a
thread of the test's process (Linux).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from harness.errors import StoreError
from harness.protocols import Executor
from harness.schema import CallRecord, IterationRecord

if TYPE_CHECKING:
    from harness.engine.messages import Job, Message

__all__ = ["ExecutorContract"]

ENDLESS: Final = 1_000_000
PATIENCE_S: Final = 180.0
"""Only a failing test waits for it."""


class ExecutorContract:
    """Subclass it and override `executor`; `lose` too, if it can tell a lost place from a trial
    that crashed."""

    def executor(self) -> Executor:
        """A fresh one; the suite closes it."""
        raise NotImplementedError

    def lose(self, placement: dict[str, str]) -> bool:
        """Kill the worker or the machine of the only trial under way, at once. False: there is none
        that could be lost by itself."""
        return False

    # The tests. ------------------------------------------------------------------------------

    def test_a_trial_comes_home(self) -> None:
        with _server() as url:
            heard = self._execute([_job(url, requests=6)])[0]
        assert [type(one).__name__ for one in heard if not _is_log(one)] == [
            "Begun",
            *(["CallRecord"] * 6),
            "IterationRecord",
            "Ended",
        ]
        assert [one.status for one in heard if isinstance(one, CallRecord)] == ["ok"] * 6
        ended = _end(heard)
        assert ended.failure is None
        assert ended.record.status == "ok"
        assert ended.record.transport_stats, "what the transport counted comes with the record"

    def test_artifacts_come_before_the_record_that_names_them(self) -> None:
        from harness.engine.messages import Kept

        with _server() as url:
            job = _job(url, scenario={"name": "single_agent"}, load=None)
            heard = self._execute([job])[0]
        tickets: dict[str, Any] = {}
        for one in heard:
            if isinstance(one, Kept):
                tickets[one.ticket] = one.content
            elif isinstance(one, IterationRecord):
                assert one.artifacts
                assert {kept.path for kept in one.artifacts} <= tickets.keys()
        assert all(tickets.values())

    def test_several_at_once(self) -> None:
        with _server() as url:
            jobs = [_job(url, requests=4, run_id=name) for name in ("one", "two", "three")]
            for heard in self._execute(jobs):
                assert _end(heard).record.status == "ok"
                assert sum(isinstance(one, CallRecord) for one in heard) == 4

    def test_an_interrupt_brings_home_what_there_is(self) -> None:
        with _server() as url:
            job = _job(url, requests=ENDLESS, concurrency=2)
            heard = self._execute([job], cancel_at=5)[0]
        ended = _end(heard)
        assert (ended.record.status, ended.failure.kind) == ("cancelled", "cancelled")
        calls = [one.status for one in heard if isinstance(one, CallRecord)]
        assert calls.count("ok") >= 5
        assert 0 < calls.count("cancelled") <= 2, "what was in flight"
        (iteration,) = [one for one in heard if isinstance(one, IterationRecord)]
        assert (iteration.status, iteration.planned_calls) == ("cancelled", ENDLESS)

    def test_a_run_that_takes_no_more_ends_the_trial(self) -> None:
        """Whatever `deliver` raises is raised, and nothing is delivered after it."""
        refused = StoreError("no space left")

        def refuse(message: Message) -> None:
            if isinstance(message, CallRecord):
                raise refused

        with _server() as url:
            try:
                self._execute([_job(url, requests=ENDLESS)], refuse)
            except StoreError as error:
                assert error is refused
            else:
                raise AssertionError("the refusal was lost")

    def test_a_job_that_cannot_be_done_says_why(self) -> None:
        """That is an answer, and no loss."""
        with _server() as url:
            heard = self._execute([replace(_job(url), digest="of something else")])[0]
        ended = _end(heard)
        assert ended.record is None
        assert ended.failure.kind == "PluginError"

    def test_a_trial_that_fails_says_why(self) -> None:
        heard = self._execute([_job("http://127.0.0.1:1", backend="ollama")])[0]
        ended = _end(heard)
        assert (ended.record.status, ended.failure.kind) == ("error", "BackendError")
        assert "127.0.0.1:1" in ended.failure.where

    def test_a_lost_place_is_no_fault_of_the_trial(self) -> None:
        """It says so, of that trial, and nothing of it comes later; the next one has a place."""
        from harness.errors import PlaceLostError

        placement: dict[str, str] = {}
        can, calls, lost = True, 0, False

        def look(message: Message) -> None:
            nonlocal calls, can
            calls += isinstance(message, CallRecord)
            if isinstance(message, CallRecord) and calls == 3:
                can = self.lose(placement)
                if not can:
                    raise StoreError("enough")

        async def main(url: str) -> None:
            nonlocal lost
            executor = self.executor()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    try:
                        await self._one(executor, _job(url, requests=ENDLESS), look, placement)
                    except StoreError:
                        return
                    except PlaceLostError:
                        lost = True
                    before = calls
                    heard = await self._one(executor, _job(url, requests=2), bool, {})
                    assert _end(heard).record.status == "ok"
                    assert calls == before
            finally:
                await executor.close()

        with _server() as url:
            asyncio.run(main(url))
        assert lost is can

    def test_close_may_come_twice(self) -> None:
        async def main() -> None:
            executor = self.executor()
            await executor.close()
            await executor.close()

        asyncio.run(main())

    # -----------------------------------------------------------------------------------------

    def _execute(
        self,
        jobs: list[Job],
        look: Callable[[Message], object] = bool,
        *,
        cancel_at: int | None = None,
    ) -> list[list[Message]]:
        """What comes of each; the first job is cancelled at that many calls."""

        async def main() -> list[list[Message]]:
            executor = self.executor()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    return await asyncio.gather(
                        *(self._one(executor, job, look, {}, cancel_at) for job in jobs)
                    )
            finally:
                await executor.close()

        return asyncio.run(main())

    async def _one(
        self,
        executor: Executor,
        job: Job,
        look: Callable[[Message], object],
        placement: dict[str, str],
        cancel_at: int | None = None,
    ) -> list[Message]:
        from harness.engine.messages import decode_message, encode_message

        heard: list[Message] = []
        thread, task = threading.get_ident(), asyncio.current_task()
        assert task is not None

        def deliver(message: bytes) -> None:
            assert threading.get_ident() == thread, "not on the event loop's thread"
            heard.append(decode_message(message))
            look(heard[-1])
            if sum(isinstance(m, CallRecord) for m in heard) == cancel_at:
                task.cancel()

        interrupted = False
        try:
            await executor.execute(encode_message(job), placement, deliver)
        except asyncio.CancelledError:
            interrupted = True
        assert interrupted is (cancel_at is not None)
        return heard


@contextlib.contextmanager
def _server() -> Iterator[str]:
    from harness.testing.sim import SimServer, sim_spec

    with tempfile.TemporaryDirectory() as folder:
        server = SimServer(sim_spec({"ttft": 1, "gap": 0.1}), Path(folder) / "log")
        reader, writer = os.pipe()
        thread = threading.Thread(target=server.serve, args=([reader],))
        thread.start()
        try:
            yield server.url
        finally:
            os.close(writer)
            thread.join()
            os.close(reader)
            server.close()


def _job(
    url: str, *, requests: int = 3, concurrency: int = 1, run_id: str = "run", **changed: Any
) -> Job:
    """Of the only trial of a small run."""
    import logging

    from harness import __version__
    from harness.engine.messages import Job
    from harness.engine.plan import make_plan
    from harness.engine.specfile import spec_from
    from harness.host import Host

    raw: dict[str, Any] = {
        "backend": {"name": changed.pop("backend", "openai"), "model": "sim", "url": url},
        "scenario": {"name": "load", "options": {"max_tokens": 4}},
        "load": {"requests": requests, "concurrency": concurrency},
        "iterations": {"warmup": 0},
        **changed,
    }
    spec = spec_from({name: value for name, value in raw.items() if value is not None})
    plan = make_plan(spec, Host.load())
    return Job(
        spec=spec,
        digest=plan.digest,
        version=__version__,
        run_id=run_id,
        trial=0,
        log_level=logging.WARNING,
    )


def _is_log(message: Message) -> bool:
    return type(message).__name__ in ("Said", "Printed")


def _end(heard: list[Message]) -> Any:
    """The last of the trial's own messages; there is one, and nothing but logs comes after it."""
    ends = [message for message in heard if type(message).__name__ == "Ended"]
    assert len(ends) == 1, heard
    assert ends[0] is [message for message in heard if not _is_log(message)][-1]
    return ends[0]
