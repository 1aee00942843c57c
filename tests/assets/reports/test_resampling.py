"""The bootstrap over tasks: matrix sums against repeated rows, and against SciPy where it applies."""

import numpy as np
import pytest
from scipy import stats

from assets.reports.resampling import (
    Draws,
    PairMatrices,
    draw_tasks,
    interval,
    pooled_correlation,
    single_draw,
    source_correlations,
    weighted_median,
    within_target_correlation,
)


@pytest.fixture
def matrices():
    rng = np.random.default_rng(3)
    mask = 1.0 - np.eye(7)
    mask[2, 5] = mask[0, 6] = 0
    estimate, error = rng.uniform(size=(2, 7, 7))
    return PairMatrices(
        mask, estimate * mask, estimate * mask, (estimate + error) * mask, np.arange(7), np.arange(7)
    )


def repeated(matrices, draws, b):
    """Every pair as often as its source was drawn times its target."""
    w = np.outer(draws.sources[b], draws.targets[b]) * matrices.mask
    s, t = np.nonzero(w)
    times = w[s, t].astype(int)
    return (np.repeat(v, times) for v in (s, t, matrices.estimate[s, t], matrices.error[s, t]))


def test_every_statistic_equals_that_of_the_repeated_pairs(matrices):
    draws = draw_tasks(matrices, resamples=20, seed=0)
    args = (matrices.estimate, matrices.error, matrices.mask, draws)
    by_source, pooled, within = (
        source_correlations(*args),
        pooled_correlation(*args),
        within_target_correlation(*args),
    )
    for b in range(20):
        s, t, x, y = repeated(matrices, draws, b)
        assert pooled[b] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-10)
        means = {target: (x[t == target].mean(), y[t == target].mean()) for target in set(t)}
        dx = x - np.array([means[target][0] for target in t])
        dy = y - np.array([means[target][1] for target in t])
        assert within[b] == pytest.approx((dx * dy).sum() / np.sqrt((dx**2).sum() * (dy**2).sum()), abs=1e-10)
        for source in set(s):
            mine = s == source
            if len(set(t[mine])) >= 3:
                repeats = int(draws.sources[b, source])
                expected = np.corrcoef(x[mine][::repeats], y[mine][::repeats])[0, 1]
                assert by_source[b, source] == pytest.approx(expected, abs=1e-10)


def test_interval_of_one_source_agrees_with_scipys_bootstrap():
    rng = np.random.default_rng(5)
    x = rng.uniform(size=40)
    y = x + 0.4 * rng.normal(size=40)
    row = PairMatrices(np.ones((1, 40)), x[None], x[None], y[None], np.array([40]), np.arange(40))
    found = interval(
        source_correlations(x[None], y[None], row.mask, draw_tasks(row, resamples=8000, seed=0))[:, 0]
    )
    scipys = stats.bootstrap(
        (x, y), lambda a, b, axis: stats.pearsonr(a, b, axis=axis).statistic, paired=True,
        method="percentile", n_resamples=8000, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert (found.low, found.high) == pytest.approx((scipys.low, scipys.high), abs=0.02)


def test_duplicates_are_drawn_together(matrices):
    classes = np.array([0, 1, 2, 2, 3, 4, 5])
    twins = PairMatrices(matrices.mask, matrices.estimate, matrices.entropy, matrices.error, classes, classes)
    draws = draw_tasks(twins, resamples=50, seed=0)
    assert (draws.sources[:, 2] == draws.sources[:, 3]).all()
    assert (draws.sources == draws.targets).all()
    assert not (draws.sources[:, 0] == draws.sources[:, 1]).all()


def test_same_seed_same_draws(matrices):
    a, b = (draw_tasks(matrices, resamples=5, seed=7) for _ in range(2))
    assert (a.sources == b.sources).all()


def test_weighted_median_counts_repeats_and_skips_the_undefined():
    values = np.array([[3.0, 1.0, np.nan, 2.0], [3.0, 1.0, np.nan, 2.0], [np.nan] * 4])
    weights = np.array([[1.0, 1, 5, 1], [2.0, 1, 5, 1], [1.0, 1, 1, 1]])
    assert weighted_median(values, weights)[:2] == pytest.approx([2.0, 2.5])
    assert np.isnan(weighted_median(values, weights)[2])


def test_constant_estimate_is_undefined_and_gives_no_interval():
    flat = PairMatrices(np.ones((1, 5)), np.full((1, 5), 0.3), np.ones((1, 5)), np.arange(5.0)[None],
                        np.array([5]), np.arange(5))  # fmt: skip
    r = source_correlations(flat.estimate, flat.error, flat.mask, single_draw(flat))
    assert np.isnan(r).all()
    assert interval(r[:, 0]).low is None
    assert isinstance(single_draw(flat), Draws)
