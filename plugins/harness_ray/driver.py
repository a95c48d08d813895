"""Ray's driver, in a process of its own: what Ray starts, prints, and does to signals stays here.

It is started as a guarded child (harness.lifeline): however the run ends, this process ends with
it, and with this every process that it started, a cluster of our own among them. On others'
clusters what we have are actors, which end with their driver.

For each trial one actor: asked for with what a trial takes, asked for messages as long as it has
any, killed. What is asked of it goes one at a time and by number, so nothing is taken twice; and
the next is not asked for before the run has taken the last, so nothing piles up here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Any, Final

from harness_ray.errors import how_it_went, in_short
from harness_ray.options import RayOptions
from harness_ray.wire import (
    LENGTH,
    Close,
    Command,
    Delivered,
    Execute,
    Interrupt,
    Kill,
    Open,
    Opened,
    Over,
    Placed,
    Refused,
    Reply,
    Said,
    decode_command,
    framed,
)

__all__ = ["main"]

OBJECTS_BYTES: Final = 200 << 20
"""Of a cluster of our own: messages are small, and Ray would take a third of the memory."""
AGAIN_S: Final = 1.0
AGAIN_MAX: Final = 60
"""An actor that cannot be reached for so many seconds is given up."""
SOON_S: Final = 5.0
"""A trial that found no place by then is worth a word."""


def main() -> None:
    """Does not return."""
    replies = os.dup(1)
    os.dup2(2, 1)  # whatever is printed is no reply
    code = 1
    try:
        asyncio.run(_serve(replies))
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


async def _serve(replies: int) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb"))
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(replies, "wb")
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    opening = await _read(reader)
    assert isinstance(opening, Open)
    try:
        opened = _open(opening)
    except Exception as error:  # Ray's own, of any kind
        writer.write(framed(Refused(*_refusal(error, opening.options))))
        await writer.drain()
        return
    try:
        driver = _Driver(opening, writer)
    except Exception as error:  # which options there are, Ray alone knows
        said = f"Ray does not take these options: {in_short(error)}"
        writer.write(framed(Refused(said, "placement.executor_options")))
        await writer.drain()
        return
    writer.write(framed(opened))
    try:
        while not isinstance(command := await _read(reader), Close):
            driver.obey(command)
    finally:
        await driver.end()
        import ray

        ray.shutdown()


async def _read(reader: asyncio.StreamReader) -> Command:
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return decode_command(await reader.readexactly(length))


# ---- the cluster


def _open(opening: Open) -> Opened:
    """Raises whatever Ray does."""
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # would pack the working folder for `uv run`
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_DEDUP_LOGS": "0",
    }
    options = opening.options
    where: dict[str, Any] = {"address": options.address}
    if not options.address:
        os.environ.pop("RAY_ADDRESS", None)
        # What its workers import is what we do.
        os.environ["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
        where = {
            "include_dashboard": False,
            "object_store_memory": OBJECTS_BYTES,
            "_temp_dir": opening.folder,
        }
    import ray

    ray.init(
        log_to_driver=False, logging_level="ERROR", namespace=f"harness-{os.getpid()}", **where
    )
    return Opened(ray.__version__, sum(node["Alive"] for node in ray.nodes()))


def _refusal(error: Exception, options: RayOptions) -> tuple[str, str]:
    where = options.address or "a cluster on this machine"
    said = in_short(error)
    if isinstance(error, ImportError):
        return f"ray cannot be imported: {said}", "pip install 'chimera-harness[ray]'"
    if "ersion mismatch" in str(error):
        said = in_short(str(error).partition(".")[0])
        return f"{where} has another version of Ray or Python: {said}", "the same here and there"
    return f"no Ray cluster at {where}: {said}", "ray status --address …; ray start --head"


def _fits(node: dict[str, Any], asked: dict[str, float]) -> bool:
    has = node.get("Resources", {})
    return bool(node["Alive"]) and all(has.get(name, 0) >= n for name, n in asked.items())


class _Driver:
    """All trials that are under way."""

    def __init__(self, opening: Open, writer: asyncio.StreamWriter) -> None:
        import ray

        from harness_ray.place import Place

        self._ray: Any = ray
        self._options = options = opening.options
        self._environment = opening.environment
        self._writer = writer
        self._actor = ray.remote(Place).options(
            num_cpus=options.cpus,
            num_gpus=options.gpus,
            resources=options.resources or None,
            runtime_env=options.runtime_env or None,
            scheduling_strategy="SPREAD" if options.strategy == "spread" else "DEFAULT",
            max_restarts=0,
            max_task_retries=0,
        )
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._handles: dict[int, Any] = {}

    def obey(self, command: Command) -> None:
        if isinstance(command, Execute):
            task = asyncio.ensure_future(self._execute(command))
            self._tasks[command.number] = task
            task.add_done_callback(lambda ended: self._ended(command.number, ended))
        elif isinstance(command, Interrupt):
            self._interrupt(command.number)
        elif isinstance(command, Kill) and (under_way := self._tasks.get(command.number)):
            under_way.cancel()

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        self._tasks.pop(number, None)
        if task.cancelled():  # before it began: it had no chance to say so
            self._writer.write(framed(Over(number, "killed")))

    async def end(self) -> None:
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _interrupt(self, number: int) -> None:
        if (handle := self._handles.get(number)) is not None:
            handle.interrupt.remote()  # it answers with its end
        elif (task := self._tasks.get(number)) is not None:
            task.cancel()  # nothing of it has begun

    # ---- one trial

    async def _execute(self, command: Execute) -> None:
        number, handle, node = command.number, None, ""
        over = Over(number, "killed")
        try:
            handle = self._actor.remote()
            placement = await self._placed(handle, command)
            if isinstance(placement, Over):
                over = placement
                return
            node = placement["node"]
            self._handles[number] = handle
            await self._send(Placed(number, placement))
            over = await self._bring_home(number, handle)
        except asyncio.CancelledError:
            pass
        except Exception as error:  # of any kind: whoever waits for it is to hear how it ended
            over = Over(number, *how_it_went(error, node))
        finally:
            self._handles.pop(number, None)
            if handle is not None:
                with contextlib.suppress(Exception):
                    self._ray.kill(handle, no_restart=True)
            self._writer.write(framed(over))

    async def _placed(self, handle: Any, command: Execute) -> dict[str, str] | Over:
        """Where it is; or that no place was to be had."""
        why = self._why_not()
        if why and not self._options.address:
            return Over(command.number, "refused", why, "executor_options: ask for less")
        started = asyncio.ensure_future(
            _answer(handle.start.remote(command.job, self._environment))
        )
        left_s = self._options.place_timeout_s
        soon_s = min(SOON_S, left_s)
        done, _ = await asyncio.wait([started], timeout=soon_s)
        if not done:
            why = self._why_not()
            await self._send(Said(f"waiting for a place, {left_s:g} s at most{why and f': {why}'}"))
            done, _ = await asyncio.wait([started], timeout=left_s - soon_s)
        if not done:
            started.cancel()
            why = self._why_not() or "every node that has so much was taken"
            return Over(
                command.number,
                "refused",
                f"no place in {left_s:g} s: {why}",
                "placement.parallel: fewer, or executor_options.place_timeout_s",
            )
        placement: dict[str, str] = started.result()
        return placement

    def _why_not(self) -> str:
        """Empty, if some node has what a trial takes, be it taken or not."""
        options = self._options
        asked = {"CPU": options.cpus, "GPU": options.gpus, **options.resources}
        asked = {name: amount for name, amount in asked.items() if amount}
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        if any(_fits(node, asked) for node in nodes):
            return ""
        wanted = ", ".join(f"{amount:g} {name}" for name, amount in asked.items())
        most = {
            name: max((n["Resources"].get(name, 0) for n in nodes), default=0) for name in asked
        }
        have = ", ".join(f"{amount:g} {name}" for name, amount in most.items())
        return f"a trial takes {wanted}, and of {len(nodes)} nodes none has that (at most {have})"

    async def _bring_home(self, number: int, handle: Any) -> Over:
        first = again = 0
        while True:
            try:
                at, messages, ended = await _answer(handle.take.remote(first))
            except self._ray.exceptions.ActorUnavailableError:  # not known to be gone
                again += 1
                if again > AGAIN_MAX:
                    return Over(number, "place_lost", "it could not be reached for a minute")
                await asyncio.sleep(AGAIN_S)
                continue
            assert at == first, "messages are missing, or come twice"
            again = 0
            first += len(messages)
            if messages:
                await self._send(Delivered(number, messages))
            if ended is not None:
                return Over(number, *ended)

    async def _send(self, reply: Reply) -> None:
        self._writer.write(framed(reply))
        await self._writer.drain()


async def _answer(reference: Any) -> Any:
    return await reference
