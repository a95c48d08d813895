"""The command line: the only place that prints or exits.

Commands are imported when they are called, and plugins are loaded when a command needs them, so
that `harness --help` stays quick.

Exit statuses are listed in status.py.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from harness import __version__
from harness.cli.harmless import LogFormatter, crashed
from harness.cli.status import BUG, DONE, MISTAKE, after_signal
from harness.cli.terminal import mute, open_output, say
from harness.errors import HarnessError
from harness.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.host import Host

__all__ = ["cli", "main"]

log = logging.getLogger("harness.cli")

# name → (module, what `harness --help` says)
BUILTIN = {
    "run": ("harness.cli.run", "Run a spec file, or a scenario by name."),
    "list": ("harness.cli.listing", "List backends, scenarios, exporters and plugins."),
    "tap": ("harness.cli.tap", "Record the calls of any program, on their way to a server."),
    "show": ("harness.cli.show", "Show the result of a run."),
    "plot": ("harness.cli.plot", "Draw the figures that a run is fit for."),
    "compare": ("harness.cli.compare", "Compare arms or runs: what differs, and is it worse?"),
    "explain": ("harness.cli.explain", "List every recorded condition that differs."),
    "export": ("harness.cli.export", "Write a run in another format."),
    "import": ("harness.cli.importing", "Make a run of a table of results."),
    "audit": ("harness.cli.audit", "Derive every figure again, and say what does not follow."),
    "recommend": ("harness.cli.recommend", "Which arm and cell is best, where that was shown."),
    "history": ("harness.cli.history", "One figure over many runs, and where it stepped."),
    "new": ("harness.cli.new", "Begin a scenario, a backend or a plugin of your own."),
    "models": ("harness.cli.models", "List the models that a server offers."),
    "prices": ("harness.cli.prices", "Which model costs what, since when, and who says so."),
    "doctor": ("harness.cli.doctor", "Check this machine, its plugins and its servers."),
    "selfcheck": ("harness.cli.selfcheck", "Measure how far our own figures can be off, here."),
    "sim": ("harness.cli.sim", "Serve simulated models, and log the truth of every send."),
}

EXAMPLES = """
\b
Examples:
  harness run single_agent                            a real engine, a tiny built-in model
  harness run load --backend ollama --model gemma3:latest --concurrency 8
  harness run load --backend openai --url http://127.0.0.1:8080 --requests 200
  harness show latest                                 the newest run below ./runs
  harness export latest --format jsonl --out calls.jsonl
"""


class _ReaderGoneError(Exception):
    """Whoever read our output has read enough. No OSError: click would deal with that itself."""


@contextlib.contextmanager
def _no_reader() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGoneError from error


class LazyGroup(click.Group):
    """Knows the built-in commands by name, and asks plugins for theirs only when it must."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self._from_plugins: dict[str, click.Command] | None = None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*BUILTIN, *sorted(self._plugin_commands())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in BUILTIN:
            module = importlib.import_module(BUILTIN[cmd_name][0])
            command: click.Command = module.command
            return command
        return self._plugin_commands().get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without importing a single built-in command."""
        rows = [(name, text) for name, (_, text) in BUILTIN.items()]
        rows += [(n, c.get_short_help_str()) for n, c in sorted(self._plugin_commands().items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with _no_reader():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _no_reader():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from harness.strict import nearest

            guess = nearest(args[0], self.list_commands(ctx))
            if guess:
                message = f"{error.message} Did you mean {guess!r}?"
                raise click.UsageError(message, ctx) from None
            raise

    def _plugin_commands(self) -> dict[str, click.Command]:
        if self._from_plugins is None:
            group = click.Group("plugins")
            load_host().add_commands(group)
            self._from_plugins = {n: c for n, c in group.commands.items() if n not in BUILTIN}
        return self._from_plugins


@click.group(cls=LazyGroup, epilog=EXAMPLES, context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="harness")
def cli() -> None:
    """Benchmark LLMs and LLM agents, with numbers that survive an audit."""


_host: Host | None = None


def load_host() -> Host:
    """The host with every installed plugin, loaded once per process."""
    global _host
    if _host is None:
        from harness.host import Host

        _host = Host.load()
    return _host


def main() -> None:
    """The `harness` command."""
    open_output()
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    status = _run()
    # What is left is Python's own end, which would answer Ctrl-C with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(status if isinstance(status, int) else DONE)


def _run() -> object:
    """The command's exit status."""
    try:
        status = cli.main(standalone_mode=False)
        sys.stdout.flush()
        return status
    except HarnessError as error:
        log.debug("the command ends with this", exc_info=True)
        # Error texts may quote a server: nothing of theirs reaches the terminal as control.
        say(f"error: {one_line(str(error), 1000)}")
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort) as error:
        say("interrupted")
        found = (getattr(one, "status", None) for one in (error, error.__cause__))
        return next(filter(None, found), after_signal(signal.SIGINT))
    except ImportError as error:
        if not (error.name or "").startswith("harness._native"):
            say(crashed(error))
            return _of(error, BUG)
        say(
            f"error: the compiled module {error.name} is missing or does not fit this Python "
            "(try: pip install --force-reinstall chimera-harness, or `make native` in a checkout)"
        )
        return _of(error, MISTAKE)
    except (_ReaderGoneError, BrokenPipeError):
        mute()
        return DONE
    except OSError as error:
        mute()  # what could not be written would be tried again at exit
        log.debug("the command ends with this", exc_info=True)
        what = error.strerror or type(error).__name__
        say(f"error: {f'{error.filename}: ' if error.filename else ''}{what}")
        return _of(error, MISTAKE)
    except Exception as error:  # a bug of ours or of a plugin keeps its traceback
        say(crashed(error))
        return _of(error, BUG)


def _of(error: Exception, status: int) -> object:
    """A command may have statuses of its own (gated.py)."""
    return getattr(error, "exit_code", status)
