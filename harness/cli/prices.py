"""`harness prices`: which model costs what, by which record; and a record of one's own."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from decimal import Decimal

    from harness.engine.pricebook import Entry

MAX_AGE_DAYS: Final = 90

EXAMPLES = """
\b
Examples:
  harness prices                                  what a run of today would go by
  harness prices --model gpt-4o-mini --all        older records, and those that others overrule
  harness prices --check --max-age 30             exit status 1 if any of them is older
  harness prices add openai my-model --input 0.15 --output 0.60 --source "the invoice of June"
"""


@click.group(
    "prices",
    short_help="Which model costs what, since when, and who says so.",
    invoke_without_command=True,
    epilog=EXAMPLES,
)
@click.option("--backend", metavar="NAME", help="Of this backend alone.")
@click.option("--model", metavar="NAME", help="Of this model alone, by its exact name.")
@click.option("--all", "everything", is_flag=True, help="Also what no run of today would go by.")
@click.option("--check", is_flag=True, help="Exit with 1 if one of them is older than --max-age.")
@click.option(
    "--max-age",
    "max_age_days",
    type=click.IntRange(0),
    default=MAX_AGE_DAYS,
    show_default=True,
    metavar="DAYS",
    help="Older records are marked as old.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    backend: str | None,
    model: str | None,
    everything: bool,
    check: bool,
    max_age_days: int,
    as_json: bool,
) -> int:
    """List price records: the shipped ones, and those of your own files. Prices are USD for a
    million tokens, as services list them; records hold them for one.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    from harness.cli.harmless import print_json
    from harness.cli.status import DONE, FOUND
    from harness.cli.terminal import say
    from harness.engine.pricebook import book
    from harness.engine.pricing import remedy_for

    today = _today()
    known = book(today)
    wanted = [
        one
        for one in known
        if backend in (None, one.record.backend)
        and model in (None, one.record.model)
        and (everything or one.is_used)
    ]
    old = [one for one in wanted if one.is_used and one.age_days > max_age_days]
    if as_json:
        print_json([_plain(one, max_age_days) for one in wanted], indent=2)
    elif wanted:
        _print(wanted, max_age_days)
    if not wanted and model is not None:
        say(f"no price for {model!r}: {remedy_for(backend or 'BACKEND', model)}")
    elif not wanted:
        say(f"no price record{'' if backend is None else f' of {backend!r}'}: harness prices add")
    if check and old:
        say(
            f"{len(old)} of {len(wanted)} records are older than {max_age_days} days "
            "(try: look at the price list of today, and harness prices add)"
        )
    return FOUND if check and (old or not wanted) else DONE


@command.command("add", short_help="Write a record into your own file.")
@click.argument("backend")
@click.argument("model")
@click.option("--input", "input_usd", required=True, metavar="USD", help="A million prompt tokens.")
@click.option("--output", "output_usd", required=True, metavar="USD", help="A million of output.")
@click.option("--cached-input", "cached_usd", metavar="USD", help="A million cached tokens.")
@click.option("--request", "request_usd", default="0", metavar="USD", help="One request.")
@click.option("--host", default="", metavar="NAME", help="Of this server alone: api.openai.com.")
@click.option("--date", "day", metavar="DAY", help="When the source said so; default: today.")
@click.option("--source", required=True, metavar="WORDS", help="Who says so, and where.")
def add(
    backend: str,
    model: str,
    input_usd: str,
    output_usd: str,
    cached_usd: str | None,
    request_usd: str,
    host: str,
    day: str | None,
    source: str,
) -> None:
    """Write down what MODEL of BACKEND costs, in USD for a million tokens. A price that changes is
    another record, with its own day: none is ever overwritten.

    \b
    Examples:
      harness prices add openai my-model --input 0.15 --output 0.60 --source "price list, 3 June"
      harness prices add openai m --input 1 --output 2 --cached-input 0.1 --source "the invoice"
    """
    from harness.cli.terminal import say
    from harness.engine.pricebook import add_record
    from harness.money import plain
    from harness.schema import PriceRecord

    record = PriceRecord(
        backend=backend,
        model=model,
        input_usd_per_token=plain(_per_token(input_usd, "--input")),
        output_usd_per_token=plain(_per_token(output_usd, "--output")),
        cached_input_usd_per_token=None
        if cached_usd is None
        else plain(_per_token(cached_usd, "--cached-input")),
        request_usd=request_usd,
        host=host,
        date=day or _today().isoformat(),
        source=source,
    )
    say(f"written to {add_record(record)}")


def _per_token(text: str, option: str) -> Decimal:
    from harness.errors import SpecError
    from harness.money import parse_amount

    amount = parse_amount(text)
    if amount is None:
        raise SpecError(f"{text!r} is no amount of dollars", where=option, remedy="0.15")
    return amount.scaleb(-6)


def _today() -> date:
    return datetime.now(UTC).date()


def _plain(one: Entry, max_age_days: int) -> dict[str, Any]:
    import msgspec

    return {
        **msgspec.to_builtins(one.record),
        "file": one.file,
        "age_days": one.age_days,
        "is_old": one.age_days > max_age_days,
        "is_used": one.is_used,
    }


def _print(entries: list[Entry], max_age_days: int) -> None:
    from decimal import Decimal

    from rich.table import Table
    from rich.text import Text

    from harness.cli.terminal import console
    from harness.money import plain
    from harness.text import one_line

    def million(price: str | None) -> str:
        return "" if price is None else f"${plain(Decimal(price).scaleb(6))}"

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("backend", "model"):
        table.add_column(name, overflow="fold")
    for name in ("in / 1M", "cached", "out / 1M"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("date", no_wrap=True)
    table.add_column("", no_wrap=True)
    sources: dict[str, int] = {}
    for one in entries:
        record = one.record
        is_old = one.age_days > max_age_days
        where = f"{record.backend} ({record.host})" if record.host else record.backend
        day = f"{record.date}{' old' if is_old else ''}{'' if one.is_used else ' unused'}"
        cells = (
            where,
            record.model,
            million(record.input_usd_per_token),
            million(record.cached_input_usd_per_token),
            million(record.output_usd_per_token),
            day,
            f"[{sources.setdefault(f'{record.source} ({one.file})', len(sources) + 1)}]",
        )
        style = "" if one.is_used else "dim"
        table.add_row(*(Text(one_line(cell, 300), style=style) for cell in cells))
    out = console()
    out.print(table)
    for words, number in sources.items():
        out.print(Text(f"[{number}] {one_line(words, 400)}", style="dim"))
