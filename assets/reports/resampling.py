"""Bootstrap over tasks: what the correlations would be, had other tasks been asked about. Arrays only.

Pairs share their source or their target and are no independent observations, so tasks are drawn, not pairs: a
pair (s, t) then counts as often as s was drawn times as often as t was. Tasks that are one another's
duplicate are drawn together. SciPy's bootstrap resamples observations and has no form for such a two-way
array; the sums below do it as matrix products, for all resamples at once.
"""

from dataclasses import dataclass

import numpy as np

from assets.reports.association import Array


@dataclass(frozen=True)
class PairMatrices:
    """One group of pairs as matrices of S sources by T targets; entries outside `mask` are 0 and unused.

    Attributes:
        mask: (S, T), 1.0 where the pair counts, else 0.0.
        estimate: (S, T), H(Y|Z) in nats.
        entropy: (S, T), H(Y) on the same rows, in nats.
        error: (S, T), measured test error.
        source_class: (S,), the source's class of equivalent tasks.
        target_class: (T,), the target's class, in the same numbering.
    """

    mask: Array
    estimate: Array
    entropy: Array
    error: Array
    source_class: np.ndarray
    target_class: np.ndarray


@dataclass(frozen=True)
class Draws:
    """How often every source, shape (B, S), and every target, shape (B, T), was drawn in B resamples."""

    sources: Array
    targets: Array


@dataclass(frozen=True)
class Interval:
    """A 95 % percentile interval; both ends None where the statistic is not defined in the resamples."""

    low: float | None
    high: float | None


def draw_tasks(matrices: PairMatrices, *, resamples: int, seed: int) -> Draws:
    """Draw as many classes of tasks as there are, with replacement, `resamples` times."""
    classes, codes = np.unique(
        np.concatenate([matrices.source_class, matrices.target_class]), return_inverse=True
    )
    k = len(classes)
    counts = np.random.default_rng(seed).multinomial(k, np.full(k, 1 / k), size=resamples).astype(np.float64)
    n_sources = len(matrices.source_class)
    return Draws(sources=counts[:, codes[:n_sources]], targets=counts[:, codes[n_sources:]])


def single_draw(matrices: PairMatrices) -> Draws:
    """Every task once: the statistics of the data itself, through the same sums."""
    n_sources, n_targets = matrices.mask.shape
    return Draws(sources=np.ones((1, n_sources)), targets=np.ones((1, n_targets)))


def _correlation(n: Array, x: Array, y: Array, xx: Array, yy: Array, xy: Array) -> Array:
    """Pearson's r from (weighted) sums; NaN where either variance is nothing but rounding."""
    with np.errstate(divide="ignore", invalid="ignore"):
        variance_x, variance_y = xx - x * x / n, yy - y * y / n
        r = (xy - x * y / n) / np.sqrt(variance_x * variance_y)
        degenerate = (variance_x <= 1e-12 * xx) | (variance_y <= 1e-12 * yy) | ~np.isfinite(r)
    return np.where(degenerate, np.nan, np.clip(r, -1, 1))


def _centred(values: Array, mask: Array) -> Array:
    """Values less their row mean over the mask, for the sake of rounding; r within a row does not change."""
    n = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    centred: Array = (values - (values * mask).sum(axis=1, keepdims=True) / n) * mask
    return centred


def source_correlations(x: Array, y: Array, mask: Array, draws: Draws) -> Array:
    """For every resample and source, Pearson's r over the targets: shape (B, S), NaN where undefined."""
    x, y, weights = _centred(x, mask), _centred(y, mask), draws.targets
    sums = [weights @ part.T for part in (mask, x, y, x * x, y * y, x * y)]
    distinct = (weights > 0).astype(np.float64) @ mask.T
    return np.where(distinct >= 3, _correlation(*sums), np.nan)


def pooled_correlation(x: Array, y: Array, mask: Array, draws: Draws) -> Array:
    """For every resample, Pearson's r over all pairs: shape (B,), NaN where undefined."""
    total = max(mask.sum(), 1)
    x, y = (x - (x * mask).sum() / total) * mask, (y - (y * mask).sum() / total) * mask
    sums = [
        ((draws.sources @ part) * draws.targets).sum(axis=1) for part in (mask, x, y, x * x, y * y, x * y)
    ]
    return _correlation(*sums)


def within_target_correlation(x: Array, y: Array, mask: Array, draws: Draws) -> Array:
    """For every resample, r over all pairs less each target's mean: do sources rank? Shape (B,)."""
    x, y = _centred(x.T, mask.T).T, _centred(y.T, mask.T).T
    n, sx, sy, sxx, syy, sxy = (draws.sources @ part for part in (mask, x, y, x * x, y * y, x * y))
    n = np.maximum(n, 1)
    sums = [
        (draws.targets * part).sum(axis=1)
        for part in (sxx - sx * sx / n, syy - sy * sy / n, sxy - sx * sy / n)
    ]
    zero = np.zeros(len(draws.sources))
    return _correlation(zero + 1, zero, zero, *sums)


def weighted_median(values: Array, weights: Array) -> Array:
    """Row medians of `values` (B, S), each entry counted `weights` times, NaN left out. Shape (B,)."""
    weights = np.where(np.isnan(values), 0, weights)
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    cumulated = np.take_along_axis(weights, order, axis=1).cumsum(axis=1)
    half = cumulated[:, -1:] / 2
    low = np.take_along_axis(ordered, (cumulated >= half - 1e-9).argmax(axis=1)[:, None], axis=1)[:, 0]
    high = np.take_along_axis(ordered, (cumulated > half + 1e-9).argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.where(half[:, 0] > 0, (low + high) / 2, np.nan)


def interval(values: Array) -> Interval:
    """95 % percentile interval of the resampled values (B,), provided at least nine in ten are defined."""
    known = values[~np.isnan(values)]
    if len(known) < max(2, 0.9 * len(values)):
        return Interval(None, None)
    low, high = np.quantile(known, [0.025, 0.975])
    return Interval(float(low), float(high))
