"""The agents that are registered: ours, in three languages. Each is a class with `command` and
`about` (harness.protocols.Agent), made when it is asked for."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.errors import BackendError
from harness.protocols import Agent
from harness.text import one_line

if TYPE_CHECKING:
    from harness import Host

__all__ = ["NodeAgent", "PythonAgent", "RustAgent", "agent_named", "offered", "program_of"]

NODE_MAJOR_MIN: Final = 18
_HERE: Final = Path(__file__).parent
_NODE_S: Final = 20.0


class PythonAgent:
    """The reference agent, in the Python that runs the harness."""

    def command(self) -> list[str]:
        # -P: what lies in the working folder is not to be imported in place of ours.
        return [sys.executable, "-P", "-m", "harness_agents.python_agent"]

    def about(self) -> dict[str, Any]:
        from importlib.metadata import version

        names = ("httpx", "httpcore", "h11", "anyio")
        return {
            "language": "Python",
            "runtime": f"{sys.implementation.name} {sys.version.split()[0]}, asyncio",
            "libraries": {name: version(name) for name in names},
            "sha256": _digest("python_agent.py", "answers.py", "ingest.py"),
        }


class NodeAgent:
    """The same work in JavaScript, without any package."""

    def command(self) -> list[str]:
        return [_node(), str(_HERE / "node" / "agent.mjs")]

    def about(self) -> dict[str, Any]:
        import subprocess

        script = "console.log(JSON.stringify(process.versions))"
        try:
            done = subprocess.run(
                [_node(), "-e", script], capture_output=True, timeout=_NODE_S, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise BackendError(
                f"node does not run: {one_line(str(error))}", where="agent node", remedy=_REMEDY
            ) from None
        import msgspec

        versions = msgspec.json.decode(done.stdout)
        return {
            "language": "JavaScript",
            "runtime": f"node {versions['node']}",
            "libraries": {name: versions.get(name) for name in ("v8", "uv", "llhttp")},
            "sha256": _digest("node/agent.mjs"),
        }


class RustAgent:
    """One of the binaries that `harness agents build` makes."""

    def __init__(self, name: str) -> None:
        self._name = name

    def command(self) -> list[str]:
        from harness_agents import rust

        return [str(rust.binary(self._name))]

    def about(self) -> dict[str, Any]:
        from harness_agents import rust

        return rust.about(self._name)


_REMEDY = f"install Node.js {NODE_MAJOR_MIN} or later: apt-get install nodejs, nodejs.org"


def agent_named(name: str) -> Agent:
    """Of ours or of any plugin's. Raises SpecError for a name that nobody registered."""
    for known, factory, _ in offered():
        if known == name:
            return factory()
    return _host().agents.get(name, "$.scenario.options.agent").factory()


def program_of(command: Sequence[str]) -> list[str]:
    """The words of a `command`, whose program is there. Raises BackendError where it is not."""
    if shutil.which(command[0]) is None:
        raise BackendError(
            f"there is no program {one_line(command[0], 100)!r}, or it may not be executed",
            where="command",
            remedy="its path, or the name of one on PATH; `chmod +x` makes a script executable",
        )
    return list(command)


@cache
def _host() -> Host:
    from harness import Host

    return Host.load()


def offered() -> Iterator[tuple[str, Callable[[], Agent], str]]:
    """(name, factory, summary)"""
    yield "python", PythonAgent, "reference agent in Python: httpx on asyncio"
    yield "node", NodeAgent, "agent in JavaScript: node:http, no packages"
    for name, summary in _RUST.items():
        yield name, partial(RustAgent, name), f"agent in Rust: {summary}"


# rust.RUNTIMES has them too; importing it would cost every `harness --help`.
_RUST: Final = {
    "rust-tokio": "tokio, multi-thread",
    "rust-tokio-current": "tokio, one thread with a LocalSet",
    "rust-tokio-local": "tokio, one thread as LocalRuntime",
    "rust-smol": "smol, one thread",
    "rust-async-std": "async-std, a thread per core; historic",
    "rust-smol-1kb": "smol with a reader of 1,024 bytes; sees no first token",
}


def _node() -> str:
    found = shutil.which("node") or shutil.which("nodejs")
    if found is None:
        raise BackendError("there is no node", where="agent node", remedy=_REMEDY)
    return found


def _digest(*names: str) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update((_HERE / name).read_bytes())
    return digest.hexdigest()
