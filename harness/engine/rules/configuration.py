"""Did the server run what it was asked to run, and was it ready when it was measured.

Backends say in `Effective` what they read back: `not_effective` names the options that run with
another value than was asked for, or changed while the trial ran; `read_back` has the values of
those options that the server tells of. An option that it does not tell of proves nothing, neither
that it had an effect nor that it had none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from itertools import combinations
from statistics import median
from typing import Any, Final, NamedTuple

from harness.engine.readings import CONFIGURATION
from harness.engine.rules.view import ArmView, RunView, label, places
from harness.metrics import call_metric
from harness.schema import ArmSpec, CallRecord, Caveat, Effective, ValiditySpec
from harness.text import whole_number

__all__ = ["cold_in_warm", "config_not_effective", "configuration_key"]

_SAME: Final = (*CONFIGURATION, "size_bytes", "size_vram_bytes")
"""Fields of Effective that two arms share if they are one configuration. Unknown to both is no
difference; unknown to one alone is."""

SHOWN_OPTIONS: Final = 3


def config_not_effective(view: RunView) -> Iterator[Caveat]:
    """Another configuration than was asked for; two arms that are the same."""
    yield from _not_effective(view)
    said: dict[tuple[str, ...], list[tuple[ArmView, ArmView]]] = {}
    by_cell: dict[str, list[ArmView]] = defaultdict(list)
    for arm in view.arms:
        by_cell[arm.summary.cell].append(arm)
    for arms in by_cell.values():
        for one, other in combinations(arms, 2):
            if options := _without_effect(one, other, view):
                said.setdefault((one.name, other.name, *options), []).append((one, other))
    for (_, _, *options), pairs in said.items():
        yield _equal_arms(*pairs[0], options, len(pairs) - 1, view)


def _not_effective(view: RunView) -> Iterator[Caveat]:
    said: dict[tuple[tuple[str, str], ...], list[ArmView]] = {}
    for arm in view.arms:
        if found := _found(arm):
            said.setdefault(tuple(sorted(found.items())), []).append(arm)
    for arms in said.values():
        options = _found(arms[0])
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
                remedy=_ask_for_what_runs(arms[0], next(iter(options))),
                arm=place,
            )


def _found(arm: ArmView) -> dict[str, str]:
    """Option → how it runs otherwise, over all trials."""
    return {n: how for trial in arm.trials for n, how in trial.effective.not_effective.items()}


def _ask_for_what_runs(arm: ArmView, name: str) -> str:
    """By what was read: the text of `not_effective` may quote a server."""
    accounts = [trial.effective for trial in arm.trials]
    if any(account.changed for account in accounts):
        return "keep other clients off the server, and its options, while it is measured"
    account = next(account for account in accounts if name in account.not_effective)
    runs = whole_number(account.read_back.get(name))
    # The first of several endpoints may well run what was asked for.
    if runs is not None and runs != account.options.get(name):
        return f"-o {name}={runs} asks for what runs, or change what the server is able to run"
    return f"see `harness show` for what runs, and ask for that ({name})"


# Arms that are the same. --------------------------------------------------------------------------


def _equal_arms(
    one: ArmView, other: ArmView, options: list[str], more_cells: int, view: RunView
) -> Caveat:
    names = label(one, view), label(other, view)
    more = f" (and so in {more_cells} more cell{'s' * (more_cells > 1)})" if more_cells else ""
    return Caveat(
        code="config-not-effective",
        severity="doubtful",
        message=f"{names[0]} and {names[1]} ran the same configuration, although they were asked "
        f"for another {', '.join(options)}: comparing them compares nothing{more}",
        evidence={
            "arms": list(names),
            "options": options,
            "runs": {name: _runs(one.trials[0].effective, name) for name in options},
        },
        remedy=f"other values of {options[0]}, within what this server and model can do; or leave "
        "out one of the arms",
    )


def _without_effect(one: ArmView, other: ArmView, view: RunView) -> list[str]:
    """Options of the backend in which the specs of two arms differ, if what they ran, in the same
    cell, does not."""
    specs = view.manifest.spec.arms
    if one.name not in specs or other.name not in specs:
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


def configuration_key(arm: ArmView, asked: Mapping[str, Any]) -> Hashable | None:
    """Equal for two cells of an arm that ran one configuration. None where that is not known: the
    backend told nothing, or one thing at one time and another at another.

    asked    path → value, as the sweep gives them: what the server tells of another option is in
             the key, and not what was asked for
    """
    accounts = [trial.effective for trial in arm.trials if _was_read(trial)]
    if any(account.not_effective.keys() & set(_SAME) for account in accounts):
        return None
    keys = {_account_key(account, asked) for account in accounts}
    return keys.pop() if len(keys) == 1 else None


def _account_key(account: Effective, asked: Mapping[str, Any]) -> Hashable:
    told = {*account.options, *account.read_back}
    options = {name: _runs(account, name) for name in sorted(told)}
    prefix = "backend.options."
    rest = {p: v for p, v in asked.items() if p.removeprefix(prefix) not in told}
    fields = [getattr(account, name) for name in _SAME]
    return repr((fields, sorted(account.read_back), options, sorted(rest.items())))


# Cold starts. -------------------------------------------------------------------------------------


class _Load(NamedTuple):
    took_ms: float
    bound_ms: float
    call: CallRecord


def cold_in_warm(view: RunView) -> Iterator[Caveat]:
    """Measured calls for which the server loaded the model. Warm ones take some ms to 100 ms until
    the model is ready, which is handling and no load."""
    for arm in view.arms:
        loads = _loads(arm, view.manifest.spec.validity)
        if not loads:
            continue
        worst = max(loads, key=lambda load: load.took_ms)
        first_ns: dict[int, int] = {}
        for call in arm.calls:
            due_ns = call.instants.due_ns
            first_ns[call.trial] = min(due_ns, first_ns.get(call.trial, due_ns))
        no_warmup = view.manifest.spec.iterations.warmup == 0
        yield Caveat(
            code="cold-in-warm",
            severity="doubtful",
            message=f"{len(loads)} of {len(arm.calls)} measured calls waited for the model to be "
            f"loaded, the longest {worst.took_ms / 1000:.1f} s: a cold start is in the warm figures"
            + (" (iterations.warmup is 0: nothing ran before them)" if no_warmup else ""),
            evidence={
                "calls": len(loads),
                "first_of_their_trial": sum(
                    load.call.instants.due_ns == first_ns[load.call.trial] for load in loads
                ),
                "server_load_ms": worst.took_ms,
                "example": worst.call.call_id,
                "bound_ms": worst.bound_ms,
            },
            remedy="--warmup 1"
            if no_warmup
            else "-o keep_alive=30m, the same options in every call, and no other client that "
            "makes the server unload this model",
            arm=arm.name,
            cell=arm.cell,
        )


def _loads(arm: ArmView, bounds: ValiditySpec) -> list[_Load]:
    """Calls whose time is that of a load. A queue in the server's scheduler is in that time, too,
    and makes calls alike that overlap: of those, only what stands out from all calls is a load.
    But one call is at the head of a queue that forms when nothing was under way, and waits for
    nobody. If not one of those that came first was warm, the model was not there."""
    load_ms = call_metric("server_load_ms").formula
    taken = {call.call_id: load_ms(call) for call in arm.calls if call.status == "ok"}
    known = {call_id: took for call_id, took in taken.items() if took is not None}
    warm = [took for took in known.values() if took <= bounds.load_max_ms]
    bound_ms = _bound_ms(warm, bounds)
    queue_ms = max(bound_ms, _bound_ms(list(known.values()), bounds))
    cold: set[str] = set()
    for first in _begun_together(arm.calls):
        if min((known[i] for i in first if i in known), default=0.0) > bound_ms:
            cold.update(first)
    loads = []
    for call in arm.calls:
        took, own_ms = known.get(call.call_id), bound_ms if call.call_id in cold else queue_ms
        if took is not None and took > own_ms:
            loads.append(_Load(took, own_ms, call))
    return loads


def _bound_ms(usual_ms: list[float], bounds: ValiditySpec) -> float:
    return max(bounds.load_max_ms, bounds.load_ratio_max * median(usual_ms) if usual_ms else 0.0)


def _begun_together(calls: list[CallRecord]) -> list[list[str]]:
    """The calls that were sent when no other one of their trial was under way, each with those that
    were sent before one of them had ended."""
    groups: list[list[str]] = []
    trial, busy_until_ns, first_end_ns = -1, 0, 0
    sent = [(call.trial, call.instants.sent_ns, call) for call in calls]
    on_wire = [(number, ns, call) for number, ns, call in sent if ns is not None]
    for number, sent_ns, call in sorted(on_wire, key=lambda item: item[:2]):
        done_ns = max(sent_ns, call.instants.closed_ns or call.instants.end_ns or 0)
        if number != trial or sent_ns >= busy_until_ns:
            groups.append([])
            trial, busy_until_ns, first_end_ns = number, done_ns, max(done_ns, sent_ns + 1)
        busy_until_ns = max(busy_until_ns, done_ns)
        if sent_ns < first_end_ns:
            groups[-1].append(call.call_id)
            first_end_ns = min(first_end_ns, done_ns)
    return groups
