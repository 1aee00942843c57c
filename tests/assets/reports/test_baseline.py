"""Williams' test and the partial correlation against published and independent values."""

import numpy as np
import pytest
from scipy import stats

from assets.reports.baseline import compare_with_entropy, partial_correlation, williams_test


def test_williams_on_steigers_published_example():
    # Steiger (1980), case A, as in the manual of R's psych::r.test(103, .4, .5, .1): t = -0.89, p = 0.37.
    t, p = williams_test(0.4, 0.5, 0.1, 103)
    assert t == pytest.approx(-0.89, abs=0.005)
    assert p == pytest.approx(0.37, abs=0.005)


def test_williams_holds_its_level_when_both_predict_equally():
    rng = np.random.default_rng(1)
    rejected, trials, n = 0, 2000, 28
    for _ in range(trials):
        common, a, b, noise = rng.normal(size=(4, n))
        r = np.corrcoef([common + 0.5 * a, common + 0.5 * b, common + noise])
        rejected += williams_test(r[0, 2], r[1, 2], r[0, 1], n)[1] < 0.05
    assert rejected / trials == pytest.approx(0.05, abs=0.015)


def test_partial_correlation_is_that_of_the_residuals():
    rng = np.random.default_rng(0)
    h = rng.uniform(size=30)
    x, e = h + 0.3 * rng.normal(size=30), h + 0.3 * rng.normal(size=30)
    r = np.corrcoef([x, h, e])
    value, p = partial_correlation(r[0, 2], r[1, 2], r[0, 1], 30)

    def left(v):
        return v - np.polyval(np.polyfit(h, v, 1), h)

    expected = stats.pearsonr(left(x), left(e)).statistic
    assert value == pytest.approx(expected, abs=1e-12)
    assert p == pytest.approx(2 * stats.t.sf(abs(expected) * np.sqrt(27 / (1 - expected**2)), 27), rel=1e-9)


def test_undefined_where_the_entropy_does_not_vary_or_is_the_estimate():
    error = np.array([0.1, 0.2, 0.3, 0.25])
    flat = compare_with_entropy(error * 2, np.full(4, 0.69), error)
    assert flat.entropy_r is None
    assert flat.partial_r is None
    same = compare_with_entropy(np.array([1.0, 2, 3, 5]), np.array([1.0, 2, 3, 5]), error)
    assert same.difference == pytest.approx(0)
    assert same.williams_p is None
    assert same.partial_r is None
