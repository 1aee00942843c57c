"""Theorem 1: an equality for one-hot p_Z, a bound for any other, and a slack that two computations agree on."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score

from assets.probes.bound import empirical_conditional, theorem_1_bound
from assets.probes.source_head import CosineHead, LinearHead, StoredHead
from resources.errors import DataError


def _labels(seed: int, n: int = 400, n_source: int = 7) -> tuple[np.ndarray, np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    z = rng.integers(-1, n_source, n)
    y = np.stack([(z + rng.integers(0, k, n)) % k for k in (2, 3, 5)], axis=1)
    y[rng.random(y.shape) < 0.2] = -1
    return z, y, [2, 3, 5]


def _bound(head, z, y, n_values, rows=None, **options) -> pl.DataFrame:
    rows = np.ones(len(z), dtype=bool) if rows is None else rows
    names = [f"t{i}" for i in range(y.shape[1])]
    return theorem_1_bound(head, z, y, rows, targets=names, n_values=n_values, **options)


def _one_hot(z: np.ndarray, n_source: int) -> StoredHead:
    log_p = np.full((len(z), n_source), -np.inf)
    log_p[np.arange(len(z)), np.maximum(z, 0)] = 0.0
    return StoredHead(log_p)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_one_hot_source_makes_the_bound_an_equality(seed: int) -> None:
    z, y, n_values = _labels(seed)
    frame = _bound(_one_hot(z, 7), z, y, n_values)
    assert frame["slack"].abs().max() < 1e-12
    assert frame["slack_check"].abs().max() < 1e-12
    assert frame["n_violations"].sum() == 0
    np.testing.assert_allclose(frame["kbar_log_likelihood"], -frame["conditional_entropy"], atol=1e-12)


@given(st.integers(0, 10_000), st.sampled_from(["permuted", "smoothed", "other rows"]))
@settings(max_examples=20, deadline=None)
def test_any_other_conditional_falls_below_by_its_mean_divergence(seed: int, kind: str) -> None:
    z, y, n_values = _labels(seed)
    known = (z >= 0) & (y[:, 1] >= 0)
    true = empirical_conditional(z, y[:, 1], 7, 3)
    half = np.arange(len(z)) % 2 == 0
    other = {
        "permuted": true.p[np.random.default_rng(seed).permutation(7)],
        "smoothed": 0.9 * true.p + 0.1 / 3,
        "other rows": empirical_conditional(np.where(half, z, -1), y[:, 1], 7, 3).p * 0.999 + 0.001 / 3,
    }[kind]
    weight = np.bincount(z[known], minlength=7) / known.sum()
    ratio = np.log(np.where(true.p > 0, true.p, 1.0)) - np.log(other)
    divergence = (weight[:, None] * true.p * ratio).sum()
    likelihood = np.log(other[z[known], y[known, 1]]).mean()
    bound = _bound(_one_hot(z, 7), z, y, n_values).row(1, named=True)["kbar_log_likelihood"]
    assert likelihood == pytest.approx(bound - divergence, abs=1e-12)
    assert divergence >= 0


@given(st.integers(0, 10_000), st.floats(0.1, 300.0))
@settings(max_examples=25, deadline=None)
def test_the_bound_holds_row_by_row_and_the_slack_is_the_posterior_of_z(seed: int, sharpness: float) -> None:
    z, y, n_values = _labels(seed)
    logits = np.random.default_rng(seed).normal(size=(len(z), 7)) * sharpness
    log_p = torch.from_numpy(logits).log_softmax(1).numpy()
    frame = _bound(StoredHead(log_p), z, y, n_values)
    assert frame["n_violations"].sum() == 0
    assert frame["slack"].min() >= -1e-9
    np.testing.assert_allclose(frame["slack"], frame["slack_check"], rtol=1e-9, atol=1e-9)


def test_the_figures_are_those_of_the_formulae_written_out() -> None:
    z, y, n_values = _labels(3)
    log_p = torch.randn(len(z), 7, generator=torch.Generator().manual_seed(0)).double().log_softmax(1).numpy()
    rows = np.arange(len(z)) < 250
    frame = _bound(StoredHead(log_p), z, y, n_values, rows)
    for t in range(3):
        kept = [i for i in range(250) if z[i] >= 0 and y[i, t] >= 0]
        joint: dict[tuple[int, int], int] = {}
        for i in kept:
            joint[z[i], y[i, t]] = joint.get((z[i], y[i, t]), 0) + 1
        n_z = {value: sum(n for (a, _), n in joint.items() if a == value) for value in range(7)}
        l_z = sum(log_p[i, z[i]] for i in kept) / len(kept)
        kbar = np.mean(
            [
                np.log(sum(joint.get((v, y[i, t]), 0) / n_z[v] * np.exp(log_p[i, v]) for v in range(7)))
                for i in kept
            ]
        )
        row = frame.row(t, named=True)
        assert row["n"] == len(kept)
        assert row["source_log_likelihood"] == pytest.approx(l_z, abs=1e-12)
        assert row["kbar_log_likelihood"] == pytest.approx(kbar, abs=1e-12)
        counts = np.unique(y[kept, t], return_counts=True)[1] / len(kept)
        entropy = -(counts * np.log(counts)).sum() - mutual_info_score(z[kept], y[kept, t])
        assert row["conditional_entropy"] == pytest.approx(entropy, abs=1e-9)


def test_a_source_value_without_rows_takes_the_marginal() -> None:
    conditional = empirical_conditional(np.array([0, 0, 1, -1]), np.array([0, 1, 1, 0]), 3, 2)
    np.testing.assert_allclose(conditional.p, [[0.5, 0.5], [0.0, 1.0], [1 / 3, 2 / 3]])
    assert conditional.n == 3
    determined = empirical_conditional(np.array([0, 1]), np.array([0, 1]), 2, 2)
    assert str(determined.entropy) == "0.0"  # without a sign


def test_blocks_and_groups_of_targets_change_nothing() -> None:
    z, y, n_values = _labels(5)
    generator = torch.Generator().manual_seed(5)
    head = LinearHead(
        torch.randn(len(z), 4, generator=generator), torch.randn(7, 4, generator=generator), torch.zeros(7)
    )
    whole = _bound(head, z, y, n_values)
    pieces = _bound(head, z, y, n_values, memory_gb=1e-6)
    for name in ("source_log_likelihood", "kbar_log_likelihood", "slack", "slack_check"):
        np.testing.assert_allclose(whole[name], pieces[name], rtol=1e-6, atol=1e-7)


def test_a_wide_source_is_checked_on_spread_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assets.probes.bound._CHECKED_VALUES", 700)
    z, y, n_values = _labels(6)
    head = StoredHead(torch.randn(len(z), 7).double().log_softmax(1).numpy())
    frame = _bound(head, z, y, n_values)
    assert (frame["n_checked"] < frame["n"]).all()
    np.testing.assert_allclose(frame["slack"], frame["slack_check"], atol=1e-9)


def test_every_pair_of_a_wide_source_is_checked_on_rows_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows spread over all pairs at once could miss a pair with few rows, which then looked checked."""
    monkeypatch.setattr("assets.probes.bound._CHECKED_VALUES", 7 * 20)
    z, y, n_values = _labels(6)
    z[:3] = 1
    y[:, 0] = -1
    y[[1, 2], 0] = [0, 1]  # the first rows that are looked at are not among them
    log_p = torch.randn(len(z), 7, generator=torch.Generator().manual_seed(0)).double().log_softmax(1).numpy()
    frame = _bound(StoredHead(log_p), z, y, n_values)
    assert frame["n"][0] == 2
    assert frame["n_checked"][0] >= 1
    assert (frame["n_checked"] <= 40).all()
    pieces = _bound(StoredHead(log_p), z, y, n_values, memory_gb=1e-6)
    assert frame["n_checked"].equals(pieces["n_checked"])
    monkeypatch.setattr("assets.probes.bound._log_kbar", lambda *_: np.zeros(len(_[0])))
    broken = _bound(StoredHead(log_p), z, y, n_values)
    assert ((broken["slack"] - broken["slack_check"]).abs() > 0.01).all()


def test_a_real_network_on_digits() -> None:
    x, digit = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    model = LogisticRegression(tol=1e-2).fit(x[:1200], digit[:1200])
    head = LinearHead(
        x,
        torch.from_numpy(model.coef_.astype(np.float32)),
        torch.from_numpy(model.intercept_.astype(np.float32)),
    )
    y = np.stack([digit % 2, digit > 4, digit % 3], axis=1).astype(np.int32)
    frame = _bound(head, digit, y, [2, 2, 3], np.arange(len(x)) < 1200)
    assert frame["n_violations"].sum() == 0
    assert (frame["slack"] > 0).all()
    np.testing.assert_allclose(frame["slack"], frame["slack_check"], rtol=1e-9)
    expected = model.predict_log_proba(x[:1200])[np.arange(1200), digit[:1200]].mean()
    assert frame["source_log_likelihood"][0] == pytest.approx(expected, abs=1e-5)


def test_a_cosine_head_has_no_margin() -> None:
    x, weight = torch.randn(6, 3), torch.randn(4, 3)
    cosine = (x / x.norm(dim=1, keepdim=True)) @ (weight / weight.norm(dim=1, keepdim=True)).T
    expected = (64 * cosine).double().log_softmax(1)
    got = CosineHead(x, weight, 64.0).log_probabilities(np.arange(6))
    np.testing.assert_allclose(got, expected, atol=1e-4)
    np.testing.assert_allclose(np.exp(got).sum(1), 1, atol=1e-12)


def test_probabilities_too_small_for_float64_do_not_look_like_violations() -> None:
    z, y = np.array([0, 1, 0, 1]), np.array([[0], [1], [0], [1]])
    log_p = np.array([[-900.0, 0.0], [0.0, -900.0], [-900.0, 0.0], [0.0, -900.0]])
    frame = _bound(StoredHead(log_p), z, y, [2])
    assert frame.row(0, named=True)["kbar_log_likelihood"] == pytest.approx(-900)
    assert frame["n_violations"][0] == 0


def test_what_is_undefined_says_why() -> None:
    z, y, n_values = _labels(1)
    y[:, 0] = -1
    log_p = np.full((len(z), 7), -np.log(7))
    row = _bound(StoredHead(log_p), z, y, n_values).row(0, named=True)
    assert row["n"] == 0
    assert row["slack"] is None
    assert row["slack_check"] is None
    assert row["n_checked"] is None
    assert "both labels" in row["undefined_because"]
    headless = _bound(None, z, y, n_values)
    assert headless["slack"].null_count() == 3
    assert headless["conditional_entropy"][1] == pytest.approx(
        _bound(StoredHead(log_p), z, y, n_values)["conditional_entropy"][1]
    )
    assert "head" in headless["undefined_because"][1]


def test_codes_beyond_the_head_are_refused() -> None:
    with pytest.raises(DataError, match="head has 2"):
        _bound(StoredHead(np.zeros((1, 2))), np.array([2]), np.array([[0]]), [2])
