"""`storage_modes`: does it pay to keep the records of a run in memory?

The same stream of records goes into each kind of store. What a mode claims is checked after the
clock has stopped: a mode that was asked for and did not take effect is a failed iteration.
"""

from __future__ import annotations

import itertools
import random
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from harness.errors import ScenarioError
from harness.protocols import Context, ScenarioConfig
from harness_experiments.options import StorageOptions

__all__ = ["StorageModes", "batches", "make_records"]

Row: TypeAlias = tuple[int, int, float, float, str]
"""(step, agent, x, y, action)"""

ACTIONS = ("move", "gather", "share", "attack", "reproduce")
INSERT = "INSERT INTO states VALUES (?, ?, ?, ?, ?)"
CREATE = "CREATE TABLE states (step INTEGER, agent INTEGER, x REAL, y REAL, action TEXT)"


def make_records(rng: random.Random, count: int) -> list[Row]:
    return [
        (i // 100, i % 100, rng.random() * 200, rng.random() * 200, rng.choice(ACTIONS))
        for i in range(count)
    ]


def batches(rows: Sequence[Row], size: int) -> list[list[Row]]:
    parts = iter(rows)
    return list(iter(lambda: list(itertools.islice(parts, size)), []))


class StorageModes:
    """See harness.protocols.WorkflowScenario."""

    def __init__(self, config: ScenarioConfig) -> None:
        self.options: StorageOptions = config.options
        self.batches: list[list[Row]] = []

    async def setup(self, ctx: Context) -> None:
        self.batches = batches(make_records(ctx.rng, self.options.records), self.options.batch)

    async def execute(self, ctx: Context) -> None:
        with tempfile.TemporaryDirectory(prefix="harness-storage-") as folder:
            path = Path(folder) / "states"
            if self.options.mode == "jsonl":
                write_ns, save_ns = self._jsonl(path)
            else:
                write_ns, save_ns = self._sqlite(path)
            size = _size_bytes(Path(folder))
        count = self.options.records
        total_ns = write_ns + save_ns
        ctx.metric("write_ms", write_ns / 1e6, "ms", better="lower")
        if self.options.mode == "memory_then_file":
            ctx.metric("save_ms", save_ns / 1e6, "ms", better="lower")
        ctx.metric("total_ms", total_ns / 1e6, "ms", better="lower")
        ctx.metric("records_per_s", count * 1e9 / total_ns, "records/s", better="higher")
        ctx.metric("stored_bytes", size, "bytes", better="lower")

    async def teardown(self, ctx: Context) -> None: ...

    def _sqlite(self, path: Path) -> tuple[int, int]:
        on_disk = self.options.mode == "file"
        db = sqlite3.connect(path if on_disk else ":memory:")
        try:
            db.execute(CREATE)
            db.commit()
            begin_ns = time.perf_counter_ns()
            for batch in self.batches:
                with db:
                    db.executemany(INSERT, batch)
            written_ns = saved_ns = time.perf_counter_ns()
            if self.options.mode == "memory_then_file":
                with sqlite3.connect(path) as target:
                    db.backup(target)
                target.close()
                saved_ns = time.perf_counter_ns()
            self._prove(db, path)
        finally:
            db.close()
        return written_ns - begin_ns, saved_ns - written_ns

    def _prove(self, db: sqlite3.Connection, path: Path) -> None:
        (_, _, file) = db.execute("PRAGMA database_list").fetchone()
        (count,) = db.execute("SELECT count(*) FROM states").fetchone()
        if self.options.mode == "memory_then_file":
            saved = sqlite3.connect(path)
            (count,) = saved.execute("SELECT count(*) FROM states").fetchone()
            saved.close()
        if bool(file) is not (self.options.mode == "file") or count != self.options.records:
            raise ScenarioError(
                f"asked for mode {self.options.mode} and {self.options.records} records; the "
                f"database is in {file or 'memory'}, with {count}",
                where="storage_modes",
            )

    def _jsonl(self, path: Path) -> tuple[int, int]:
        encode = msgspec.json.Encoder().encode
        begin_ns = time.perf_counter_ns()
        with path.open("wb") as file:
            for batch in self.batches:
                file.writelines(encode(row) + b"\n" for row in batch)
                file.flush()
        end_ns = time.perf_counter_ns()
        lines = path.read_bytes().count(b"\n")
        if lines != self.options.records:
            raise ScenarioError(
                f"{self.options.records} records were written and {lines} are there",
                where="storage_modes",
            )
        return end_ns - begin_ns, 0


def _size_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
