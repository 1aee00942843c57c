"""The correlations are SciPy's, and every way in which one can be undefined has its reason."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from assets.reports.association import associate, is_constant

X = np.array([0.1, 0.2, 0.4, 0.5, 0.9])
Y = np.array([0.02, 0.05, 0.04, 0.10, 0.16])


def between(x, y):
    return associate(
        np.asarray(x, float), np.asarray(y, float), x_name="estimate", y_name="error", points="targets"
    )


def test_pearson_and_fisher_interval_by_hand():
    found = between(X, Y)
    r = ((X - X.mean()) * (Y - Y.mean())).sum() / np.sqrt(
        ((X - X.mean()) ** 2).sum() * ((Y - Y.mean()) ** 2).sum()
    )
    half = 1.959963984540054 / np.sqrt(len(X) - 3)
    assert found.pearson_r == pytest.approx(r, abs=1e-12)
    assert (found.ci_low, found.ci_high) == pytest.approx(
        (np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half)), abs=1e-9
    )
    t = r * np.sqrt(3 / (1 - r**2))
    assert found.pearson_p == pytest.approx(2 * stats.t.sf(t, 3), rel=1e-9)


def test_rank_correlations_by_hand():
    # Of the ten pairs one is discordant: (0.2, 0.05) and (0.4, 0.04).
    found = between(X, Y)
    assert found.kendall_tau == pytest.approx((9 - 1) / 10)
    assert found.spearman_r == pytest.approx(1 - 6 * 2 / (5 * 24))


def test_weighted_tau_weighs_the_best_and_not_the_worst():
    # The same single exchange, once among the two smallest errors (the best) and once among the two largest.
    x = np.arange(8.0)
    best, worst = x.copy(), x.copy()
    best[[0, 1]] = best[[1, 0]]
    worst[[6, 7]] = worst[[7, 6]]
    assert between(x, best).weighted_tau < between(x, worst).weighted_tau


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ([1, 2], [1, 2], "at least 3 targets; there are 2"),
        ([], [], "there are 0"),
        ([0, 0, 0], [1, 2, 3], "estimate is 0 for all 3 targets"),
        ([1, 2, 3], [0.25, 0.25, 0.25], "error is 0.25 for all 3 targets"),
        ([0.3, 0.3 + 1e-17, 0.3 - 5e-17], [1, 2, 3], "estimate is 0.3 for all 3 targets"),
    ],
)
def test_undefined_has_a_reason_and_no_number(x, y, reason):
    found = between(x, y)
    assert reason in found.undefined_because
    assert found.pearson_r is None
    assert found.weighted_tau is None


def test_a_perfect_line_has_r_one_and_no_nan():
    found = between([1, 2, 3], [2, 4, 6])
    assert found.pearson_r == pytest.approx(1)
    assert not any(isinstance(value, float) and np.isnan(value) for value in vars(found).values())


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=30))
def test_never_nan_and_always_within_bounds(points):
    x, y = (np.array([point[i] for point in points], float) for i in (0, 1))
    found = between(x, y)
    numbers = [value for value in vars(found).values() if isinstance(value, float)]
    assert not any(np.isnan(numbers))
    if found.undefined_because is None:
        assert found.ci_low is None or -1 <= found.ci_low <= found.pearson_r + 1e-12
        assert found.ci_high is None or found.pearson_r - 1e-12 <= found.ci_high <= 1
        assert not is_constant(x)
    else:
        assert found.pearson_r is None
