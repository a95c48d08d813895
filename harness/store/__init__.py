"""Runs on disk: written so that a kill at any instant loses at most one record, read lazily.

folder.py   the run folder: its name, its files, atomic writes
log.py      the record log's format and its writer
reader.py   reading the log: torn tails, corruption, salvage
writer.py   one run, open for writing
find.py     from `latest` or the beginning of a name to a folder
load.py     one run, opened: manifest, summary, records
imported.py  a run made of what others measured; of a table, mapping.py says what its columns are,
             rows.py what a row is
"""

from harness.store.find import RunEntry, find_run, list_runs
from harness.store.load import Run, is_being_written, load_run
from harness.store.reader import Damage, LogReader
from harness.store.writer import RunWriter, check_log

__all__ = [
    "Damage",
    "LogReader",
    "Run",
    "RunEntry",
    "RunWriter",
    "check_log",
    "find_run",
    "is_being_written",
    "list_runs",
    "load_run",
]
