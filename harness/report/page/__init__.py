"""What the HTML report shows, as data: its template only arranges it.

tables.py        a table that can be sorted, and the cells it is made of
overview.py      what was run, the verdict, the watermark, how to do it again
figures.py       arms and cells, every figure
models.py        models side by side: size, outcome, memory, cost
together.py      agents at once and alone: whether it pays off
runs.py          the iterations one by one
comparisons.py   effects in words, with their intervals drawn
decisions.py     searches, stopping rules, what was skipped, sessions
setup.py         what was asked for, what the backends said, the machine

Text in it is as the records have it. It becomes harmless in one place, when the template prints it
(html.py).
"""
