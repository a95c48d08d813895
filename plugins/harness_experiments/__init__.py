"""Experiments that call no model: the parts an agent framework is built from, measured.

options.py      what each can be asked for
storage.py      storage_modes      one stream of records into four kinds of store
pragmas.py      sqlite_pragma      SQLite's settings under three workloads
observation.py  observation_flow   agents that each look at their surroundings
retrieval.py    index_retrieval    radius and nearest-neighbour queries over three indices
memory.py       memory_store       a conversation memory, entry by entry and in batches
specs/          presets, each named agentfarm-…

Each prepares its data in setup, outside the measurement, seeded so that arms get the same; and each
proves after the measurement that it did what its options say, or fails the iteration.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import harness
from harness_experiments.options import (
    IndexOptions,
    MemoryOptions,
    ObservationOptions,
    PragmaOptions,
    StorageOptions,
)

if TYPE_CHECKING:
    from harness.protocols import ScenarioConfig, ScenarioFactory, WorkflowScenario
    from harness.registry import ScenarioRegistry

__all__ = ["harness_register_scenarios"]


def _late(module: str, name: str) -> ScenarioFactory:
    """What an experiment needs is imported when one is made."""

    def make(config: ScenarioConfig) -> WorkflowScenario:
        made: Any = getattr(importlib.import_module(f"harness_experiments.{module}"), name)
        experiment: WorkflowScenario = made(config)
        return experiment

    return make


@harness.hookimpl
def harness_register_scenarios(registry: ScenarioRegistry) -> None:
    registry.add(
        "storage_modes",
        _late("storage", "StorageModes"),
        options=StorageOptions,
        summary="one stream of records into a file, memory, memory then file, or JSON lines",
    )
    registry.add(
        "sqlite_pragma",
        _late("pragmas", "SqlitePragma"),
        options=PragmaOptions,
        summary="SQLite settings (read back) under writing, reading and mixed work",
    )
    registry.add(
        "observation_flow",
        _late("observation", "ObservationFlow"),
        options=ObservationOptions,
        summary="agents that each assemble a view of their surroundings, step by step",
    )
    registry.add(
        "index_retrieval",
        _late("retrieval", "IndexRetrieval"),
        options=IndexOptions,
        summary="radius and nearest-neighbour queries, checked against an exhaustive search",
    )
    registry.add(
        "memory_store",
        _late("memory", "MemoryStore"),
        options=MemoryOptions,
        summary="a conversation memory: the same entries one by one and in batches",
    )
