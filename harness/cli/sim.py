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

from harness.cli.harmless import harmless, print_json
from harness.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.testing.sim import Joined, SimSpec

ROOT = Path("sims")


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
def command(
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
    if run is not None:
        _show(run, log, as_json)
    else:
        _serve(_spec(spec, words), log, until_eof, host=host, port=port, realtime=realtime)


def _spec(path: Path | None, words: dict[str, Any]) -> SimSpec:
    from harness.engine.specfile import read_spec
    from harness.errors import SpecError
    from harness.testing.sim import sim_spec

    raw = read_spec(path) if path else {}
    if words["replay"] is not None:
        raw["ttft"] = raw["gap"] = {"law": "replay", "run": words["replay"]}
    for name in ("dialect", "ttft", "gap", "slots", "seed"):
        if words[name] is not None:
            raw[name] = words[name]
    for text in words["sets"]:
        name, equals, value = text.partition("=")
        if not equals:
            raise SpecError(f"{text!r} sets nothing", where="--set", remedy="--set FIELD=VALUE")
        raw[name] = _value(value)
    if words["faults"]:
        raw["faults"] = [*raw.get("faults", ()), *words["faults"]]
    return sim_spec(raw)


def _value(text: str) -> Any:
    from harness.engine.plainyaml import read_yaml

    try:
        return read_yaml(text)
    except ValueError:
        return text


def _serve(spec: SimSpec, log: Path | None, until_eof: bool, **options: Any) -> None:
    from ipaddress import ip_address

    import msgspec

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
    click.echo(msgspec.json.encode(ready).decode())
    sys.stdout.flush()
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


def _show(ref: str, log: Path | None, as_json: bool) -> None:
    from harness.store import load_run
    from harness.testing.sim import find_log, join

    run = load_run(ref)
    joined = join(run, log or find_log(run, ROOT))
    if as_json:
        print_json(joined, indent=2)
        return
    for line in _table(joined):
        click.echo(harmless(line))


def _table(joined: Joined) -> Iterator[str]:
    def micro(value: float | None) -> str:
        return "–" if value is None else f"{value / 1e3:,.1f}"

    yield f"{joined.run}  beside  {joined.log}"
    yield (
        f"{joined.joined} of {joined.calls} ok calls joined ({joined.unnamed} not in the log, "
        f"{joined.unequal} with other chunks); {joined.kernel_stamped} with kernel stamps; "
        f"{joined.merged} of {joined.chunks} chunks were read together with a later one"
    )
    yield ""
    yield f"{'µs':28}{'n':>10}{'p50':>12}{'p90':>12}{'p99':>12}{'max':>12}"
    for label, spread in (
        ("first-token stamp error", joined.first_token),
        ("stamp error, all chunks", joined.all_chunks),
        ("  without merged ones", joined.unmerged_chunks),
        ("TTFT bias", joined.ttft_bias),
        ("duration of a send", joined.send),
    ):
        figures = (spread.p50_ns, spread.p90_ns, spread.p99_ns, spread.max_ns)
        yield f"{label:28}{spread.n:>10}" + "".join(f"{micro(f):>12}" for f in figures)
    yield ""
    yield (
        f"TTFT, median: reported {micro(joined.ttft_reported_median_ns)} µs, "
        f"true {micro(joined.ttft_true_median_ns)} µs"
    )
    said = joined.punctuality
    if said.get("sends"):
        late = said["late"]
        yield (
            f"server: {said['sends']} sends, late by p50 {micro(said['p50_ns'])}, "
            f"p99 {micro(said['p99_ns'])}, max {micro(said['max_ns'])} µs (p99 of what the "
            f"schedule did not force: {micro(said['own_p99_ns'])}); "
            f"{late['sends']} by more than 1 ms; {said['held_up']} held up by the client"
        )
