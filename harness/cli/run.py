"""`harness run`"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from harness.cli import load_host

LEVELS = ["debug", "info", "warning", "error"]


@click.command("run", short_help="Run a spec file, or a scenario by name.")
@click.argument("what", metavar="[SPEC|SCENARIO]", required=False)
@click.option("--preset", metavar="NAME", help="A shipped spec (see `harness list`).")
@click.option("--backend", metavar="NAME", help="Backend plugin (see `harness list`).")
@click.option("--model", metavar="NAME", help="Model, as the backend names it.")
@click.option("--url", metavar="URL", multiple=True, help="Endpoint; repeat for several.")
@click.option(
    "-o", "options", metavar="KEY=VALUE", multiple=True, help="Option of the backend or scenario."
)
@click.option(
    "--set", "sets", metavar="PATH=VALUE", multiple=True, help="Any field of the spec, by path."
)
@click.option("--runs", type=click.IntRange(1), help="Launches per arm (trials).")
@click.option("--warmup", type=click.IntRange(0), help="Warm-up iterations per launch.")
@click.option("--requests", type=click.IntRange(1), help="Requests per iteration.")
@click.option("--concurrency", type=click.IntRange(1), help="Requests in flight.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Requests per second.")
@click.option("--max-tokens", type=click.IntRange(1), help="Upper bound of the output length.")
@click.option("--seed", type=int, help="Seed of prompts, arrivals and order.")
@click.option("--limit", type=click.IntRange(1), help="At most this many of everything.")
@click.option("--dry-run", is_flag=True, help="Show the plan and its digest; start nothing.")
@click.option("--out", type=click.Path(path_type=Path), help="The run folder itself.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary alone, as JSON.")
@click.option(
    "--log-level", type=click.Choice(LEVELS), default="warning", show_default=True, help="Log."
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    out: Path | None,
    as_json: bool,
    dry_run: bool,
    log_level: str,
    **words: Any,
) -> None:
    """Run SPEC (a .yaml, .json or .toml file), or a SCENARIO by name with sensible defaults.

    Results go to runs/<name>-<time>-<id>/, or to the folder that --out names. Without --backend,
    a real llama.cpp engine runs a tiny random model: its speed is real, its text is noise.

    \b
    Examples:
      harness run single_agent --runs 3
      harness run load --backend ollama --model gemma3:latest -o num_ctx=4096
      harness run load --backend openai --url http://127.0.0.1:8080 --concurrency 64 --requests 640
      harness run load --rate 5 --requests 100          open loop, Poisson arrivals
      harness run spec.yaml --set arms.chimera.backend.options.num_ctx=1024
      harness run --preset tr109 --model gemma3:latest --dry-run
    """
    logging.getLogger("harness").setLevel(log_level.upper())
    from harness.cli.conduct import conduct
    from harness.cli.request import Asked, build_spec

    host = load_host()
    spec = build_spec(Asked(**words), host)
    if dry_run:
        from harness.cli.dry_run import show_plan
        from harness.engine import make_plan

        show_plan(make_plan(spec, host), as_json=as_json)
        return
    ctx.exit(conduct(spec, host, out=out, as_json=as_json))
