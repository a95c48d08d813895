"""`harness explain`"""

from __future__ import annotations

import click


@click.command("explain", short_help="List every recorded condition that differs.")
@click.argument("a", metavar="A", default="latest")
@click.argument("b", metavar="[B]", required=False)
@click.option("--salvage", is_flag=True, help="Read what is left of a damaged record log.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(a: str, b: str | None, salvage: bool, as_json: bool) -> None:
    """List every recorded condition that differs between A and B, the weightiest first, and why it
    matters: what was asked for, what the server ran, prompts, host, software.

    A and B are named as for `harness compare`.

    \b
    Weights:
      forbids    the figures are not of the same thing
      doubtful   it may make the difference that is blamed on something else
      intended   the spec says that the two differ in it
      note       it is recorded, and seldom matters

    \b
    Examples:
      harness explain runs/before runs/after
      harness explain latest:baseline :chimera --json
    """
    from harness.cli.compare import find_pairs
    from harness.cli.harmless import print_json
    from harness.cli.terminal import console
    from harness.compare import explain
    from harness.report.differences import render_conditions

    pairs = find_pairs(a, b, salvage=salvage).pairs
    found = [(one, other, explain((one, other))) for one, other in pairs]
    if as_json:
        named = [
            {
                "baseline": {"run": one.name, "arm": one.arm, "cell": one.cell},
                "candidate": {"run": other.name, "arm": other.arm, "cell": other.cell},
                "conditions": conditions,
            }
            for one, other, conditions in found
        ]
        print_json(named, indent=2)
        return
    out = console()
    for number, (one, other, conditions) in enumerate(found):
        title = f"{other.name}:{other.arm}/{other.cell} − {one.name}:{one.arm}/{one.cell}"
        out.print(_title(title, number))
        render_conditions(conditions, out)
        if not conditions:
            out.print("  nothing that is recorded differs")


def _title(text: str, number: int) -> object:
    from rich.text import Text

    from harness.text import one_line

    return Text("\n" * bool(number) + one_line(text, 400), style="bold")
