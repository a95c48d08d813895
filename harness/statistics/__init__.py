"""Statistics of measured figures: a typed face over harness._native.kernels and scipy.

summary.py     n, mean, sd, quantiles that n can carry; coefficient of variation
intervals.py   intervals of a mean, upper bound of a quantile
outliers.py    flags by scaled deviation from the median; nothing is ever dropped

Values are float64, finite (ValueError otherwise), in any order. numpy, scipy and the kernels are
imported by the functions that need them, so that importing this package is cheap.
"""

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
from harness.statistics.summary import NEEDED, Description, cv_percent, describe

__all__ = [
    "GROUPS_MIN",
    "NEEDED",
    "VALUES_MIN",
    "Description",
    "Interval",
    "bootstrap_interval",
    "cv_percent",
    "describe",
    "flag_outliers",
    "needed_for_interval",
    "needed_for_upper_bound",
    "quantile_upper_bound",
    "scaled_deviations",
    "t_interval",
]
