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
@click.option(
    "--models", metavar="A,B,…", multiple=True, help="Several models, one after the other."
)
@click.option("--url", metavar="URL", multiple=True, help="Endpoint; repeat for several.")
@click.option(
    "--tap/--no-tap", default=None, help="Record agent programs' calls on their way to the server."
)
@click.option(
    "-o", "options", metavar="KEY=VALUE", multiple=True, help="Option of the backend or scenario."
)
@click.option(
    "--set", "sets", metavar="PATH=VALUE", multiple=True, help="Any field of the spec, by path."
)
@click.option("--runs", type=click.IntRange(1), help="Launches per arm (trials).")
@click.option("--warmup", type=click.IntRange(0), help="Warm-up iterations per launch.")
@click.option("--iterations", type=click.IntRange(1), help="Measured iterations per launch.")
@click.option("--requests", type=click.IntRange(1), help="Requests per iteration.")
@click.option("--concurrency", type=click.IntRange(1), help="Requests in flight.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Requests per second.")
@click.option("--max-tokens", type=click.IntRange(1), help="Upper bound of the output length.")
@click.option(
    "--instrument", "instruments", metavar="NAME", multiple=True, help="Observe; may be repeated."
)
@click.option("--executor", metavar="NAME", help="Who places the trials (see `harness list`).")
@click.option(
    "--budget-usd",
    type=click.FloatRange(0, min_open=True),
    help="What the run may cost: no call is sent that could exceed it.",
)
@click.option("--seed", type=int, help="Seed of prompts, arrivals and order.")
@click.option(
    "--trial-timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="End a launch that takes longer, with all that it started.",
)
@click.option("--smoke", is_flag=True, help="One launch, iteration and request of every cell.")
@click.option("--limit", type=click.IntRange(1), help="At most this many of everything.")
@click.option("--dry-run", is_flag=True, help="Show the plan and its digest; start nothing.")
@click.option(
    "--skip-existing", is_flag=True, help="Not if a finished run of the same spec is there."
)
@click.option("--out", type=click.Path(path_type=Path), help="The run folder itself.")
@click.option(
    "--resume",
    metavar="RUN",
    help="Go on with a run that was cut short: a folder, a prefix of its name, or `latest`.",
)
@click.option("--retry-failed", is_flag=True, help="With --resume: failed trials run again, too.")
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
    skip_existing: bool,
    resume: str | None,
    retry_failed: bool,
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
      harness run bench.py:parse -o rows=5000 --iterations 20      a function of yours
      harness run load --backend ollama --models gemma3:4b,gemma3:12b --smoke
      harness run --preset tr109 --model gemma3:latest --dry-run
      harness run --resume latest                       what is missing of it
    """
    logging.getLogger("harness").setLevel(log_level.upper())
    from harness.cli.conduct import conduct
    from harness.cli.request import Asked, build_spec
    from harness.cli.resuming import check_out, is_complete, load_earlier, say_complete
    from harness.engine.resume import Resume

    if retry_failed and resume is None:
        raise click.UsageError("--retry-failed goes with --resume RUN.", ctx)
    if skip_existing and resume is not None:
        raise click.UsageError("--resume goes on with one run; --skip-existing begins none.", ctx)
    if words["models"] and words["model"] is not None:
        raise click.UsageError("--model names one, --models several: one of the two.", ctx)
    host = load_host()
    earlier = load_earlier(resume) if resume is not None else None
    own = earlier.manifest.spec if earlier is not None else None
    spec = build_spec(Asked(**words, resumed=own), host)
    if earlier is not None:
        check_out(out, earlier)
        if is_complete(Resume(run=earlier, retry_failed=retry_failed), spec, host):
            say_complete(earlier, as_json=as_json)
            return
    if dry_run:
        from harness.cli.dry_run import show_plan
        from harness.engine import make_plan

        show_plan(make_plan(spec, host), as_json=as_json)
        return
    if skip_existing:
        from harness.cli.existing import find_existing, say_existing

        found = find_existing(spec, host, out)
        if found is not None:
            ctx.exit(say_existing(found, as_json=as_json))
    ctx.exit(
        conduct(spec, host, out=out, as_json=as_json, resumed=earlier, retry_failed=retry_failed)
    )
