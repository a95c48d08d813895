"""Did the server run what it was asked to run, and was it ready when it was measured.

Backends say in `Effective` what they read back: `not_effective` names the options that run with
another value than was asked for, or changed while the trial ran; `read_back` has the values of
those options that the server tells of. An option that it does not tell of proves nothing, neither
that it had an effect nor that it had none.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from statistics import median
from typing import Any, Final

from harness.engine.rules.view import ArmView, RunView, label, places
from harness.metrics import call_metric
from harness.schema import ArmSpec, CallRecord, Caveat, Effective

__all__ = ["cold_in_warm", "config_not_effective"]

_SAME: Final = (
    "server",
    "server_version",
    "model",
    "model_digest",
    "context_length",
    "layers_on_gpu",
    "size_bytes",
    "size_vram_bytes",
)
"""Fields of Effective that two arms share if they are one configuration. Unknown to both is no
difference; unknown to one alone is."""

SHOWN_OPTIONS: Final = 3


def config_not_effective(view: RunView) -> Iterator[Caveat]:
    """Another configuration than was asked for; two arms that are the same."""
    yield from _not_effective(view)
    for one, other in combinations(view.arms, 2):
        options = _without_effect(one, other, view)
        if options:
            yield _equal_arms(one, other, options, view)


def _not_effective(view: RunView) -> Iterator[Caveat]:
    said: dict[tuple[tuple[str, str], ...], list[ArmView]] = {}
    for arm in view.arms:
        found: dict[str, str] = {}
        for trial in arm.trials:
            found |= trial.effective.not_effective
        if found:
            said.setdefault(tuple(found.items()), []).append(arm)
    for items, arms in said.items():
        options = dict(items)
        shown = [f"{name}: {how}" for name, how in options.items()]
        more = f", and {len(shown) - SHOWN_OPTIONS} more" if len(shown) > SHOWN_OPTIONS else ""
        for place in places(arms, view):
            yield Caveat(
                code="config-not-effective",
                severity="doubtful",
                message="the server runs otherwise than it was asked to: "
                + "; ".join(shown[:SHOWN_OPTIONS])
                + more,
                evidence={"options": options},
                remedy=_ask_for_what_runs(options),
                arm=place,
            )


def _ask_for_what_runs(options: dict[str, str]) -> str:
    if any(" at the end" in how for how in options.values()):
        return "keep other clients off the server, and its options, while it is measured"
    name, how = next(iter(options.items()))
    runs = how.rpartition(", runs ")[2]
    if runs.isdigit():
        return f"-o {name}={runs} asks for what runs, or change what the server is able to run"
    return f"see `harness show` for what runs, and ask for that ({name})"


# Arms that are the same. --------------------------------------------------------------------------


def _equal_arms(one: ArmView, other: ArmView, options: list[str], view: RunView) -> Caveat:
    names = label(one, view), label(other, view)
    return Caveat(
        code="config-not-effective",
        severity="doubtful",
        message=f"{names[0]} and {names[1]} ran the same configuration, although they were asked "
        f"for another {', '.join(options)}: comparing them compares nothing",
        evidence={
            "arms": list(names),
            "options": options,
            "runs": {name: _runs(one.trials[0].effective, name) for name in options},
        },
        remedy=f"other values of {options[0]}, within what this server and model can do; or leave "
        "out one of the arms",
    )


def _without_effect(one: ArmView, other: ArmView, view: RunView) -> list[str]:
    """Options of the backend in which the specs of two arms differ, if what they ran does not."""
    specs = view.manifest.spec.arms
    if one.name not in specs or other.name not in specs or one.summary.cell != other.summary.cell:
        return []
    differing = _differing_options(specs[one.name], specs[other.name], view)
    if not differing:
        return []
    ran = [trial.effective for arm in (one, other) for trial in arm.trials if _was_read(trial)]
    sides = [any(_was_read(trial) for trial in arm.trials) for arm in (one, other)]
    if not all(sides) or any(account.not_effective.keys() & set(_SAME) for account in ran):
        return []
    first = ran[0]
    for account in ran[1:]:
        if any(getattr(account, name) != getattr(first, name) for name in _SAME):
            return []
        if any(_differs(first, account, name) for name in _told(first, account, differing)):
            return []
    return differing


def _differing_options(one: ArmSpec, other: ArmSpec, view: RunView) -> list[str]:
    """Empty where the arms differ in anything else, or in nothing (an A/A comparison)."""
    base = view.manifest.spec.backend
    rest = [{k: v for k, v in arm.backend.items() if k != "options"} for arm in (one, other)]
    own = {"name": base.name, "model": base.model, "url": base.url}
    if one.scenario != other.scenario or own | rest[0] != own | rest[1]:
        return []
    options = [{**base.options, **arm.backend.get("options", {})} for arm in (one, other)]
    missing = object()
    names = dict.fromkeys([*options[0], *options[1]])
    return [n for n in names if options[0].get(n, missing) != options[1].get(n, missing)]


def _was_read(trial: Any) -> bool:
    account: Effective = trial.effective
    return trial.status == "ok" and bool(account.options or account.read_back)


def _told(one: Effective, other: Effective, differing: list[str]) -> list[str]:
    """Every option that must agree: all that were sent, and those that the specs differ in."""
    return list(dict.fromkeys([*one.options, *other.options, *differing]))


def _differs(one: Effective, other: Effective, name: str) -> bool:
    """By what runs, where both tell; else by what was sent. Neither known: they may differ."""
    if name in one.read_back and name in other.read_back:
        return bool(one.read_back[name] != other.read_back[name])
    if name in one.options and name in other.options:
        return bool(one.options[name] != other.options[name])
    return True


def _runs(account: Effective, name: str) -> Any:
    return account.read_back.get(name, account.options.get(name))


# Cold starts. -------------------------------------------------------------------------------------


def cold_in_warm(view: RunView) -> Iterator[Caveat]:
    """Measured calls for which the server loaded the model. Warm ones take some ms to 100 ms until
    the model is ready, which is handling and no load."""
    load_ms = call_metric("server_load_ms").formula
    for arm in view.arms:
        known = [(load_ms(call), call) for call in arm.calls if call.status == "ok"]
        found = _loads([(took, call) for took, call in known if took is not None], view)
        if not found:
            continue
        loads, bound_ms = found
        worst_ms, worst = max(loads, key=lambda pair: pair[0])
        no_warmup = view.manifest.spec.iterations.warmup == 0
        yield Caveat(
            code="cold-in-warm",
            severity="doubtful",
            message=f"{len(loads)} of {len(arm.calls)} measured calls waited for the model to be "
            f"loaded, the longest {worst_ms / 1000:.1f} s: a cold start is in the warm figures"
            + (" (iterations.warmup is 0: nothing ran before them)" if no_warmup else ""),
            evidence={
                "calls": len(loads),
                "first_of_their_trial": sum(_is_first(call, arm) for _, call in loads),
                "server_load_ms": worst_ms,
                "example": worst.call_id,
                "bound_ms": bound_ms,
            },
            remedy="--warmup 1"
            if no_warmup
            else "-o keep_alive=30m, the same options in every call, and no other client that "
            "makes the server unload this model",
            arm=arm.name,
        )


def _loads(
    known: list[tuple[float, CallRecord]], view: RunView
) -> tuple[list[tuple[float, CallRecord]], float] | None:
    """Those over the bound, and the bound: that of the warm ones among them, if there are any."""
    bounds = view.manifest.spec.validity
    warm = [took for took, _ in known if took <= bounds.load_max_ms]
    bound_ms = bounds.load_max_ms
    if warm:
        bound_ms = max(bound_ms, bounds.load_ratio_max * median(warm))
    over = [(took, call) for took, call in known if took > bound_ms]
    return (over, bound_ms) if over else None


def _is_first(call: CallRecord, arm: ArmView) -> bool:
    dues = [c.instants.due_ns for c in arm.calls if c.trial == call.trial]
    return call.instants.due_ns == min(dues)
