"""Figures of a run: `figures_for(run)` chooses what it is fit for, and draws when it is asked to.

style.py        one look for all of them
words.py        names and numbers as they appear in them
source.py       what they are drawn from: the summary, and the records in one pass
layout.py       which series share a panel
grid.py         the axes of a sweep, found again from its cells
plot.py, svg.py  one figure, as .png, .svg or .pdf, or as an element of a page
choose.py       which kinds there are, and which fit

distribution.py, sweep.py  data that two kinds share
modelpoints.py, modelsize.py  models by size and by cost, and bubbles
lanes.py, agentline.py  the timeline of several agents: what it shows, and how it is drawn

and a file for each kind: arms, cold, ecdf, effects, family, heatmap, histogram, loadcurve,
overtime, search, stamps, timeline. Each makes its data by pure functions first, `Plot.data`, so
that a test can say what is drawn. What n cannot carry is not drawn, and what is unknown is not
drawn as 0.

matplotlib is imported when a figure is drawn.
"""

from harness.report.plots.choose import KINDS, Choice, Kind, choose, figures_for
from harness.report.plots.plot import FORMATS, Plot
from harness.report.plots.source import Unfit

__all__ = ["FORMATS", "KINDS", "Choice", "Kind", "Plot", "Unfit", "choose", "figures_for"]
