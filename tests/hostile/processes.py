"""A command and all that it starts, looked at while it runs."""

from __future__ import annotations

import contextlib
import subprocess

import psutil

WAIT_S = 120  # against hanging only
PAUSE_S = 0.01
"""Between two looks. What is looked for lasts longer; looking all the time would slow it down."""


@contextlib.contextmanager
def tree(command, folder, **more):
    """The running command; it is waited for (its standard input is closed) and did not fail."""
    with (folder / "output").open("wb") as output:
        child = psutil.Popen(
            [str(word) for word in command],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            **more,
        )
        try:
            yield child
        finally:
            child.stdin.close()
            status = child.wait(WAIT_S)
    assert status in (0, 4), (folder / "output").read_text()


def watch(process, look, *, until=None):
    """What `look` said of each process of the tree, at any time until one of it holds `until`, or
    until the command ends."""
    seen = set()
    while True:
        with contextlib.suppress(psutil.Error):
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    seen.add(look(one))
        if until is not None and any(until in str(one) for one in seen):
            return seen
        try:
            process.wait(PAUSE_S)
        except psutil.TimeoutExpired:
            continue
        return seen


def listening(process):
    """Addresses that a process listens on."""
    return tuple(
        (connection.laddr.ip, connection.laddr.port)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    )
