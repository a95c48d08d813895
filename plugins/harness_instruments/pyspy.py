"""`pyspy`: stacks sampled from outside by py-spy, of our process or of a local Python server.

py-spy reads another process's memory, which the system may refuse (Linux: root, CAP_SYS_PTRACE, or
kernel.yama.ptrace_scope=0); it then says so, and there are no figures. It stops the process for
each sample, unless it is told not to, and takes a part of a core either way: it perturbs, and sees
an extra iteration (`benchmarks/instruments.py` measures by how much).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

import psutil

from harness.errors import BackendError, MissingExtra
from harness.processes import server_processes
from harness.protocols import Observation
from harness.schema import MetricValue
from harness.text import one_line
from harness_instruments.options import PySpyOptions

__all__ = ["PySpy"]

_COMMAND: Final = re.compile(r'^process (\d+):".*";', re.M)
"""py-spy heads each stack with the whole command line, which is nobody's business."""

WITHIN_S: Final = 20.0
"""For py-spy to write its file; after that it is killed."""
LONGEST_S: Final = 24 * 3600
"""It ends by itself after that, should we be killed and its target live on."""


class PySpy:
    """The instrument `pyspy`."""

    perturbing = True

    def __init__(self, options: PySpyOptions, urls: tuple[str, ...]) -> None:
        self._options = options
        self._urls = urls
        self._program = _program()
        self._spy: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def open(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="harness-pyspy-")

    def start(self) -> None:
        """Returns when the first sample is due: py-spy takes some tenths of a second to begin."""
        assert self._folder is not None, "open comes first"
        out = Path(self._folder.name) / "stacks"
        out.unlink(missing_ok=True)
        options = self._options
        words = ["record", "--pid", str(self._target()), "--format", "raw", "--output", str(out)]
        words += ["--rate", str(options.rate_per_s), "--duration", str(LONGEST_S)]
        flags = {"children": "--subprocesses", "native": "--native", "nonblocking": "--nonblocking"}
        words += [flag for name, flag in flags.items() if getattr(options, name)]
        self._spy = subprocess.Popen(
            [self._program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._spy.stdout is not None
        said = ""
        while "Sampling process" not in said:
            line = self._spy.stdout.readline()
            if not line:
                self._spy.wait()
                self._spy = None
                raise BackendError(f"py-spy did not start: {one_line(said, 300)}")
            said += line

    def stop(self) -> Observation:
        spy, self._spy = self._spy, None
        if spy is None or self._folder is None:
            return Observation(unknown={"pyspy": "stopped without having been started"})
        cpu_s = _cpu_s(spy.pid)
        spy.send_signal(signal.SIGINT)
        try:
            said, _ = spy.communicate(timeout=WITHIN_S)
        except subprocess.TimeoutExpired:
            spy.kill()
            spy.communicate()
            return Observation(unknown={"pyspy": f"py-spy wrote nothing within {WITHIN_S:g} s"})
        out = Path(self._folder.name) / "stacks"
        if not out.exists() and spy.returncode not in (0, -signal.SIGINT):
            return Observation(unknown={"pyspy": f"py-spy wrote nothing: {one_line(said, 300)}"})
        # Without a file it ended before its first sample.
        text = out.read_text("utf-8", "replace") if out.exists() else ""
        text = _COMMAND.sub(r"process \1;", text)
        counts = [line.rpartition(" ")[2] for line in text.splitlines()]
        samples = sum(int(count) for count in counts if count.isdigit())
        metrics = [MetricValue(name="pyspy.samples", value=samples, unit="samples")]
        unknown = {"pyspy.sampling_cpu_ms": "py-spy had ended"} if cpu_s is None else {}
        if cpu_s is not None:
            metrics.append(MetricValue(name="pyspy.sampling_cpu_ms", value=cpu_s * 1e3, unit="ms"))
        artifacts = (("stacks.collapsed.txt", text),) if text else ()
        return Observation(metrics=tuple(metrics), unknown=unknown, artifacts=artifacts)

    def close(self) -> None:
        if self._spy is not None:
            self._spy.kill()
            self._spy.communicate()
            self._spy = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _target(self) -> int:
        if self._options.target == "self":
            return os.getpid()
        found, why = server_processes(self._urls)
        if not found:
            raise BackendError(f"there is no server to look at: {why}")
        return min(one.pid for one in found)


def _program() -> str:
    """Beside our own interpreter first: where pip puts it."""
    beside = shutil.which("py-spy", path=sysconfig.get_path("scripts"))
    found = beside or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    found = found or shutil.which("py-spy")
    if found is None:
        raise MissingExtra("pyspy", missing="py-spy")
    return found


def _cpu_s(pid: int) -> float | None:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    return float(times.user + times.system)
