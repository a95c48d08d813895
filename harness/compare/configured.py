"""What the specs asked for, and what the backends read back.

A setting that the arms or cells of a spec set is *intended* to differ between them. Anything else
that differs is a doubt: nobody said that it was to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from harness.compare.leaves import differing, leaves
from harness.compare.measured import Party
from harness.engine.cells import configuration
from harness.protocols import RunData
from harness.schema import Condition, Effective, Manifest

__all__ = ["configured"]

Weight = Literal["forbids", "doubtful", "intended", "note"]

# What of the run's own fields a difference means; the first that fits.
_SPEC: Final[tuple[tuple[str, Weight, str], ...]] = (
    (r"scenario\.name", "forbids", "another scenario: the figures are not of the same work"),
    (r"scenario\.options\..*", "doubtful", "the scenario was asked for something else"),
    (r"load\.requests", "doubtful", "more requests see more of the tails, and a longer run"),
    (r"load\..*", "forbids", "another load: latency and throughput are those of that load"),
    (r"slo\..*", "forbids", "another objective: goodput is not of the same thing"),
    (r"backend\.name", "doubtful", "another backend"),
    (r"backend\.model", "doubtful", "another model"),
    (r"backend\.url", "note", "another address"),
    (r"backend\..*", "doubtful", "the backend was asked for something else"),
    (r"iterations\.measured", "note", "a trial's mean is over more values, or fewer"),
    (r"iterations\..*", "doubtful", "what was warm, and how it became so, differs"),
    (r"instruments.*", "doubtful", "what observes takes time"),
    (r"placement\..*", "doubtful", "trials ran elsewhere, or beside each other"),
    (r"seed", "note", "other prompts of the same law, arrivals and order"),
    (r"order", "note", "what changes with time is spread otherwise over the arms"),
    (r".*", "note", "the specs differ in it"),
)
_RUN_FIELDS: Final = (
    *("iterations", "instruments", "placement", "slo", "seed", "order"),
    *("timeouts", "keep", "stop", "search"),
)
_EFFECTIVE: Final[tuple[tuple[str, Weight, str], ...]] = (
    (r"server_version", "doubtful", "another version of the server"),
    (r"server", "doubtful", "another server"),
    (r"model_digest", "doubtful", "other weights under the same or another name"),
    (r"model", "doubtful", "another model"),
    (r"context_length|layers_on_gpu", "doubtful", "the server ran with another value"),
    (r"size.*", "note", "the model took another size of memory"),
    (r"options\..*", "doubtful", "the server was sent another value"),
    (r"read_back\..*", "doubtful", "the server said that it ran with another value"),
    (
        r"(?i)details\..*(version|build|commit|digest|sha|quant|thread|layer|ctx|parallel|slot|batch"
        r"|device|gpu|dtype).*",
        "doubtful",
        "the server says this of itself",
    ),
    (r".*", "note", "the server says this of itself"),
)
_OF_A_LAUNCH: Final = re.compile(
    r"(?i)(_n?s|_ms|_us)$|(^|[._])(pid|port|uptime|started|created|live_log)$"
)
"""Differs between any two launches and configures nothing."""
_IDENTITY: Final = ("server", "server_version", "model", "model_digest")


def configured(a: Party, b: Party) -> Iterator[Condition]:
    intended = _Intended(a, b)
    asked = [*differing(_asked(a), _asked(b))]
    for path, one, other in asked:
        weight, why = _judged(_SPEC, path)
        if path.startswith("slo.") and not (_slo(a) and _slo(b)):
            weight, why = "note", "only one of them states an objective"
        if intended.sets(path):
            weight, why = "intended", "the spec says that they differ in it"
        yield Condition(name=f"spec.{path}", baseline=one, candidate=other, weight=weight, why=why)
    yield from _read_back(a, b, intended, {path for path, _, _ in asked})


def _asked(of: Party) -> dict[str, Any]:
    manifest, place = of.place.run.manifest, of.place
    spec = manifest.spec
    found = dict(leaves(configuration(spec, place.arm, place.cell, manifest.cells), "$"))
    for name in _RUN_FIELDS:
        found |= leaves(getattr(spec, name), f"$.{name}")
    return {path.removeprefix("$."): value for path, value in found.items() if value is not None}


def _slo(of: Party) -> Mapping[str, float] | None:
    return of.place.run.manifest.spec.slo


def _judged(rules: tuple[tuple[str, Weight, str], ...], path: str) -> tuple[Weight, str]:
    return next((weight, why) for rule, weight, why in rules if re.fullmatch(rule, path, re.S))


# ---- what was meant to differ


class _Intended:
    """The paths that the arms and sweeps of either spec set; none, where both sides have the same
    arm and cell."""

    def __init__(self, a: Party, b: Party) -> None:
        same = a.key == b.key
        runs = [one.place.run.manifest for one in (a, b)]
        self.paths = frozenset() if same else frozenset().union(*map(_set_by, runs))
        self.same_run = _is_same(a.place.run, b.place.run)

    def sets(self, path: str) -> bool:
        """The path, something above it, or a part of it that it is given with."""
        return any(path == one or path.startswith(f"{one}.") for one in self.paths)

    def leads_to(self, field: str) -> bool:
        """Whether what was read back may follow from it: under its name; or, within one run, as
        long as it is not what the server is."""
        elsewhere = ("scenario.", "load.")  # axes of an imported table are named as its columns
        names = {path.rpartition(".")[2] for path in self.paths if not path.startswith(elsewhere)}
        if field.rpartition(".")[2] in names:
            return True
        whole = any(self.sets(f"backend.{name}") for name in ("name", "model", "url"))
        return self.same_run and (whole or (bool(names) and field not in _IDENTITY))


def _set_by(manifest: Manifest) -> frozenset[str]:
    spec = manifest.spec
    found = {path for arm in spec.arms.values() for path in _arm_paths(arm)}
    found |= {path for values in manifest.cells.values() for path in values}
    if spec.sweep is not None:
        found |= set(spec.sweep.axes)
    if spec.search is not None:
        found.add(spec.search.path)
    return frozenset(found)


def _arm_paths(arm: Any) -> Iterator[str]:
    for part in ("backend", "scenario", "load"):
        yield from (path for path, _ in leaves(getattr(arm, part), part))


def _is_same(one: RunData, other: RunData) -> bool:
    return one.manifest.run_id == other.manifest.run_id


# ---- what was read back


def _read_back(a: Party, b: Party, intended: _Intended, asked: set[str]) -> Iterator[Condition]:
    for path, one, other in differing(_effective(a), _effective(b)):
        if _OF_A_LAUNCH.search(path) or f"backend.{path}" in asked:
            continue
        weight, why = _judged(_EFFECTIVE, path)
        if intended.leads_to(path):
            weight, why = "intended", "it follows from what the spec says they differ in"
        yield Condition(
            name=f"effective.{path}", baseline=one, candidate=other, weight=weight, why=why
        )


def _effective(of: Party) -> dict[str, Any]:
    """Field → its value, or the list of its different values over the trials."""
    found: dict[str, list[Any]] = {}
    for trial in of.data.trials:
        if trial.status == "skipped":
            continue
        for path, value in _fields(trial.effective):
            values = found.setdefault(path, [])
            if value not in values:
                values.append(value)
    return {
        path: values[0] if len(values) == 1 else sorted(values, key=_text)
        for path, values in found.items()
    }


def _fields(effective: Effective) -> Iterator[tuple[str, Any]]:
    skip = ("simulated", "random_weights", "unknown", "not_effective", "changed")
    for name, value in msgspec.structs.asdict(effective).items():
        if name not in skip and value is not None:
            yield from leaves(value, name)


def _text(value: Any) -> bytes:
    return msgspec.json.encode(value)
