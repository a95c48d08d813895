"""Two configurations, compared: are they comparable, what differs, and what may be said of it.

sides.py       from `RUN`, `RUN:arm`, `RUN:arm/cell` to pairs of arms and cells
measured.py    what one arm and cell recorded: series by trial, prompts, configuration read back
conditions.py  every recorded condition that differs, with its weight, from
  configured.py  what the specs asked for, and what was read back
  work.py        prompts, output, calls: whether the same was done
  machine.py     host and software
  kinds.py       figures of one name in two units, or from two sources
  leaves.py      nested settings as flat ones
effects.py     one metric of two sides: difference, interval, tests
  questions.py   right or wrong, on the same questions
  spread.py      where trials scatter by less than chance, or by nothing
words.py       the verdict in words, and one sentence of it
gates.py       `METRIC=MARGIN`, and what comes of it
asked.py       which metrics, gates and margins are wanted
comparing.py   all of it together
recommend.py   which arm and cell is best: judging.py tests them, options.py is what is said of each

Pure functions over `RunData`: nothing here prints, and nothing is read but the records. A
difference is always candidate − baseline; the unit of analysis is the trial.
"""

from __future__ import annotations

from harness.compare.asked import Asked
from harness.compare.comparing import arms_of, compare, compare_arms, why_not
from harness.compare.conditions import conditions, explain
from harness.compare.gates import GateSpec, gate_status, parse_gate
from harness.compare.sides import Pairing, Place, Ref, find_ref, pair_keys, pairs
from harness.margins import Amount, parse_margin

__all__ = [
    "Amount",
    "Asked",
    "GateSpec",
    "Pairing",
    "Place",
    "Ref",
    "arms_of",
    "compare",
    "compare_arms",
    "conditions",
    "explain",
    "find_ref",
    "gate_status",
    "pair_keys",
    "pairs",
    "parse_gate",
    "parse_margin",
    "why_not",
]
