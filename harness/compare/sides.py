"""Which arm and cell of which run are to be compared with which.

    RUN              every arm against the baseline, cell by cell; cells against the first cell
                     where there is but one arm
    RUN:ARM          that arm against the baseline
    RUN:ARM/CELL     that cell
    A B              the same arms and cells of two runs; or what either of them names
    :ARM             of the run that was named before

The baseline is the arm of that name, else the one that the spec names first. Where it stayed out of
the sweep, it is the baseline of every cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from harness.errors import SpecError
from harness.protocols import RunData
from harness.strict import nearest
from harness.text import listed, one_line

__all__ = ["Key", "Pairing", "Place", "Ref", "find_ref", "pair_keys", "pairs"]

Key: TypeAlias = tuple[str, str]
"""(arm, cell)"""


class Ref(Struct, frozen=True, kw_only=True):
    """What a person named: a run, and perhaps an arm or a cell of it."""

    run: RunData
    name: str
    """Of the run folder, or of the run where it has none."""
    arm: str | None = None
    cell: str | None = None

    def keys(self) -> list[Key]:
        """Those of the run that are meant, arms and cells in its order."""
        return [
            (arm, cell)
            for arm, cell in run_keys(self.run)
            if self.arm in (None, arm) and self.cell in (None, cell)
        ]


class Place(Struct, frozen=True, kw_only=True):
    """One side of a comparison."""

    run: RunData
    name: str
    arm: str
    cell: str


class Pairing(Struct, frozen=True, kw_only=True):
    """What is compared with what, the baseline first; and what has no partner."""

    pairs: tuple[tuple[Place, Place], ...]
    alone: tuple[str, ...] = ()


def run_keys(run: RunData) -> list[Key]:
    return [(arm.arm, arm.cell) for arm in run.summary.arms]


# ---- from text


def find_ref(
    text: str, load: Callable[[str], tuple[RunData, str]], before: Ref | None = None
) -> Ref:
    """`load` opens a run and tells its folder's name (StoreError if there is none); `before` is
    what `:ARM` without a run refers to. SpecError for an arm or cell that the run does not have."""
    name, rest = _split(text)
    if name:
        run, folder = load(name)
    elif before is not None:
        run, folder = before.run, before.name
    else:
        raise SpecError("no run is named", where=text or "compare", remedy="latest:ARM")
    if rest is None:
        return Ref(run=run, name=folder)
    arm, cell = _arm_and_cell(rest, run, text)
    return Ref(run=run, name=folder, arm=arm, cell=cell)


def _split(text: str) -> tuple[str, str | None]:
    """(run, what follows its colon). Names of folders may hold colons: what exists comes first."""
    if ":" not in text or (not text.startswith(":") and Path(text).exists()):
        return text, None
    places = [at for at, character in enumerate(text) if character == ":"]
    exists = [at for at in places if at and Path(text[:at]).exists()]
    at = exists[-1] if exists else places[0]
    return text[:at], text[at + 1 :]


def _arm_and_cell(rest: str, run: RunData, text: str) -> tuple[str | None, str | None]:
    keys = run_keys(run)
    arms = list(dict.fromkeys(arm for arm, _ in keys))
    if rest in arms:
        return rest, None
    for arm, cell in keys:
        if rest == f"{arm}/{cell}":
            return arm, cell
    if any(rest == cell for _, cell in keys):
        return None, rest
    known = arms + [f"{arm}/{cell}" for arm, cell in keys]
    guess = nearest(rest, known)
    raise SpecError(
        f"the run has no arm or cell {one_line(rest, 80)!r}",
        where=one_line(text, 120),
        remedy=one_line(guess, 120) if guess else f"one of {listed(known)}",
    )


# ---- pairs


def pairs(first: Ref, second: Ref | None = None) -> Pairing:
    """SpecError where there is nothing to compare, or no telling what with what."""
    if second is None:
        return _within(first)
    found, alone = _between(first, second)
    made = tuple((_place(first, a), _place(second, b)) for a, b in found)
    return Pairing(pairs=made, alone=tuple(alone))


def pair_keys(keys: Sequence[Key]) -> list[tuple[Key, Key]]:
    """(baseline, candidate) of one run's arms and cells, in their order, which is that of the spec.
    Empty where there is but one of them."""
    arms = list(dict.fromkeys(arm for arm, _ in keys))
    if len(arms) < 2:
        return [(keys[0], key) for key in keys[1:]]
    base = "baseline" if "baseline" in arms else arms[0]
    own = [key for key in keys if key[0] == base]
    found = []
    for key in keys:
        same = (base, key[1])
        partner = same if same in own else own[0] if len(own) == 1 else None
        if key[0] != base and partner is not None:
            found.append((partner, key))
    return found


def _within(ref: Ref) -> Pairing:
    every = run_keys(ref.run)
    if not every:
        raise SpecError("the run measured nothing", where=ref.name, remedy="another run")
    wanted = set(ref.keys())
    found = [(a, b) for a, b in pair_keys(every) if b in wanted]
    if not found and ref.arm is not None:
        # An arm that is the baseline itself: its cells against its first one.
        own = [key for key in every if key[0] == ref.arm]
        found = [(own[0], key) for key in own[1:] if key in wanted]
    if not found:
        which = "is the baseline itself" if ref.arm or ref.cell else "has one arm and one cell"
        what = " ".join(filter(None, (ref.arm, ref.cell))) or "the run"
        raise SpecError(
            f"{one_line(what, 80)} {which}: there is nothing to compare it with",
            where=ref.name,
            remedy="harness compare BASELINE_RUN CANDIDATE_RUN",
        )
    return Pairing(pairs=tuple((_place(ref, a), _place(ref, b)) for a, b in found))


def _between(first: Ref, second: Ref) -> tuple[list[tuple[Key, Key]], list[str]]:
    """Pairs of keys, and what has no partner."""
    one, other = first.keys(), second.keys()
    if not one or not other:
        empty = second if one else first
        raise SpecError("the run measured nothing", where=empty.name, remedy="another run")
    if len(one) == len(other) == 1:
        return [(one[0], other[0])], []
    if first.arm is not None and second.arm is None and any(key[0] == first.arm for key in other):
        other = [key for key in other if key[0] == first.arm]
    if second.arm is not None and first.arm is None and any(key[0] == second.arm for key in one):
        one = [key for key in one if key[0] == second.arm]
    arms_one, arms_other = ({key[0] for key in keys} for keys in (one, other))
    renamed = len(arms_one) == len(arms_other) == 1
    found = [(a, b) for b in other for a in one if a[1] == b[1] and (renamed or a[0] == b[0])]
    if not found and len(one) == 1 and (renamed or second.arm is not None):
        found = [(one[0], b) for b in other]
    if not found:
        raise SpecError(
            f"they have no arm and cell in common: {listed(_names(one))} and "
            f"{listed(_names(other))}",
            where=f"{first.name}, {second.name}",
            remedy=f"{first.name}:ARM {second.name}:ARM",
        )
    paired = {("a", a) for a, _ in found} | {("b", b) for _, b in found}
    alone = [
        f"{first.name}:{n}" for k, n in zip(one, _names(one), strict=True) if ("a", k) not in paired
    ]
    alone += [
        f"{second.name}:{n}"
        for k, n in zip(other, _names(other), strict=True)
        if ("b", k) not in paired
    ]
    return found, alone


def _names(keys: Sequence[Key]) -> list[str]:
    several = len({cell for _, cell in keys}) > 1
    return [f"{arm}/{cell}" if several else arm for arm, cell in keys]


def _place(ref: Ref, key: Key) -> Place:
    return Place(run=ref.run, name=ref.name, arm=key[0], cell=key[1])
