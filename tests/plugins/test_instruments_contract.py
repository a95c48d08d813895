"""Each of our instruments, against the contract suite that strangers' are held to."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from harness.host import Host
from harness.protocols import InstrumentConfig
from harness.testing import InstrumentContract


def made(name, **options):
    entry = Host.load().instruments.get(name)
    config = InstrumentConfig(
        options=entry.decode_options(options, "$"), arm="a", cell="base", trial=0, urls=()
    )
    return entry.factory(config)


class TestTiming(InstrumentContract):
    name = "timing"

    def instrument(self):
        return made("timing")


class TestPsutil(InstrumentContract):
    name = "psutil"

    def instrument(self):
        return made("psutil", interval_ms=5, uss=True)


class TestSampler(InstrumentContract):
    name = "sampler"

    def instrument(self):
        return made("sampler", interval_ms=1)


class TestCProfile(InstrumentContract):
    name = "cprofile"

    def instrument(self):
        return made("cprofile")


def may_look_at_its_parent():
    """Whether a child may read our memory here: not everywhere, and then py-spy cannot work."""
    spy = shutil.which("py-spy", path=str(__import__("pathlib").Path(sys.executable).parent))
    if spy is None:
        return False
    pid = str(__import__("os").getpid())
    return subprocess.run([spy, "dump", "--pid", pid], capture_output=True).returncode == 0


@pytest.mark.skipif(not may_look_at_its_parent(), reason="pip install py-spy, and allow ptrace")
class TestPySpy(InstrumentContract):
    name = "pyspy"

    def instrument(self):
        return made("pyspy")
