"""Statistics of measured figures: a typed face over harness._native.kernels and scipy.

summary.py     n, mean, sd, quantiles that n can carry; coefficient of variation
intervals.py   intervals of a mean, upper bound of a quantile
outliers.py    flags by scaled deviation from the median; nothing is ever dropped
steady.py      where a warm-up ends, and whether a series still moves after it
steps.py       where a series of runs changed its level
autocorrelation.py   what is left of n where successive values resemble one another

Of two arms, whose trials are the unit that counts:

trials.py        what may be compared: one figure a trial
contrasts.py     difference and ratio of means, with bounds by Student and by Fieller
shifts.py        what ranks say of it: Hodges–Lehmann, Cliff's delta
significance.py  tests, adjusted for a family; equivalence
shares.py        k of n with an interval
gate.py          regression, no regression, or so many more trials
ranks.py, power.py   what these rest on

Values are float64, finite (ValueError otherwise), in any order. numpy, scipy and the kernels are
imported by the functions that need them, so that importing this package is cheap.
"""

from harness.statistics.autocorrelation import lag1, n_eff
from harness.statistics.gate import GateDecision, gate
from harness.statistics.intervals import (
    GROUPS_MIN,
    VALUES_MIN,
    Interval,
    bootstrap_interval,
    needed_for_interval,
    needed_for_upper_bound,
    quantile_upper_bound,
    t_interval,
)
from harness.statistics.outliers import flag_outliers, scaled_deviations
from harness.statistics.power import power_of, trials_needed
from harness.statistics.shares import Share, clopper_pearson, needed_for_share
from harness.statistics.shifts import Shift, cliffs_delta, hodges_lehmann
from harness.statistics.significance import (
    Outcome,
    holm,
    mann_whitney,
    mcnemar,
    paired_t,
    tost,
    welch,
    wilcoxon,
)
from harness.statistics.steady import DRIFT_NEEDS, Drift, drift, mser5
from harness.statistics.steps import STEP_ALPHA, Step, Steps, find_steps, runs_for_a_step
from harness.statistics.summary import NEEDED, Description, cv_percent, describe

__all__ = [
    "DRIFT_NEEDS",
    "GROUPS_MIN",
    "NEEDED",
    "STEP_ALPHA",
    "VALUES_MIN",
    "Description",
    "Drift",
    "GateDecision",
    "Interval",
    "Outcome",
    "Share",
    "Shift",
    "Step",
    "Steps",
    "bootstrap_interval",
    "cliffs_delta",
    "clopper_pearson",
    "cv_percent",
    "describe",
    "drift",
    "find_steps",
    "flag_outliers",
    "gate",
    "hodges_lehmann",
    "holm",
    "lag1",
    "mann_whitney",
    "mcnemar",
    "mser5",
    "n_eff",
    "needed_for_interval",
    "needed_for_share",
    "needed_for_upper_bound",
    "paired_t",
    "power_of",
    "quantile_upper_bound",
    "runs_for_a_step",
    "scaled_deviations",
    "t_interval",
    "tost",
    "trials_needed",
    "welch",
    "wilcoxon",
]
