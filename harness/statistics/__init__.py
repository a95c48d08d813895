"""Statistics of measured figures: a typed face over harness._native.kernels and scipy.

summary.py     n, mean, sd, quantiles that n can carry; coefficient of variation
intervals.py   intervals of a mean, upper bound of a quantile
outliers.py    flags by scaled deviation from the median; nothing is ever dropped
steady.py      where a warm-up ends, and whether a series still moves after it
autocorrelation.py   what is left of n where successive values resemble one another

Values are float64, finite (ValueError otherwise), in any order. numpy, scipy and the kernels are
imported by the functions that need them, so that importing this package is cheap.
"""

from harness.statistics.autocorrelation import lag1, n_eff
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
from harness.statistics.steady import DRIFT_NEEDS, Drift, drift, mser5
from harness.statistics.summary import NEEDED, Description, cv_percent, describe

__all__ = [
    "DRIFT_NEEDS",
    "GROUPS_MIN",
    "NEEDED",
    "VALUES_MIN",
    "Description",
    "Drift",
    "Interval",
    "bootstrap_interval",
    "cv_percent",
    "describe",
    "drift",
    "flag_outliers",
    "lag1",
    "mser5",
    "n_eff",
    "needed_for_interval",
    "needed_for_upper_bound",
    "quantile_upper_bound",
    "scaled_deviations",
    "t_interval",
]
