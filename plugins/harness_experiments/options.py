"""What each experiment can be asked for. The defaults take well under a second."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

__all__ = [
    "IndexOptions",
    "MemoryOptions",
    "ObservationOptions",
    "PragmaOptions",
    "StorageOptions",
]

Positive: TypeAlias = Annotated[int, Meta(ge=1)]


class StorageOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `storage_modes`."""

    mode: Literal["file", "memory", "memory_then_file", "jsonl"] = "file"
    """An SQLite file; SQLite in memory; that, and saved to a file at the end; or JSON lines."""
    records: Positive = 10_000
    batch: Positive = 1000
    """Records per transaction."""


class PragmaOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `sqlite_pragma`."""

    profile: Literal["balanced", "performance", "safety", "memory"] = "balanced"
    workload: Literal["write_heavy", "read_heavy", "mixed"] = "write_heavy"
    records: Positive = 5000
    batch: Positive = 1000
    """Records per transaction, where the workload writes in batches."""


class ObservationOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `observation_flow`."""

    agents: Positive = 200
    steps: Positive = 100
    width: Positive = 200
    height: Positive = 200
    radius: Annotated[int, Meta(ge=0)] = 6
    """An agent sees a square of 2 radius + 1 cells a side."""
    storage: Literal["dense", "sparse"] = "dense"
    """The world as an array, or as a mapping of its occupied cells."""


class IndexOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `index_retrieval`."""

    index: Literal["exhaustive", "kd_tree", "grid"] = "kd_tree"
    points: Positive = 1000
    layout: Literal["uniform", "clustered"] = "uniform"
    radius: Annotated[float, Meta(gt=0)] = 20.0
    """In a world of 1000 by 1000."""
    radius_queries: Positive = 100
    nearest_queries: Positive = 50


class MemoryOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `memory_store`."""

    engine: Literal["dict", "sqlite"] = "dict"
    entries: Positive = 1000
    batch: Positive = 100
    searches: Positive = 100
    radius: Positive = 10
    """A search finds the entries within so many steps of a given one."""
