"""The real command under bad conditions, and what is to be true of a run whatever happened to it.

Nothing here sleeps: a test waits for a record in the log, for a line, for a process to end or for
the stranger's plugin to reach a place, and gives up when the command itself has ended.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil

from harness.schema import CallRecord, IterationRecord, TrialRecord
from harness.store import load_run
from harness.store.folder import RECORDS
from harness.store.log import FRAME, HEADER

HARNESS = [sys.executable, "-m", "harness"]
STRANGER = Path(__file__).parent / "stranger"
PATIENCE_S = 60.0
"""Only a failing test ever waits for it."""


class Done:
    def __init__(self, process, out, err):
        self.status = process.returncode
        self.out = out
        self.err = err
        assert "Traceback" not in err, err

    @property
    def line(self):
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


class Command:
    """One `harness …` under way."""

    def __init__(self, *words, cwd, block=None, limits=(), path=STRANGER, **streams):
        environment = {**os.environ, "PYTHONPATH": str(path)}
        self.fifo = None
        if block is not None:
            self.fifo = cwd / "gate"
            os.mkfifo(self.fifo)
            environment["HARNESS_TEST_BLOCK"] = f"{block}:{self.fifo}"

        def limit():
            for kind, values in limits:
                resource.setrlimit(kind, values)

        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        self.process = subprocess.Popen(
            [*HARNESS, *map(str, words)],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            text=True,
            preexec_fn=limit if limits else None,
            start_new_session=True,
            **streams,
        )
        self.pid = self.process.pid
        self._watch = select.poll()
        self._pidfd = os.pidfd_open(self.pid)
        self._watch.register(self._pidfd, select.POLLIN)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        with contextlib.suppress(ValueError):  # closed by the test
            self.process.communicate(timeout=PATIENCE_S)
        os.close(self._pidfd)

    def until(self, holds):
        """Wait until `holds()` is true, or fail with what the command said when it ended."""
        while not (found := holds()):
            if self._watch.poll(2) and not (found := holds()):
                raise AssertionError((self.process.wait(), *self.process.communicate()))
        return found

    def records(self, folder, n):
        """Wait until the log holds `n` records."""
        self.until(lambda: count_records(folder / RECORDS) >= n)

    def gate(self):
        """Wait until the command is at the place where it blocks; closing this lets it go on."""

        def reached():
            try:
                return os.fdopen(os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK), "wb")
            except OSError as error:
                assert error.errno == errno.ENXIO
                return None

        return self.until(reached)

    def signal(self, number):
        self.process.send_signal(number)

    def stand_still(self):
        """Stop it, and wait until its last thread has: on a busy machine that takes a moment."""
        self.signal(signal.SIGSTOP)
        threads = Path(f"/proc/{self.pid}/task")
        self.until(
            lambda: all(
                (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"
                for thread in threads.iterdir()
            )
        )

    def said(self, text):
        """Wait for a line on standard error that has `text` in it."""
        while line := self.process.stderr.readline():
            if text in line:
                return
        raise AssertionError(f"it ended without saying {text!r}")

    def done(self):
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return Done(self.process, out or "", err or "")


def harness(*words, cwd, **how):
    with Command(*words, cwd=cwd, **how) as command:
        return command.done()


def count_records(path):
    """Whole records in a log that is being written."""
    try:
        data = path.read_bytes()
    except OSError:
        return 0
    at, n = len(HEADER), 0
    while at + FRAME.size <= len(data):
        at += FRAME.size + FRAME.unpack_from(data, at)[0]
        n += at <= len(data)
    return n


def ended(pid_fd, within_s=PATIENCE_S):
    """Whether the process behind a pidfd has ended, or does."""
    poller = select.poll()
    poller.register(pid_fd, select.POLLIN)
    return bool(poller.poll(within_s * 1000))


@contextlib.contextmanager
def watched(pid):
    """A pidfd of a process that need not be our child, which is gone afterwards."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        if not ended(descriptor, 0):
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()
        os.close(descriptor)


def run_words(url, folder, *more):
    """A closed loop against a truth server, of more requests than a test will wait for."""
    return [
        *("run", "load", "--backend", "openai", "--model", "sim", "--url", url),
        *("--out", folder, "--max-tokens", 4, "--warmup", 0, *more),
    ]


def check_run(folder, *, show=False):
    """What must hold of any run at all; returns its summary and its measured calls by status.
    `show` asks the command too, which takes a while."""
    run = load_run(folder)
    records = list(run.records())
    calls = [r for r in records if isinstance(r, CallRecord)]
    iterations = [r for r in records if isinstance(r, IterationRecord)]
    trials = [r for r in records if isinstance(r, TrialRecord)]
    codes = {caveat.code for caveat in run.summary.verdict.caveats}
    assert "unbalanced" not in codes, run.summary.verdict
    assert len({call.call_id for call in calls}) == len(calls)
    of = Counter((c.trial, c.phase, c.iteration) for c in calls)
    for iteration in iterations:
        recorded = of[iteration.trial, iteration.phase, iteration.iteration]
        if iteration.status == "ok":
            assert recorded == iteration.planned_calls
        else:
            assert recorded <= iteration.planned_calls
    if run.summary.state == "finished":
        assert len(trials) == len(run.manifest.plan)
    else:
        assert run.summary.verdict.state != "valid"
    if show:
        shown = harness("show", folder, "--json", cwd=folder.parent)
        assert shown.status == 0
        assert json.loads(shown.out)["state"] == run.summary.state
    measured = [call for call in calls if call.phase == "measured"]
    return run.summary, Counter(call.status for call in measured)
