"""A plugin like anybody's, for tests: it can be made to block at one place, until the test lets it
go on. HARNESS_TEST_BLOCK is `place:fifo`; to open the FIFO for writing is to wait until the command
has got there, for that is when its reader comes. The resolver knows a few names more.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

import msgspec

import harness
from harness.schema import Effective, Request

PLACE, _, FIFO = os.environ.get("HARNESS_TEST_BLOCK", "").partition(":")
ARTIFACT_BYTES = 200_000


def block(place):
    """Until the test has opened the gate and closed it again. It looks up now and then, because a
    signal that comes just before a system call does not end it, and its handler would wait."""
    if place == PLACE:
        gate = os.open(FIFO, os.O_RDONLY | os.O_NONBLOCK)
        watch = select.poll()
        watch.register(gate, select.POLLIN)  # hung up on, in fact: the writer came, and has gone
        while not watch.poll(50):
            pass
        os.close(gate)


def resolve(host, port, *more, **named):
    """`several.test` has two addresses, the first of which refuses; `gone.test` has none."""
    host = host.decode() if isinstance(host, bytes) else host
    if host == "gone.test":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if host == "several.test":
        return known("127.77.0.1", port, *more, **named) + known("127.0.0.1", port, *more, **named)
    if host == "slow.test":
        block("dns")
    return known(host, port, *more, **named)


known = socket.getaddrinfo
socket.getaddrinfo = resolve
block("import")


class SlowToOpen:
    """A backend that opens for ever: in the event loop, or so that the loop stands still."""

    urls = ("http://127.0.0.1:1",)

    def __init__(self, config):
        self.config = config

    async def open(self):
        block("open-and-hold-the-loop")
        if PLACE == "open":
            await asyncio.to_thread(block, "open")

    async def effective(self):
        return Effective()

    async def close(self):
        pass

    def prepare(self, request): ...

    def decode(self, request, record): ...


class LargeArtifact:
    """A workflow that leaves more than the disk of a test can hold."""

    planned_calls_per_iteration = 0

    def __init__(self, config):
        pass

    async def setup(self, ctx): ...

    async def execute(self, ctx):
        ctx.metric("answer", 42.0, "1")
        ctx.artifact("large.bin", b"x" * ARTIFACT_BYTES)

    async def teardown(self, ctx): ...


class Misdeed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    how: str = ""
    trial: int = 1


def leave_behind():
    """Somebody who has gone his own way; returns once he has said who he is."""
    os.mkfifo("said")
    script = "setsid sh -c 'echo $$ > said; exec sleep 1000' &"
    subprocess.run(["sh", "-c", script], check=True)
    Path("left").write_text(Path("said").read_text())


def hold():
    time.sleep(1000)


class Misbehaves:
    """A workflow that makes a call, says where it runs, and then, in one trial, does what it is
    told to."""

    def __init__(self, config):
        self.options = config.options

    async def setup(self, ctx): ...

    async def execute(self, ctx):
        await ctx.call(Request(prompt="hello", max_tokens=2))
        cpus = sorted(os.sched_getaffinity(0))
        ctx.note("place", {"cpus": cpus, "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")})
        print(f"trial {ctx.trial} of the stranger")
        if ctx.trial == self.options.trial and self.options.how:
            await getattr(self, self.options.how)()

    async def killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    async def crashes(self):
        ctypes.string_at(0)

    async def exits(self):
        os._exit(7)

    async def waits(self):
        leave_behind()
        await asyncio.Event().wait()

    async def holds_the_loop(self):
        hold()

    async def teardown(self, ctx): ...


@harness.hookimpl
def harness_register_backends(registry):
    registry.add("slow_to_open", SlowToOpen)


@harness.hookimpl
def harness_register_scenarios(registry):
    registry.add("large_artifact", LargeArtifact)
    registry.add("misbehaves", Misbehaves, options=Misdeed)


@harness.hookimpl
def harness_collect_environment(spec):
    block("environment")


@harness.hookimpl
def harness_trial_finished(trial):
    block("trial")


@harness.hookimpl
def harness_find_caveats(result):
    block("summary")


@harness.hookimpl
def harness_run_finished(result):
    block("finished")


@harness.hookimpl
def harness_register_exporters(registry):
    def export(run, out):
        block("report")
        out.write(b"written\n")

    registry.add("stranger", export, automatic="stranger.txt")
