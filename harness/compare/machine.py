"""Host and software of two runs. Within one run they are the same, unless it was resumed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, Literal

from harness.compare.leaves import differing, leaves
from harness.compare.measured import Party
from harness.metrics import gpu_models, machine_kind
from harness.schema import Condition, Environment
from harness.text import one_line

__all__ = ["machine"]

_HOST: Final = r"collected\.hardware\."
_OF_ONE_INSTANT: Final = re.compile(r"collected\.[^.]+\.now(\..*)?", re.S)
"""Different in any two runs, by what plugins agree to call it."""

_RULES: Final[tuple[tuple[str, Literal["doubtful", "note"], str], ...]] = (
    (r"hostname_digest", "doubtful", "another machine"),
    (r"cpu_model", "doubtful", "another processor"),
    (r"cpu_count|cpu_affinity", "doubtful", "another number of processors"),
    (r"cpu_governor", "doubtful", "the clock frequency is governed otherwise"),
    (r"clocksource", "doubtful", "another clock: reading it costs otherwise"),
    (r"kernel", "doubtful", "another kernel: scheduling, network and stamps are its work"),
    (r"gpus.*", "doubtful", "another GPU, or another driver"),
    (r"memory_bytes", "note", "another amount of memory"),
    (r"harness_version", "doubtful", "another version of the instrument"),
    (r"native_build\.digest", "note", "another build of the instrument"),
    (r"plugins\.own\..*", "doubtful", "another version of the plugin that made these figures"),
    (r"variables\.(OLLAMA|CUDA|OMP)_.*", "doubtful", "it changes how servers behave"),
    (r"vcs\.commit", "note", "the repository in which the run was made was at another commit"),
    (r"vcs\.dirty", "note", "that repository had changes that no commit holds"),
    (r"packages\..*", "note", "another version of a library"),
    (
        rf"{_HOST}(governors|frequency_.*|energy_preferences)(\..*)?",
        "doubtful",
        "the clock frequency is governed otherwise",
    ),
    (rf"{_HOST}(boost|smt)", "doubtful", "cores run higher, or share themselves otherwise"),
    (rf"{_HOST}cgroup_.*", "doubtful", "a container with another bound"),
    (
        rf"{_HOST}(virtualisation|kernel_words\..*)",
        "doubtful",
        "the kernel has its CPUs on other terms",
    ),
    (
        rf"{_HOST}(numa_nodes\..*|transparent_hugepages|microcode)",
        "doubtful",
        "memory and processor behave otherwise",
    ),
    (r".*", "note", "it differs"),
)


def machine(a: Party, b: Party) -> Iterator[Condition]:
    yield from _nodes(a, b)
    one, other = a.place.run.manifest, b.place.run.manifest
    if one.run_id == other.run_id:
        return
    for path, before, after in differing(_facts(a), _facts(b)):
        weight, why = next((w, y) for rule, w, y in _RULES if re.fullmatch(rule, path, re.S))
        yield Condition(
            name=f"environment.{path}", baseline=before, candidate=after, weight=weight, why=why
        )
    if one.started != other.started:
        yield Condition(
            name="environment.started",
            baseline=one.started,
            candidate=other.started,
            weight="note",
            why="two runs: whatever changed between them is in the difference, recorded or not",
        )


def _nodes(a: Party, b: Party) -> Iterator[Condition]:
    """Machines that an executor placed the trials on; of the run's own, the environment tells."""
    before, after = _machines(a), _machines(b)
    placed = any("host" in one.placement for side in (a, b) for one in side.data.trials)
    if before == after or not placed:
        return
    kinds = sorted({kind for kind, _ in before}) != sorted({kind for kind, _ in after})
    yield Condition(
        name="placement.nodes",
        baseline=_told(before),
        candidate=_told(after),
        weight="doubtful" if kinds else "note",
        why="trials ran on machines of another kind"
        if kinds
        else "trials ran on other machines, or in another share on each",
    )


def _machines(of: Party) -> list[tuple[tuple[str, ...], float]]:
    """(kind of machine, share of the trials)."""
    environment = of.place.run.manifest.environment
    here = {
        "cpu_model": environment.cpu_model or "",
        "cpu_count": str(environment.cpu_count or ""),
        "kernel": environment.kernel or "",
        "gpu_models": gpu_models(str(gpu.get("name", "unknown")) for gpu in environment.gpus),
    }
    kinds = Counter(
        machine_kind(trial.placement if "host" in trial.placement else here)
        for trial in of.data.trials
    )
    return [(kind, n / kinds.total()) for kind, n in sorted(kinds.items())]


def _told(machines: list[tuple[tuple[str, ...], float]]) -> str:
    return "; ".join(
        f"{share:.0%} {', '.join(one_line(value, 80) for value in kind if value)}"
        for kind, share in machines
    )


def _facts(of: Party) -> dict[str, Any]:
    environment = of.place.run.manifest.environment
    found: dict[str, Any] = {}
    for name in (
        *("hostname_digest", "cpu_model", "cpu_count", "cpu_affinity", "cpu_governor"),
        *("clocksource", "kernel", "memory_bytes", "harness_version", "python", "platform"),
        *("packages", "vcs", "native_build", "variables", "collected"),
    ):
        found |= {path: v for path, v in leaves(getattr(environment, name), name) if v is not None}
    gpus = [{k: v for k, v in gpu.items() if k != "uuid"} for gpu in environment.gpus]
    if gpus:
        found["gpus"] = gpus
    found = {path: v for path, v in found.items() if not _OF_ONE_INSTANT.fullmatch(path)}
    return found | dict(_plugins(environment, of))


def _plugins(environment: Environment, of: Party) -> Iterator[tuple[str, Any]]:
    """Apart: those that bear the name of the backend or of the scenario."""
    spec = of.place.run.manifest.spec
    for plugin in environment.plugins:
        own = plugin.name in (spec.backend.name, spec.scenario.name)
        state = plugin.version if plugin.status == "loaded" else plugin.status
        yield f"plugins.{'own.' if own else ''}{plugin.name}", state
