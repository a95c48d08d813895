"""A run in which every text that somebody else wrote tries to be more than text."""

from __future__ import annotations

import msgspec

from harness.schema import (
    BackendSpec,
    CallError,
    Caveat,
    Effective,
    Environment,
    Summary,
    SweepSpec,
    Verdict,
)
from tests.hostile.corpus import SNIPPETS
from tests.store import builders
from tests.store.builders import FakeRun, manifest

RUNS = "globalThis.PWNED = 1"
"""What a page would do if any of it worked."""

ATTACKS = [
    f"<script>{RUNS}</script>",
    f"</style><script>{RUNS}</script><style>",
    f"</script><script>{RUNS}</script>",
    f"</pre></details><img src=x onerror='{RUNS}'>",
    f'"><svg onload="{RUNS}">',
    f"' onmouseover='{RUNS}' autofocus onfocus='{RUNS}' x='",
    f'<a href="javascript:{RUNS}">click</a>',
    "<iframe src='http://pwn.example/'></iframe><link rel=stylesheet href=//pwn.example/x.css>",
    "<base href='http://pwn.example/'><form action='http://pwn.example/'><button>go</button></form>",
    "<meta http-equiv=refresh content='0;url=http://pwn.example/'>",
    "<style>@import url(http://pwn.example/x.css); * { display: none }</style>",
    "{{ 7 * 7 }} {% raw %} {% include '/etc/passwd' %} {{ self.__init__.__globals__ }}",
    "<!-- --> <![CDATA[ ]]> &lt;b&gt; &#60;script&#62;",
    "\u202eevil\u202c \x1b[31mred\x1b[0m \x1b]0;title\x07 \x00 \u200b",
    "url(http://pwn.example/a.png) url(#a) expression(alert(1))",
]
NASTY = "".join((*ATTACKS, *SNIPPETS))


def hostile_run() -> FakeRun:
    """Two arms in two cells: names, model, error messages, caveats, options and levels."""
    arms = (f"baseline{ATTACKS[0]}{ATTACKS[13]}", f"chimera{ATTACKS[4]}{ATTACKS[5]}")
    levels = [f"{ATTACKS[3]}", f"{ATTACKS[1]},=x"]
    cells = {f"prompt={one}": {"scenario.options.prompt": one} for one in levels}
    effective = Effective(
        server=NASTY,
        server_version=ATTACKS[2],
        model=NASTY,
        options={ATTACKS[6]: NASTY, "stop": ATTACKS},
        details={ATTACKS[7]: {ATTACKS[8]: NASTY}},
        unknown={"layers_on_gpu": NASTY},
    )
    records, plan = [], []
    places = [(arm, cell) for _ in range(5) for cell in cells for arm in arms]
    for number, (arm, cell) in enumerate(places):
        calls = [
            builders.call(
                arm=arm,
                cell=cell,
                trial=number,
                ordinal=i,
                sent_ms=1000.0 * number + 200 * i + 10,
                ttft_ms=50 + number % 3 + i,
                text=NASTY,
            )
            for i in range(2)
        ]
        lost = builders.failed(
            arm=arm, trial=number, ordinal=2, sent_ms=1000.0 * number + 600, cell=cell
        )
        lost = msgspec.structs.replace(lost, error=CallError(code="http.500", message=NASTY))
        done = builders.iteration([*calls, lost], cell=cell, status="error")
        done = msgspec.structs.replace(done, error=CallError(code="scenario", message=NASTY))
        ok = builders.iteration(calls, cell=cell, iteration=1)
        trial = builders.trial(arm, number, cell=cell, effective=effective)
        records += [*calls, lost, done, ok, trial]
        plan.append((arm, cell, number))
    one = manifest(
        arms,
        name=NASTY,
        state="finished",
        plan=tuple(plan),
        cells=cells,
        error=NASTY,
        environment=Environment(
            harness_version="0.1.0",
            python="3.11.7",
            platform=NASTY,
            cpu_model=ATTACKS[0],
            gpus=({"name": NASTY},),
            selfcheck_unknown=NASTY,
        ),
    )
    spec = msgspec.structs.replace(
        one.spec,
        name=NASTY,
        backend=BackendSpec(name="scripted", model=NASTY),
        notes=NASTY,
        sweep=SweepSpec(axes={"scenario.options.prompt": levels}),
    )
    run = FakeRun(msgspec.structs.replace(one, spec=spec), records)
    run.summary = _worse(run.summary, cells)
    return run


def _worse(summary: Summary, cells: dict) -> Summary:
    caveats = tuple(
        Caveat(
            code="simulated" if index == 0 else f"attack-{index}",
            severity=("invalid", "doubtful", "note")[index % 3],
            message=attack,
            remedy=attack,
            arm=attack,
            evidence={attack: [attack]},
        )
        for index, attack in enumerate(ATTACKS)
    )
    return msgspec.structs.replace(
        summary,
        name=NASTY,
        model=NASTY,
        backend=ATTACKS[0],
        scenario=ATTACKS[1],
        cells=cells,
        verdict=Verdict(state="invalid", caveats=caveats),
    )


__all__ = ["ATTACKS", "NASTY", "RUNS", "hostile_run"]
