"""The least-squares line with its 95 % confidence band, as figures and page draw it."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from assets.reports.association import Array, is_constant


@dataclass(frozen=True)
class Band:
    """Regression line and its 95 % confidence band over a grid of x, each of shape (points,)."""

    x: Array
    mean: Array
    low: Array
    high: Array


def regression_band(x: Array, y: Array, *, points: int = 25) -> Band | None:
    """The line of y on x and the 95 % confidence band of its mean (Student's t, n − 2 degrees of freedom).

    Args:
        x: shape (n,).
        y: shape (n,).
        points: size of the grid from the least to the greatest x.

    Returns:
        The band, or None for fewer than three points or a constant x.
    """
    if len(x) < 3 or is_constant(x):
        return None
    fit = stats.linregress(x, y)
    grid = np.linspace(x.min(), x.max(), points)
    mean = fit.intercept + fit.slope * grid
    variance = ((y - fit.intercept - fit.slope * x) ** 2).sum() / (len(x) - 2)
    spread = 1 / len(x) + (grid - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
    margin = stats.t.ppf(0.975, len(x) - 2) * np.sqrt(variance * spread)
    return Band(x=grid, mean=mean, low=mean - margin, high=mean + margin)
