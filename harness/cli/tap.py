"""`harness tap`"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from harness.cli import load_host

if TYPE_CHECKING:
    from harness.engine import Observer


@click.command("tap", short_help="Record the calls of any program, on their way to a server.")
@click.argument("url")
@click.argument("program", nargs=-1, type=click.UNPROCESSED)
@click.option("--backend", metavar="NAME", help="What the server speaks; default: it is asked.")
@click.option("--model", metavar="NAME", help="Read back what the server says of this model.")
@click.option("--port", type=click.IntRange(1, 65535), help="Where to listen; default: any free.")
@click.option("--name", default="agent", show_default=True, help="Of the agent in the records.")
@click.option("--calls", type=click.IntRange(1), help="Over when so many calls are recorded.")
@click.option(
    "--transport",
    type=click.Choice(["auto", "native", "portable"]),
    default="auto",
    show_default=True,
    help="Native: plain HTTP on Linux, kernel stamps. Portable: TLS, and everywhere.",
)
@click.option("--out", type=click.Path(path_type=Path), help="The run folder itself.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary alone, as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    url: str,
    program: tuple[str, ...],
    backend: str | None,
    model: str | None,
    port: int | None,
    name: str,
    calls: int | None,
    transport: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Stand between any program and the model server at URL, and record its calls as a run.

    The program needs nothing but another base URL. What goes through is stamped on both sides and
    passed on as it is; `harness show`, `compare` and `export` read the run as any other.

    With a PROGRAM (behind --) the tap ends when it ends. It finds OPENAI_BASE_URL, OPENAI_API_BASE,
    OLLAMA_HOST and HARNESS_TAP_URL in its environment; {url} and {base_url} in its arguments are
    replaced. Without one, the tap stands open until Ctrl-C, which is then its proper end.

    \b
    Examples:
      harness tap http://127.0.0.1:11434
      harness tap http://127.0.0.1:11434 -- python my_agent.py
      harness tap http://127.0.0.1:8080/v1 --calls 20 --out tapped
      harness tap https://api.openai.com/v1 -- python my_agent.py
      harness tap http://127.0.0.1:11434 -- curl -sN {url}/api/chat -d @request.json
    """
    from harness.cli.conduct import conduct
    from harness.engine import spec_from
    from harness.openend import listening, say_enough

    if program and shutil.which(program[0]) is None:
        raise click.UsageError(f"There is no program {program[0]!r} to be run.", ctx)
    host = load_host()
    if port is not None:
        _check_free(port)
    spec = spec_from(
        _spec(
            url,
            backend=backend,
            model=model,
            transport=transport,
            options={"program": list(program), "name": name, "port": port or 0, "calls": calls},
        )
    )
    view = _View(spec.backend.url, spec.scenario.options, own_output=not as_json)
    with listening(view):
        ctx.exit(
            conduct(spec, host, out=out, as_json=as_json, progress=view.shown, enough=say_enough)
        )


def _spec(
    url: str, *, backend: str | None, model: str | None, transport: str, options: dict[str, Any]
) -> dict[str, Any]:
    """Raises HarnessError: an address that is none, a server that is not there."""
    from urllib.parse import urlsplit

    from harness.addresses import server_address

    address = server_address(url, where="URL")
    path = urlsplit(address).path.rstrip("/")
    root = path.removesuffix("/v1")
    kind = backend or _asked(address.removesuffix("/v1"))
    base = path or "/v1"
    if kind == "ollama":
        address, base = address.removesuffix("/v1"), f"{root}/v1"
    return {
        "backend": {"name": kind, "url": address, "model": model, "tap": True},
        "scenario": {"name": "tapped", "options": {**options, "root": root, "base": base}},
        "arms": {"tapped": {}},
        "iterations": {"warmup": 0, "measured": 1},
        "isolation": "inline",
        "transport": transport,
    }


def _check_free(port: int) -> None:
    """Raises SpecError, before a run is begun that can record nothing."""
    import os
    import socket

    from harness.errors import SpecError

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError as error:
            raise SpecError(
                f"cannot listen on 127.0.0.1:{port}: {os.strerror(error.errno or 0)}",
                where="--port",
                remedy="another port, or leave it out: any that is free",
            ) from None


def _asked(root: str) -> str:
    """Which of the dialects the server speaks: only Ollama tells its version there."""
    from harness.cli.background import run_async
    from harness.control import ControlClient, json_object
    from harness.errors import BackendError
    from harness.schema import TimeoutsSpec

    async def ask() -> str:
        async with ControlClient(root, TimeoutsSpec(connect_s=5.0)) as client:
            answer = await client.ask("GET", "/api/version")
        found = json_object(answer.content) if answer.status == 200 else None
        return "ollama" if found and isinstance(found.get("version"), str) else "openai"

    try:
        return run_async(ask())
    except BackendError as error:  # the address is no option here
        remedy = error.remedy.replace("--url with the address", "the address")
        raise BackendError(error.what, where=error.where, remedy=remedy) from None


class _View:
    """What is told while the tap stands open; the run's observer, and what listens to the scenario.
    How many calls went through stands in one line, on a terminal."""

    def __init__(self, url: Any, options: dict[str, Any], *, own_output: bool) -> None:
        self._upstream = url
        self._options = options
        self._streams = {1: sys.stdout if own_output else sys.stderr, 2: sys.stderr}
        self._err: TextIO = sys.stderr
        self._live = False
        self._calls = self._bad = 0

    @contextmanager
    def shown(self, stream: TextIO) -> Iterator[Observer]:
        from harness.engine import Silent

        self._err = stream
        self._live = stream.isatty() and not self._options["program"]
        observer = Silent()
        observer.call_finished = self._count  # type: ignore[method-assign]
        try:
            yield observer
        finally:
            self._clear()

    # A harness.openend.Listener. --------------------------------------------------------------

    def began(self, url: str) -> None:
        from harness.cli.terminal import say

        root, base = self._options["root"], self._options["base"]
        say(f"the tap is open: {url} → {self._upstream}")
        say(f"  OPENAI_BASE_URL={url}{base}")
        say(f"  OLLAMA_HOST={url}{root}")
        if not self._options["program"]:
            calls = self._options["calls"]
            until = f"{calls} calls or Ctrl-C end it" if calls else "Ctrl-C ends it"
            say(f"point an agent at one of them; its calls are recorded; {until}")
        self._draw()

    def wrote(self, stream: int, data: bytes) -> None:
        out = self._streams[stream]
        with suppress(OSError, ValueError):  # whoever read it has read enough
            out.buffer.write(data)
            out.flush()

    # ------------------------------------------------------------------------------------------

    def _count(self, record: Any) -> None:
        self._calls += 1
        self._bad += record.status != "ok"
        self._draw()

    def _draw(self) -> None:
        if self._live:
            bad = f", {self._bad} not ok" if self._bad else ""
            self._err.write(f"\r\x1b[2K{self._calls} calls{bad}")
            self._err.flush()

    def _clear(self) -> None:
        if self._live:
            self._err.write("\r\x1b[2K")
            self._err.flush()
