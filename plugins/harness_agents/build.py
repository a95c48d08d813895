"""`harness agents build`: compiles the Rust agents, as far as this machine can."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from harness_agents import rust

if TYPE_CHECKING:
    from harness_agents.cargo import Outcome

__all__ = ["build"]


@click.command("build", short_help="Compile the Rust agents.")
@click.option(
    "--runtime",
    "names",
    multiple=True,
    type=click.Choice(list(rust.RUNTIMES)),
    help="Only this one; may be repeated. Default: all.",
)
@click.option("--offline", is_flag=True, help="Take crates only from this machine.")
@click.option("--force", is_flag=True, help="Compile our own code again, changed or not.")
@click.pass_context
def build(ctx: click.Context, names: tuple[str, ...], offline: bool, force: bool) -> None:
    """Compile the agents written in Rust, with cargo; only what has changed.

    \b
    Examples:
      harness agents build
      harness agents build --runtime rust-tokio --runtime rust-smol
      harness agents build --offline

    Needs cargo, and for the first time crates.io. Binaries are kept in build/rust of a checkout, or
    in the user's cache. Exit status 1 if one of them could not be built, 2 if none could be tried.
    """
    from harness_agents.cargo import find_cargo

    cargo = find_cargo()
    wanted = {name: rust.RUNTIMES[name] for name in names or rust.RUNTIMES}
    digest = rust.sources_digest()
    before = {name: _made_ns(name) for name in wanted}
    began = time.monotonic()
    with _Progress() as progress:
        binaries = [(runtime.package, runtime.binary) for runtime in wanted.values()]
        outcome = cargo.build(binaries, offline=offline, force=force, told=progress.compiling)
    failed = _note(before, digest, all_ok=outcome.ok)
    for name in wanted:
        _show(name, failed=name in failed)
    if failed:
        _explain(outcome)
        ctx.exit(1)
    took = f"{outcome.compiled} packages in {time.monotonic() - began:.0f} s"
    what = took if outcome.compiled else "all up to date"
    click.echo(f"{cargo.rustc}: {what}; in {rust.target_folder() / 'release'}", err=True)


def _note(before: dict[str, int], digest: str, *, all_ok: bool) -> list[str]:
    """Write down what was made of which sources. Returns the names of those that were not built."""
    notes = rust.notes()
    failed = []
    for name, before_ns in before.items():
        made_ns = _made_ns(name)
        # Where cargo failed, only what it has just written is certain to be of these sources.
        if made_ns and (all_ok or made_ns != before_ns):
            at = datetime.fromtimestamp(made_ns / 1e9, UTC).isoformat(timespec="seconds")
            notes[name] = rust.Built(sources=digest, at=at)
        elif not made_ns or name not in notes or notes[name].sources != digest:
            failed.append(name)
    rust.write_notes(notes)
    return failed


def _made_ns(name: str) -> int:
    """When the binary was written; 0 if there is none."""
    path = rust.target_folder() / "release" / rust.RUNTIMES[name].binary
    return path.stat().st_mtime_ns if path.is_file() else 0


def _show(name: str, *, failed: bool) -> None:
    summary = rust.RUNTIMES[name].summary
    if failed:
        click.echo(f"{name:20} not built  {summary}")
        return
    size = rust.binary(name).stat().st_size / 1e6
    click.echo(f"{name:20} {size:6.1f} MB  {summary}")


def _explain(outcome: Outcome) -> None:
    from harness.text import plain

    for line in outcome.said:
        click.echo(plain(line), err=True)
    if remedy := outcome.remedy():
        click.echo(f"try: {remedy}", err=True)


class _Progress:
    """One line on a terminal, that names what is being compiled; elsewhere nothing."""

    def __init__(self) -> None:
        self._count = 0
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        if not self._shown:
            click.echo("compiling the Rust agents (a minute or two the first time)", err=True)
        return self

    def compiling(self, package: str) -> None:
        self._count += 1
        if self._shown:
            click.echo(f"\r\x1b[Kcompiling {package} ({self._count})", err=True, nl=False)

    def __exit__(self, *_: object) -> None:
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
