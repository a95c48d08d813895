"""`harness sim`"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from harness.cli.harmless import print_json
from harness.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.testing.sim import SimSpec

ROOT = Path("sims")
WITH_JOIN = ("run", "log", "as_json")


@click.command("sim", short_help="Serve simulated models, and log the truth of every send.")
@click.argument("spec", metavar="[SPEC]", type=click.Path(path_type=Path), required=False)
@click.option("--dialect", metavar="NAME", help="How /v1 speaks: openai, vllm, sglang, llamacpp, …")
@click.option(
    "--ttft",
    metavar="LAW",
    help="ms: 50, uniform:40,60, lognormal:50,10, gamma:50,10; replay:RUN.",
)
@click.option("--gap", metavar="LAW", help="Between two chunks with content.")
@click.option("--replay", metavar="RUN", help="TTFT and gaps as recorded, call by call.")
@click.option("--slots", type=click.IntRange(1), help="Requests answered at a time.")
@click.option(
    "--fault", "faults", metavar="FAULT", multiple=True, help="KIND@N,N or KIND:RATE or KIND~WORDS."
)
@click.option("--set", "sets", metavar="FIELD=VALUE", multiple=True, help="Any field of the spec.")
@click.option("--seed", type=int, help="Of every draw.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: any that is free.")
@click.option(
    "--log", type=click.Path(path_type=Path), help="Folder of the log. Default: in ./sims"
)
@click.option("--realtime", is_flag=True, help="Send with real-time priority (needs the right).")
@click.option("--until-eof", is_flag=True, help="Stop when standard input ends.")
@click.option("--join", "run", metavar="RUN", help="Serve nothing: compare a run with the log.")
@click.option("--json", "as_json", is_flag=True, help="With --join: as JSON.")
@click.pass_context
def command(
    context: click.Context,
    /,
    spec: Path | None,
    host: str,
    port: int,
    log: Path | None,
    realtime: bool,
    until_eof: bool,
    run: str | None,
    as_json: bool,
    **words: Any,
) -> None:
    """Serve simulated models in Ollama's dialect (/api) and OpenAI's (/v1), and log the instant of
    every send. SPEC is a .yaml, .json or .toml file; docs/sim.md lists its fields.

    Prints one line of JSON, {"url", "pid", "log"}, when it is ready; with --realtime also whether
    that was granted. SIGINT or SIGTERM stop it.

    \b
    Examples:
      harness sim --ttft lognormal:200,60 --gap 10 --port 8000
      harness sim --dialect vllm --fault reset_mid:0.05 --fault http_429@3,4
      harness run load --backend openai --url http://127.0.0.1:8000 --concurrency 64 --requests 640
      harness sim --join latest
      harness sim --replay latest
    """
    _refuse_idle(context)
    if run is not None:
        from harness.cli.sim_join import show

        show(run, log, ROOT, as_json)
    else:
        _serve(_spec(spec, words), log, until_eof, host=host, port=port, realtime=realtime)


def _refuse_idle(context: click.Context) -> None:
    """Raises SpecError for what was given and would do nothing."""
    from harness.errors import SpecError

    given = [
        one
        for one in context.command.params
        if one.name and context.get_parameter_source(one.name) is ParameterSource.COMMANDLINE
    ]
    names = {one.name for one in given}
    if "run" in names:
        for one in given:
            if one.name not in WITH_JOIN:
                shown = one.opts[0] if one.name != "spec" else "SPEC"
                raise SpecError(
                    f"{shown} has no effect: nothing is served", where="--join", remedy="drop one"
                )
    elif "as_json" in names:
        raise SpecError("only --join prints figures", where="--json", remedy="--join RUN --json")


def _spec(path: Path | None, words: dict[str, Any]) -> SimSpec:
    from harness.engine.specfile import read_spec
    from harness.errors import SpecError
    from harness.testing.sim import sim_spec

    raw = read_spec(path) if path else {}
    by: dict[str, str] = {}
    for option, name, value in _settings(words):
        if name in by:
            raise SpecError(
                f"{by[name]} sets {name} already",
                where=option,
                remedy=f"drop {option} or the other",
            )
        by[name] = option
        raw[name] = value
    if words["faults"]:
        raw["faults"] = [*raw.get("faults", ()), *words["faults"]]
    return sim_spec(raw)


def _settings(words: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """The option, the field that it sets, and to what."""
    from harness.errors import SpecError

    if words["replay"] is not None:
        for name in ("ttft", "gap"):
            yield "--replay", name, {"law": "replay", "run": words["replay"]}
    for name in ("dialect", "ttft", "gap", "slots", "seed"):
        if words[name] is not None:
            yield f"--{name}", name, words[name]
    for text in words["sets"]:
        name, equals, value = text.partition("=")
        if not equals:
            raise SpecError(f"{text!r} sets nothing", where="--set", remedy="--set FIELD=VALUE")
        yield f"--set {name}", name, _value(value)


def _value(text: str) -> Any:
    from harness.engine.plainyaml import read_yaml

    try:
        return read_yaml(text)
    except ValueError:
        return text


def _serve(spec: SimSpec, log: Path | None, until_eof: bool, **options: Any) -> None:
    from ipaddress import ip_address

    from harness.engine.limits import raise_file_limit
    from harness.testing.sim import SimServer

    raise_file_limit()
    folder = log or ROOT / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
    server = SimServer(spec, folder, **options)
    # Making answers must not keep the sending thread from its turn: this one steps back, to a tenth
    # of the other's weight. Further back, it would have no answers in time on a core that other
    # programs want too.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
    stops = [_signals()]
    if until_eof:
        stops.append(sys.stdin.fileno())
    if not ip_address(server.address).is_loopback:
        say(
            f"warning: this listens on {server.address} port {server.port}: whoever reaches this "
            "machine over the network reaches it, and it asks nobody who they are"
        )
    if server.realtime is False:
        say(
            "warning: real-time priority was refused (it takes root, CAP_SYS_NICE or a limit for "
            "rtprio): sending at normal priority"
        )
    ready: dict[str, Any] = {"url": server.url, "pid": os.getpid(), "log": str(folder)}
    if server.realtime is not None:
        ready["realtime"] = server.realtime
    print_json(ready)
    try:
        while True:
            stopped = server.serve(stops)
            if stopped == stops[0] or not os.read(stopped, 65536):
                return
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)  # a second one ends us at once
        found = server.close()
        if found.get("late", {}).get("sends"):
            say(f"warning: {_late(found)} (see {folder})")


def _late(found: dict[str, Any]) -> str:
    late, sends = found["late"]["sends"], found["sends"]
    text = (
        f"{late} of {sends} sends ({late / sends:.2%}) began more than 1 ms late, the worst "
        f"{found['max_ns'] / 1e6:.1f} ms"
    )
    if found["late"]["forced"]:
        text += f"; {found['late']['forced']} as more was due at once than a core can send"
    if found["late"]["made"]:
        text += f"; {found['late']['made']} as their answers were made too late"
    if found["waited_for_a_core_ns"]:
        text += (
            f"; the sending thread waited {found['waited_for_a_core_ns'] / 1e6:.0f} ms for a core"
        )
    return text


def _signals() -> int:
    """A descriptor that becomes readable when somebody wants us to stop."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return reader
