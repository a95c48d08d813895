"""SIGKILL at any instant leaves a run that loads, holding a prefix of what was sent.

A child appends records, numbered and of very different sizes, and acknowledges each one that
append() returned from. It is killed after a random number of acknowledgements and a random spin, so
that it dies before, within and after writes.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from harness.store import load_run
from harness.store.folder import MANIFEST

ROOT = Path(__file__).parents[2]
SEED = 20261120
KILLS = 20

CHILD = """
import sys
from pathlib import Path
import msgspec
from harness.store import RunWriter
from tests.store import builders

def numbered(number):
    text = "x" * (number * 7919 % 2_000_000 if number % 3 == 0 else number)
    return builders.call(ordinal=number, text=text)

with RunWriter.create(builders.manifest(), Path(sys.argv[1])) as writer:
    number = 0
    sys.stdout.buffer.write(b"!")
    sys.stdout.buffer.flush()
    while True:
        writer.append(numbered(number))
        sys.stdout.buffer.write(b".")
        sys.stdout.buffer.flush()
        number += 1
"""


def killed_run(out: Path, acknowledged: int, spin: int) -> int:
    """Starts the child, kills it, and returns how many appends it had acknowledged."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(out)], stdout=subprocess.PIPE, env=environment
    )
    assert child.stdout is not None
    with child.stdout as acknowledgements:
        seen = len(acknowledgements.read(1 + acknowledged))
        for _ in range(spin):
            pass
        child.send_signal(signal.SIGKILL)
        seen += len(acknowledgements.read())
    assert child.wait() == -signal.SIGKILL
    return seen - 1


def test_a_killed_run_is_a_prefix_of_what_was_sent(tmp_path):
    rng = random.Random(SEED)
    torn = 0
    for kill in range(KILLS):
        out = tmp_path / str(kill)
        acknowledged = killed_run(out, rng.choice([0, 1, 5, 50]), rng.randrange(60_000))
        run = load_run(out)
        told = f"seed {SEED}, kill {kill}, acknowledged {acknowledged}"
        ordinals = [int(record.call_id.rsplit(".", 1)[1]) for record in run.records()]
        assert ordinals == list(range(len(ordinals))), told
        # The pipe may lag behind the log by the one append that was under way.
        assert acknowledged <= len(ordinals) <= acknowledged + 1, told
        assert run.manifest.state == "running"
        assert run.summary.state == "interrupted", told
        assert "incomplete" in [caveat.code for caveat in run.summary.verdict.caveats]
        torn += any("torn tail" in warning for warning in run.warnings)
        assert not list(out.glob("*.part")), told
        assert (out / MANIFEST).is_file()
    print(f"{torn} of {KILLS} kills tore a record")
