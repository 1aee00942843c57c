"""Correlation of two samples, with every way in which it can be undefined named; no frame is known here."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

MINIMUM_POINTS = 3
"""Two points always lie on a line: from three on a correlation says something."""


@dataclass(frozen=True)
class Association:
    """How two samples of equal length go together; all None but the reason where that is not defined.

    `weighted_tau` weighs exchanges at the top of the list more and therefore wants scores that grow as things
    get better: it is taken between the negated samples. It has no p-value.
    """

    n: int
    pearson_r: float | None = None
    pearson_p: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    spearman_r: float | None = None
    spearman_p: float | None = None
    kendall_tau: float | None = None
    kendall_p: float | None = None
    weighted_tau: float | None = None
    undefined_because: str | None = None


def is_constant(values: Array) -> bool:
    """Whether the values differ by no more than rounding, so that their variance is noise."""
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))


def why_undefined(x: Array, y: Array, *, x_name: str, y_name: str, points: str) -> str | None:
    """The reason for which x and y have no correlation, or None.

    Args:
        x: shape (n,), finite.
        y: shape (n,), finite.
        x_name: what x is called in the reason.
        y_name: what y is called in the reason.
        points: what the points are, in the plural ("targets with 2 values").
    """
    if len(x) < MINIMUM_POINTS:
        return f"a correlation needs at least {MINIMUM_POINTS} {points}; there are {len(x)}"
    for name, values in ((x_name, x), (y_name, y)):
        if is_constant(values):
            value = "0" if abs(float(values[0])) < 1e-12 else f"{values[0]:.4g}"
            return f"{name} is {value} for all {len(values)} {points}"
    return None


def defined(value: float) -> float | None:
    """`value` as a Python float, or None where it is not a number."""
    return None if math.isnan(value) else value


def associate(x: Array, y: Array, *, x_name: str, y_name: str, points: str) -> Association:
    """Pearson (with Fisher's 95 % interval), Spearman, Kendall's tau-b and weighted tau of two samples.

    Args:
        x: shape (n,), the estimate; lower means better.
        y: shape (n,), the measurement; lower means better.
        x_name: what x is called where the correlation is undefined.
        y_name: what y is called there.
        points: what the n points are, in the plural.
    """
    reason = why_undefined(x, y, x_name=x_name, y_name=y_name, points=points)
    if reason is not None:
        return Association(n=len(x), undefined_because=reason)
    pearson = stats.pearsonr(x, y)
    with np.errstate(invalid="ignore"):  # r = ±1 over three points: infinity less infinity, hence no interval
        interval = pearson.confidence_interval(0.95)
    spearman = stats.spearmanr(x, y)
    kendall = stats.kendalltau(x, y)
    weighted = stats.weightedtau(-x, -y)
    return Association(
        n=len(x),
        pearson_r=float(pearson.statistic),
        pearson_p=float(pearson.pvalue),
        ci_low=defined(float(interval.low)),
        ci_high=defined(float(interval.high)),
        spearman_r=defined(float(spearman.statistic)),
        spearman_p=defined(float(spearman.pvalue)),
        kendall_tau=defined(float(kendall.statistic)),
        kendall_p=defined(float(kendall.pvalue)),
        weighted_tau=defined(float(weighted.statistic)),
    )
