"""`sqlite_pragma`: what SQLite's settings cost and give, under three workloads.

Connecting, filling the table that is read, and reading the settings back are outside the clock.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Final

from harness.errors import ScenarioError
from harness.protocols import Context, ScenarioConfig
from harness_experiments.options import PragmaOptions
from harness_experiments.storage import CREATE, INSERT, Row, batches, make_records

__all__ = ["PROFILES", "SqlitePragma"]

PROFILES: Final[dict[str, dict[str, str | int]]] = {
    "balanced": {"journal_mode": "wal", "synchronous": 1, "cache_size": -64_000, "temp_store": 0},
    "performance": {
        "journal_mode": "memory",
        "synchronous": 0,
        "cache_size": -256_000,
        "temp_store": 2,
    },
    "safety": {"journal_mode": "wal", "synchronous": 2, "cache_size": -64_000, "temp_store": 0},
    "memory": {"journal_mode": "wal", "synchronous": 1, "cache_size": -2_000, "temp_store": 1},
}
"""In the order in which they are set. synchronous: 0 off, 1 normal, 2 full; cache_size: KiB below
0; temp_store: 1 file, 2 memory."""

QUERIES: Final = (
    "SELECT count(*) FROM states WHERE action = 'move'",
    "SELECT agent, avg(x), avg(y) FROM states GROUP BY agent",
    "SELECT * FROM states WHERE step BETWEEN 10 AND 20",
    "SELECT action, count(*) FROM states GROUP BY action ORDER BY 2 DESC",
    "SELECT max(x), min(y) FROM states WHERE agent < 10",
)
READS: Final = 20
"""Rounds over the queries, where the workload only reads."""


class SqlitePragma:
    """See harness.protocols.WorkflowScenario."""

    def __init__(self, config: ScenarioConfig) -> None:
        self.options: PragmaOptions = config.options
        self.rows: list[Row] = []

    async def setup(self, ctx: Context) -> None:
        self.rows = make_records(ctx.rng, self.options.records)

    async def execute(self, ctx: Context) -> None:
        with tempfile.TemporaryDirectory(prefix="harness-pragma-") as folder:
            db = sqlite3.connect(Path(folder) / "states.db")
            try:
                ctx.note("pragmas", self._apply(db))
                operations, took_ns = self._work(db, ctx.rng)
            finally:
                db.close()
        ctx.metric("work_ms", took_ns / 1e6, "ms", better="lower")
        ctx.metric("operations_per_s", operations * 1e9 / took_ns, "operations/s", better="higher")

    async def teardown(self, ctx: Context) -> None: ...

    def _apply(self, db: sqlite3.Connection) -> dict[str, str | int]:
        """Set the profile, and return what the database then says of itself."""
        wanted = PROFILES[self.options.profile]
        for name, value in wanted.items():
            db.execute(f"PRAGMA {name} = {value}")
        runs = {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted}
        if runs != wanted:
            wrong = {
                n: f"asked {wanted[n]}, runs {runs[n]}" for n in wanted if runs[n] != wanted[n]
            }
            raise ScenarioError(f"settings without effect: {wrong}", where="sqlite_pragma")
        db.execute(CREATE)
        db.commit()
        return runs

    def _work(self, db: sqlite3.Connection, rng: random.Random) -> tuple[int, int]:
        """(operations, ns)"""
        if self.options.workload == "write_heavy":
            return self._write(db)
        with db:
            db.executemany(INSERT, self.rows)
        return self._read(db) if self.options.workload == "read_heavy" else self._mixed(db, rng)

    def _write(self, db: sqlite3.Connection) -> tuple[int, int]:
        parts = batches(self.rows, self.options.batch)
        begin_ns = time.perf_counter_ns()
        for part in parts:
            with db:
                db.executemany(INSERT, part)
        return len(self.rows), time.perf_counter_ns() - begin_ns

    def _read(self, db: sqlite3.Connection) -> tuple[int, int]:
        begin_ns = time.perf_counter_ns()
        for _ in range(READS):
            for query in QUERIES:
                db.execute(query).fetchall()
        return READS * len(QUERIES), time.perf_counter_ns() - begin_ns

    def _mixed(self, db: sqlite3.Connection, rng: random.Random) -> tuple[int, int]:
        """Single inserts, a query after every tenth, a commit after every hundredth."""
        rows = rng.sample(self.rows, max(1, len(self.rows) // 10))
        operations = 0
        begin_ns = time.perf_counter_ns()
        for index, row in enumerate(rows, start=1):
            db.execute(INSERT, row)
            operations += 1
            if index % 10 == 0:
                db.execute(QUERIES[index // 10 % len(QUERIES)]).fetchall()
                operations += 1
            if index % 100 == 0:
                db.commit()
        db.commit()
        return operations, time.perf_counter_ns() - begin_ns
