"""What older agent benchmarks left behind (the Chimeraforge project's, in Rust and in Python): read
strictly, given one form, and imported.

    single, Python        a list of runs, each a baseline and a chimera agent
    single, Rust          baseline and chimera, each with the calls of all runs
    multi, Rust v1        collector and insight, with `individual_runs`: one call each
    multi, Rust v2        the same, with `llm_calls` and a `workflow`
    multi, Python         collector and insight, aggregates; a later form has one call
    summary.json          what a folder of multi runs came to

What is null or NaN is unknown. A call without a final line was written down as 0 tokens at 0 tok/s:
it failed, and is so here. Options that went through 32-bit floats (0.800000011920929) are what was
typed again.

Reading a file       records.py what comes of it · reading.py which form it is · fields.py what the
                     programs wrote · parts.py, single.py, pairs.py from those to records
What they come to    sums.py · figures.py as metrics · checks.py what their own data contradict ·
                     named.py as figures of an iteration, under the names in the file
Importing            folder.py where files belong · rows.py what a file's rows are · importing.py
                     all of them · tables.py, lines.py, cells.py the condensed tables · caveats.py
"""

from __future__ import annotations

__all__: list[str] = []
