"""`harness doctor`: what this machine has, what is missing, and how to mend it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Literal

import click
import msgspec

from harness.cli import load_host
from harness.cli.background import run_async
from harness.cli.harmless import print_json
from harness.cli.sources import native_sources
from harness.cli.terminal import console

State = Literal["ok", "note", "bad"]

TOOLCHAINS = {
    "cargo": "only needed to build Rust agents: https://rustup.rs",
    "node": "only needed for agents written for Node",
}
EXTRAS = {
    "llamacpp": ("xllamacpp", "gguf"),
    "hf": ("torch", "transformers", "accelerate"),
    "ray": ("ray",),
    "parquet": ("pyarrow",),
}
SERVERS = {
    "ollama": ("http://127.0.0.1:11434", "ollama serve"),
    "openai": ("http://127.0.0.1:8080", "start an OpenAI-compatible server, or give --url"),
}
KEYS = {"openrouter": "OPENROUTER_API_KEY"}
FILES_WANTED = 4096


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    subject: str
    state: State
    text: str
    remedy: str = ""


@click.command("doctor", short_help="Check this machine, its plugins and its servers.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check the interpreter, the compiled part, plugins, extras, limits, GPUs and local servers.

    Exit status 2 when something is broken; what is merely absent is a note.
    """
    findings = [
        *_interpreter(),
        *_native(),
        *_selfcheck(),
        *_plugins(),
        *_extras(),
        *_limits(),
        *_gpus(),
        *_toolchains(),
        *_keys(),
        *run_async(_servers()),
    ]
    if as_json:
        print_json(findings)
    else:
        _print(findings)
    ctx.exit(2 if any(finding.state == "bad" for finding in findings) else 0)


def _print(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness.report.sanitise import one_line

    marks = {"ok": ("✓", "green"), "note": ("–", "yellow"), "bad": ("✗", "red")}
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    for finding in findings:
        mark, colour = marks[finding.state]
        text = Text(one_line(finding.text))
        if finding.remedy:
            text.append(f"\n→ {one_line(finding.remedy)}", style="dim")
        table.add_row(Text(mark, style=colour), Text(finding.subject), text)
    console().print(table)


def _interpreter() -> list[Finding]:
    text = f"{platform.python_version()} on {platform.platform()}"
    return [Finding(subject="python", state="ok", text=text)]


def _native() -> list[Finding]:
    try:
        from harness._native import clock
        from harness.engine.environment import native_digest
    except ImportError as error:
        remedy = "pip install --force-reinstall chimera-harness (or `make native` in a checkout)"
        return [Finding(subject="native", state="bad", text=str(error), remedy=remedy)]
    build = clock.build_info()
    text = f"digest {native_digest()}, " + ", ".join(f"{k} {v}" for k, v in sorted(build.items()))
    findings = [Finding(subject="native", state="ok", text=text)]
    if build.get("debug") == "1":
        remedy = "build without HARNESS_NATIVE_DEBUG"
        findings = [Finding(subject="native", state="note", text=text, remedy=remedy)]
    if stale := _stale(Path(clock.__file__).parent):
        remedy = "make native"
        findings.append(Finding(subject="native", state="bad", text=stale, remedy=remedy))
    if not sys.platform.startswith("linux"):
        text = "no reactor on this system: the portable transport serves, stamps are user-space"
        findings.append(Finding(subject="reactor", state="note", text=text))
    return findings


def _selfcheck() -> list[Finding]:
    try:
        from harness.engine.environment import host_digest, native_digest
    except ImportError:
        return []  # said already
    from harness.engine.uncertainty import stored_selfcheck

    check, why = stored_selfcheck(host_digest(), native_digest())
    if check is None:
        reason, _, remedy = (why or "").partition(": harness")
        finding = Finding(
            subject="selfcheck",
            state="note",
            text=reason,
            remedy=f"harness{remedy}" if remedy else "",
        )
        return [finding]
    largest = max((one.streams for one in check.loads), default=0)
    text = f"{check.mode}, of {check.at[:10]}, up to {largest} streams"
    return [Finding(subject="selfcheck", state="ok", text=text)]


def _stale(folder: Path) -> str | None:
    """In a checkout: sources that are newer than what was built from them."""
    sources = folder.parent.parent / "_native"
    if not sources.is_dir():
        return None
    for built in folder.glob("*.so"):
        module = built.name.partition(".")[0]
        for source in native_sources(module, sources):
            if source.stat().st_mtime > built.stat().st_mtime:
                return f"{module} is older than {source.name}, which it is built from"
    return None


def _plugins() -> list[Finding]:
    findings = []
    for plugin in load_host().plugins:
        origin = f"{plugin.distribution or '?'} {plugin.version or ''}".strip()
        if plugin.status == "loaded":
            findings.append(Finding(subject="plugin", state="ok", text=f"{plugin.name} ({origin})"))
            continue
        state: State = "bad" if plugin.status == "broken" else "note"
        remedy = "" if state == "note" else f"mend it, or HARNESS_DISABLE_PLUGINS={plugin.name}"
        text = f"{plugin.name} ({origin}) {plugin.status}: {plugin.reason}"
        findings.append(Finding(subject="plugin", state=state, text=text, remedy=remedy))
    return findings


def _extras() -> list[Finding]:
    findings = []
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if missing:
            text = f"{extra}: {', '.join(missing)} not installed"
            remedy = f"pip install 'chimera-harness[{extra}]'"
            findings.append(Finding(subject="extra", state="note", text=text, remedy=remedy))
        else:
            findings.append(Finding(subject="extra", state="ok", text=extra))
    return findings


def _limits() -> list[Finding]:
    findings: list[Finding] = []
    try:
        import resource
    except ImportError:
        return findings
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    state: State = "ok" if hard == resource.RLIM_INFINITY or hard >= FILES_WANTED else "note"
    text = f"open files: {soft} (may be raised to {hard})"
    remedy = "" if state == "ok" else "raise it for more than a few hundred connections: ulimit -Hn"
    findings.append(Finding(subject="limits", state=state, text=text, remedy=remedy))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if cores == 1:
        text = "one core: client and server on this machine will disturb each other"
        findings.append(Finding(subject="cores", state="note", text=text))
    return findings


def _gpus() -> list[Finding]:
    from harness.engine.environment import gpus

    found, why = gpus()
    if not found:
        return [Finding(subject="gpu", state="note", text=why or "none")]
    return [
        Finding(
            subject="gpu",
            state="ok",
            text=f"{gpu['name']}, {_gib(gpu['memory_bytes'])}, driver {gpu['driver'] or 'unknown'}",
        )
        if "source" not in gpu
        else Finding(
            subject="gpu",
            state="note",
            text=f"{gpu['name']}: {gpu['source']}, no GPU of this machine",
            remedy="unset HARNESS_GPU",
        )
        for gpu in found
    ]


def _gib(size_bytes: int | None) -> str:
    return "memory unknown" if size_bytes is None else f"{size_bytes / 2**30:.0f} GiB"


def _toolchains() -> list[Finding]:
    return [
        Finding(subject="tool", state="ok", text=f"{name}: {path}")
        if (path := shutil.which(name))
        else Finding(subject="tool", state="note", text=f"{name}: not found", remedy=remedy)
        for name, remedy in TOOLCHAINS.items()
    ]


def _keys() -> list[Finding]:
    """Of services that cost money. Nobody is called: whether a key is good shows its first use."""
    findings = []
    for service, variable in KEYS.items():
        text = f"{service}: a key is in ${variable}"
        if os.environ.get(variable, "").strip():
            findings.append(Finding(subject="key", state="ok", text=text))
        else:
            text, remedy = f"{service}: no key in ${variable}", f"export {variable}=…"
            findings.append(Finding(subject="key", state="note", text=text, remedy=remedy))
    return findings


async def _servers() -> list[Finding]:
    """Who answers at the usual addresses, and with how many models."""
    from harness.protocols import BackendConfig, ListsModels
    from harness.schema import TimeoutsSpec

    findings = []
    for name, (url, remedy) in SERVERS.items():
        host = load_host()
        if name not in host.backends:
            continue
        entry = host.backends.get(name)
        config = BackendConfig(
            model=None,
            urls=(url,),
            options=entry.decode_options({}, "$"),
            timeouts=TimeoutsSpec(connect_s=1.0, first_byte_s=2.0, total_s=3.0),
            seed=0,
        )
        made = entry.factory(config)
        if not isinstance(made, ListsModels):
            continue
        try:
            models = await asyncio.wait_for(made.models(), timeout=3.0)
        except Exception as error:  # whatever it is, the server is not there for us
            text = f"{name} at {url}: {error or type(error).__name__}"
            findings.append(Finding(subject="server", state="note", text=text, remedy=remedy))
        else:
            text = f"{name} at {url}: {len(models)} models"
            findings.append(Finding(subject="server", state="ok", text=text))
    return findings
