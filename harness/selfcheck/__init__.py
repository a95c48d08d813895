"""The self-check: how far the harness's own figures can be off, on this machine, with this build.

loads.py     what is tried: numbers of streams, rates
bench.py     the whole check, on one page
server.py    the truth server as a child of ours
cores.py     which cores it gets
drive.py     one load, driven as a run drives it
figures.py   calls beside the server's log: errors, lags, what slipped
highest.py   the search for the highest rate that is held
found.py     what it all comes to
words.py     what that means, in sentences
table.py     the same for a terminal
plot.py      error and lag against the number of streams

Linux only, as the truth server and the reactor are. What is kept for later runs, and where, is
harness.engine.uncertainty's.
"""

from harness.selfcheck.bench import check
from harness.selfcheck.found import Check, Highest, LoadFound, Machine, Step
from harness.selfcheck.loads import Load, Plan, plan_for

__all__ = ["Check", "Highest", "Load", "LoadFound", "Machine", "Plan", "Step", "check", "plan_for"]
