"""`memory_store`: a conversation memory, written entry by entry and in batches, read and searched.

Both ways of writing store the very same bytes, which is checked; otherwise a batch is only faster
because it does less.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from harness.errors import ScenarioError
from harness.protocols import Context, ScenarioConfig
from harness_experiments.options import MemoryOptions

__all__ = ["MemoryStore"]

WORDS = ("the", "agent", "moved", "found", "food", "north", "saw", "another", "shared", "waited")


class _Store(Protocol):
    def put(self, step: int, body: bytes) -> None: ...

    def put_many(self, entries: Iterable[tuple[int, bytes]]) -> None: ...

    def get(self, step: int) -> bytes: ...

    def between(self, first: int, last: int) -> list[bytes]: ...

    def close(self) -> None: ...


class MemoryStore:
    """See harness.protocols.WorkflowScenario."""

    def __init__(self, config: ScenarioConfig) -> None:
        self.options: MemoryOptions = config.options
        self.entries: list[tuple[int, bytes]] = []
        self.asked: list[int] = []

    async def setup(self, ctx: Context) -> None:
        o = self.options
        self.entries = [(step, _entry(ctx.rng, step)) for step in range(o.entries)]
        self.asked = [ctx.rng.randrange(o.entries) for _ in range(o.searches)]

    async def execute(self, ctx: Context) -> None:
        with tempfile.TemporaryDirectory(prefix="harness-memory-") as folder:
            single, batched = (_open(self.options, Path(folder) / name) for name in ("a", "b"))
            try:
                self._measure(ctx, single, batched)
            finally:
                single.close()
                batched.close()

    async def teardown(self, ctx: Context) -> None: ...

    def _measure(self, ctx: Context, single: _Store, batched: _Store) -> None:
        o = self.options
        parts = [self.entries[i : i + o.batch] for i in range(0, o.entries, o.batch)]
        spans = [(step - o.radius, step + o.radius) for step in self.asked]
        one_us = _took_us(single.put, self.entries) / o.entries
        many_us = _took_us(batched.put_many, [(part,) for part in parts]) / o.entries
        read_us = _took_us(single.get, [(step,) for step in self.asked]) / o.searches
        search_us = _took_us(single.between, spans) / o.searches
        if any(single.get(step) != batched.get(step) for step in self.asked):
            raise ScenarioError(
                "single and batched writes stored different things", where="memory_store"
            )
        ctx.metric("write_us", one_us, "us", better="lower")
        ctx.metric("batch_write_us", many_us, "us", better="lower")
        ctx.metric("read_us", read_us, "us", better="lower")
        ctx.metric("search_us", search_us, "us", better="lower")


class _Dict:
    def __init__(self) -> None:
        self.entries: dict[int, bytes] = {}

    def put(self, step: int, body: bytes) -> None:
        self.entries[step] = body

    def put_many(self, entries: Iterable[tuple[int, bytes]]) -> None:
        self.entries.update(entries)

    def get(self, step: int) -> bytes:
        return self.entries[step]

    def between(self, first: int, last: int) -> list[bytes]:
        return [self.entries[s] for s in range(first, last + 1) if s in self.entries]

    def close(self) -> None: ...


class _Sqlite:
    """A file; one transaction per write, and one per batch."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path)
        self.db.execute("PRAGMA journal_mode = wal")
        self.db.execute("CREATE TABLE memory (step INTEGER PRIMARY KEY, body BLOB)")
        self.db.commit()

    def put(self, step: int, body: bytes) -> None:
        with self.db:
            self.db.execute("INSERT INTO memory VALUES (?, ?)", (step, body))

    def put_many(self, entries: Iterable[tuple[int, bytes]]) -> None:
        with self.db:
            self.db.executemany("INSERT INTO memory VALUES (?, ?)", entries)

    def get(self, step: int) -> bytes:
        row: tuple[bytes] = self.db.execute(
            "SELECT body FROM memory WHERE step = ?", (step,)
        ).fetchone()
        return row[0]

    def between(self, first: int, last: int) -> list[bytes]:
        query = "SELECT body FROM memory WHERE step BETWEEN ? AND ?"
        return [body for (body,) in self.db.execute(query, (first, last))]

    def close(self) -> None:
        self.db.close()


def _open(options: MemoryOptions, path: Path) -> _Store:
    return _Dict() if options.engine == "dict" else _Sqlite(path)


def _entry(rng: random.Random, step: int) -> bytes:
    text = " ".join(rng.choices(WORDS, k=20))
    return msgspec.json.encode({"step": step, "text": text, "reward": rng.random()})


def _took_us(work: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> float:
    begin_ns = time.perf_counter_ns()
    for each in arguments:
        work(*each)
    return (time.perf_counter_ns() - begin_ns) / 1e3
