"""The logistic probes are LogisticRegression's, and their log-likelihood is scikit-learn's."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from assets.probes.logistic import fit_logistic_probes, log_likelihood


@pytest.mark.parametrize("c", [0.01, 1.0])
def test_each_target_is_the_logistic_regression_of_its_own_rows(narrow_digits, c) -> None:
    x, labels = narrow_digits.embedding, narrow_digits.labels[:, :5].copy()
    labels[np.random.default_rng(0).random(labels.shape) < 0.2] = -1
    fit = fit_logistic_probes(x, labels, C=c)
    assert fit.converged.all()
    for t in range(labels.shape[1]):
        known = labels[:, t] >= 0
        reference = LogisticRegression(C=c, tol=1e-9, max_iter=5000).fit(
            x[known].astype(np.float64), labels[known, t]
        )
        w, b = reference.coef_[0], reference.intercept_[0]
        margin = (2.0 * labels[known, t] - 1) * (x[known] @ w + b)
        objective = 0.5 * w @ w + c * np.logaddexp(0, -margin).sum()
        assert fit.objective[t] == pytest.approx(objective, rel=1e-6)
        np.testing.assert_allclose(fit.coef[:, t], w, atol=2e-3 * np.abs(w).max())
        assert fit.intercept[t] == pytest.approx(b, abs=2e-3 * (1 + abs(b)))


def test_log_likelihood_of_a_binary_and_of_a_multi_class_target(narrow_digits) -> None:
    x, digit = narrow_digits.embedding.astype(np.float64), narrow_digits.digit
    binary = LogisticRegression(max_iter=2000).fit(x, digit > 4)
    expected = binary.predict_log_proba(x)[np.arange(len(x)), (digit > 4).astype(int)].mean()
    got = log_likelihood(binary.decision_function(x)[:, None], np.array([0, 1]), (digit > 4).astype(int))
    assert got == pytest.approx(expected, abs=1e-9)
    many = OneVsRestClassifier(LogisticRegression(C=1e-3, max_iter=2000)).fit(x, digit)
    expected = np.log(many.predict_proba(x)[np.arange(len(x)), digit]).mean()
    assert log_likelihood(many.decision_function(x), np.arange(10), digit) == pytest.approx(
        expected, abs=1e-9
    )


def test_log_likelihood_without_rows_or_with_an_unseen_class_is_undefined() -> None:
    assert log_likelihood(np.zeros((2, 1)), np.array([0, 1]), np.array([-1, -1])) is None
    assert log_likelihood(np.zeros((2, 1)), np.array([0, 1]), np.array([0, 2])) is None
    assert log_likelihood(np.zeros((2, 0)), np.array([1]), np.array([1, -1])) == 0.0
