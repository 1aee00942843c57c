"""The batched SVMs are LinearSVC's: objective, gradient, coefficients, predictions; and say so where they are not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import LinearSVC

from assets.probes import prepared
from assets.probes.dense_newton import dense_newton
from assets.probes.exact_steps import are_few
from assets.probes.linear_svm import fit_linear_svms
from assets.probes.logistic import fit_logistic_probes
from assets.probes.losses import Logistic, SquaredHinge
from assets.probes.prepared import PreparedEmbedding
from assets.probes.problem import Problem, evaluate
from assets.probes.quasi_newton import descend
from assets.probes.rows import Rows
from assets.probes.spectrum import spectrum_of
from resources.errors import DataError


def _objective(x, labels, w, b, c=1.0) -> tuple[float, float]:
    """LinearSVC's objective and its gradient's norm, written out in float64."""
    known = labels >= 0
    x, y = x[known].astype(np.float64), 2.0 * labels[known] - 1
    violation = np.maximum(0, 1 - y * (x @ w + b))
    pull = -2 * c * violation * y
    gradient = np.concatenate([w + x.T @ pull, [b + pull.sum()]])
    return 0.5 * w @ w + 0.5 * b * b + c * (violation**2).sum(), float(np.linalg.norm(gradient))


def _check_against_linear_svc(x, labels, fit, c, train, rtol=1e-6) -> None:
    for t in range(labels.shape[1]):
        known = train & (labels[:, t] >= 0)
        svc = LinearSVC(C=c, dual=False, tol=1e-6, max_iter=3000).fit(x[known], labels[known, t])
        theirs = _objective(
            x[known], labels[known, t], svc.coef_[0].astype(np.float64), float(svc.intercept_[0]), c
        )[0]
        ours, norm = _objective(x[known], labels[known, t], fit.coef[:, t], fit.intercept[t], c)
        assert ours == pytest.approx(fit.objective[t], rel=1e-9)
        assert norm == pytest.approx(fit.gradient_norm[t], rel=1e-3, abs=1e-9)
        assert ours <= theirs * (1 + rtol)
        assert ours - 0.5 * norm**2 <= theirs * (1 + 1e-12)
        np.testing.assert_allclose(fit.coef[:, t], svc.coef_[0], atol=2e-3 * np.abs(svc.coef_).max())
        assert ((fit.decide(x[~train])[:, t] > 0) != svc.predict(x[~train])).sum() <= 1


def test_each_target_is_the_linear_svc_of_its_own_rows(narrow_digits) -> None:
    labels = narrow_digits.labels.copy()
    labels[np.random.default_rng(0).random(labels.shape) < 0.2] = -1
    train = narrow_digits.is_train
    fit = fit_linear_svms(narrow_digits.embedding[train], labels[train])
    assert fit.converged.all()
    _check_against_linear_svc(narrow_digits.embedding, labels, fit, 1.0, train)


@pytest.mark.slow
def test_wide_embeddings_with_separable_targets(digits) -> None:
    train = digits.is_train
    fit = fit_linear_svms(digits.embedding[train], digits.labels[train, :2])
    assert fit.converged.all()
    _check_against_linear_svc(digits.embedding, digits.labels[:, :2], fit, 1.0, train)


@pytest.mark.parametrize("c", [1e-3, 1e-1, 10.0, 1e3])
def test_every_c_is_certified_in_float64(narrow_digits, c) -> None:
    x, labels = narrow_digits.embedding, narrow_digits.labels
    fit = fit_linear_svms(x, labels, C=c)
    assert fit.converged.all()
    for t in range(labels.shape[1]):
        objective, norm = _objective(x, labels[:, t], fit.coef[:, t], fit.intercept[t], c)
        assert 0.5 * norm**2 <= 1.01e-7 * objective


@pytest.mark.parametrize("c", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("kind", ["badly scaled", "collinear", "separable", "fewer rows than features"])
def test_hard_embeddings_converge(digits, narrow_digits, kind, c) -> None:
    x, labels = narrow_digits.embedding, narrow_digits.labels
    if kind == "badly scaled":
        x = x * np.logspace(-3, 3, x.shape[1], dtype=np.float32)
    elif kind == "collinear":
        x = np.concatenate([x, x @ np.ones((x.shape[1], 3), np.float32), 1.5 * x[:, :9]], axis=1)
    elif kind == "separable":
        x, labels = digits.embedding, digits.labels[:, [0, 3, 6]]
    else:
        x, labels = digits.embedding[:200], digits.labels[:200]
    fit = fit_linear_svms(x, labels, C=c)
    assert fit.converged.all()
    for t in range(labels.shape[1]):
        objective, norm = _objective(x, labels[:, t], fit.coef[:, t], fit.intercept[t], c)
        assert 0.5 * norm**2 <= 1.01e-7 * objective


def test_a_target_does_not_depend_on_its_batch(narrow_digits) -> None:
    x, labels = narrow_digits.embedding, narrow_digits.labels
    together = fit_linear_svms(x, labels)
    grouped = fit_linear_svms(x, labels, memory_gb=1e-9)
    alone = [fit_linear_svms(x, labels[:, [t]]).objective[0] for t in range(labels.shape[1])]
    np.testing.assert_allclose(together.objective, grouped.objective, rtol=1e-6)
    np.testing.assert_allclose(together.objective, alone, rtol=1e-6)


def test_c_may_differ_between_targets_and_a_start_saves_work(narrow_digits) -> None:
    x, labels = narrow_digits.embedding, narrow_digits.labels[:, :3]
    c = np.array([0.01, 1.0, 5.0])
    fit = fit_linear_svms(x, labels, C=c)
    for t in range(3):
        alone = fit_linear_svms(x, labels[:, [t]], C=c[t])
        np.testing.assert_allclose(fit.objective[t], alone.objective[0], rtol=1e-6)
    again = fit_linear_svms(x, labels, C=c, start=fit.weights)
    assert again.products < 0.5 * fit.products
    np.testing.assert_allclose(again.objective, fit.objective, rtol=1e-6)


def _few_rows(digits) -> tuple[np.ndarray, np.ndarray]:
    """A fifth of the rows, some of them twice, and a fifth of the labels missing: more features than rows."""
    rows = np.r_[0:300, 0:100]
    labels = digits.labels[rows, :4].astype(np.int64)
    labels[np.random.default_rng(5).random(labels.shape) < 0.2] = -1
    return np.ascontiguousarray(digits.embedding[rows]), labels


@pytest.mark.parametrize("c", [1e-3, 1.0])
def test_few_rows_are_solved_exactly(digits, c) -> None:
    x, labels = _few_rows(digits)
    assert are_few(*x.shape)
    fit = fit_linear_svms(x, labels, C=c, tol=1e-9)
    assert fit.converged.all()
    for t in range(labels.shape[1]):
        known = labels[:, t] >= 0
        svc = LinearSVC(C=c, tol=1e-8, max_iter=20_000, random_state=0).fit(x[known], labels[known, t])
        reached, _ = _objective(x, labels[:, t], svc.coef_[0], svc.intercept_[0], c)
        assert fit.objective[t] <= reached * (1 + 1e-8)
        np.testing.assert_allclose(fit.coef[:, t], svc.coef_[0], atol=2e-4 * np.abs(svc.coef_).max())


def test_few_rows_with_a_large_c_are_certified_where_liblinear_gives_up(digits) -> None:
    x, labels = _few_rows(digits)
    fit = fit_linear_svms(x, labels, C=1e3, tol=1e-9)
    for t in range(labels.shape[1]):
        objective, norm = _objective(x, labels[:, t], fit.coef[:, t], fit.intercept[t], 1e3)
        assert objective == pytest.approx(fit.objective[t], rel=1e-9)
        assert 0.5 * norm**2 <= 1.01e-9 * objective


def test_logistic_weights_are_a_start_that_changes_only_the_way_there(digits) -> None:
    x, labels = _few_rows(digits)
    alone = fit_linear_svms(x, labels, tol=1e-9)
    for length in (1e-3, 1.0, 1e3):
        start = length * fit_logistic_probes(x, labels).weights
        from_there = fit_linear_svms(x, labels, tol=1e-9, start=start)
        assert from_there.converged.all()
        np.testing.assert_allclose(from_there.objective, alone.objective, rtol=1e-8)


def test_memory_maps_and_tensors_are_taken_as_they_are(narrow_digits, tmp_path) -> None:
    x, labels = narrow_digits.embedding, narrow_digits.labels
    np.save(tmp_path / "x.npy", x)
    mapped = fit_linear_svms(np.load(tmp_path / "x.npy", mmap_mode="r"), labels)
    tensors = fit_linear_svms(torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64)))
    np.testing.assert_array_equal(mapped.coef, tensors.coef)


def test_a_prepared_embedding_has_its_spectrum_found_once(narrow_digits, monkeypatch) -> None:
    x, labels = narrow_digits.embedding, narrow_digits.labels
    alone = [fit(x, labels) for fit in (fit_linear_svms, fit_logistic_probes)]
    found = []
    monkeypatch.setattr(prepared, "spectrum_of", lambda rows: found.append(rows) or spectrum_of(rows))
    shared = PreparedEmbedding(x)
    for before, fit in zip(alone, (fit_linear_svms, fit_logistic_probes), strict=True):
        again = fit(shared, labels)
        np.testing.assert_array_equal(again.coef, before.coef)
        assert again.products == before.products
    assert len(found) == 1
    with pytest.raises(DataError, match="prepared for cpu, not for meta"):
        fit_linear_svms(shared, labels, device="meta")
    with pytest.raises(DataError, match="row 3"):
        PreparedEmbedding(np.where(np.arange(len(x))[:, None] == 3, np.float32(np.nan), x))


def test_a_single_class_is_predicted_and_marked(narrow_digits) -> None:
    x = narrow_digits.embedding
    labels = np.stack(
        [np.ones(len(x)), np.zeros(len(x)), np.full(len(x), -1), narrow_digits.labels[:, 0]], axis=1
    )
    labels[:5, 0] = -1
    fit = fit_linear_svms(x, labels.astype(np.int8))
    assert fit.constant.tolist() == [True, True, True, False]
    assert fit.intercept[:3].tolist() == [1, -1, 0]
    assert not fit.coef[:, :3].any()
    assert np.isfinite(fit.objective).all()
    assert fit_linear_svms(x, np.zeros((len(x), 0), np.int8)).coef.shape == (x.shape[1], 0)


@given(st.integers(0, 10_000), st.integers(3, 60), st.integers(1, 12), st.floats(-3, 3))
@settings(max_examples=25, deadline=None)
def test_any_small_problem_is_certified_or_said_not_to_be(seed, n, d, log_c) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, d)) * rng.lognormal(sigma=2, size=d)).astype(np.float32)
    labels = rng.integers(-1, 2, (n, 3)).astype(np.int8)
    fit = fit_linear_svms(x, labels, C=10.0**log_c)
    for t in np.flatnonzero(~fit.constant):
        objective, norm = _objective(x, labels[:, t], fit.coef[:, t], fit.intercept[t], 10.0**log_c)
        assert fit.converged[t] == (0.5 * fit.gradient_norm[t] ** 2 <= 1e-7 * fit.objective[t])
        assert norm == pytest.approx(fit.gradient_norm[t], rel=1e-3, abs=1e-7)
        assert objective <= 10.0**log_c * (labels[:, t] >= 0).sum() * (1 + 1e-9)


def _between(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings with about twice as many rows as features, where supports change by a few rows at every step."""
    n, d = (1200, 512) if kind == "1200 × 512" else (400, 200)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32)
    if kind == "scaled and collinear":
        x[:, 100:] = x[:, :100] @ rng.normal(size=(100, 100)).astype(np.float32)
        x *= np.logspace(-3, 3, d, dtype=np.float32)
    labels = (x @ rng.normal(size=(d, 3)) + 5 * x.std() * rng.normal(size=(n, 3)) > 0).astype(np.int8)
    labels[:, 1] = rng.integers(0, 2, n)
    labels[:, 2] = rng.random(n) < 0.1
    return x, labels


@pytest.mark.parametrize("c", [1e-3, 1.0, 100.0, 1e3])
@pytest.mark.parametrize("kind", ["1200 × 512", "400 × 200", "scaled and collinear"])
def test_twice_as_many_rows_as_features_converge_at_every_c(kind, c) -> None:
    x, labels = _between(kind)
    fit = fit_linear_svms(x, labels, C=c)
    assert fit.converged.all()
    for t in range(labels.shape[1]):
        objective, norm = _objective(x, labels[:, t], fit.coef[:, t], fit.intercept[t], c)
        assert objective == pytest.approx(fit.objective[t], rel=1e-9)
        assert 0.5 * norm**2 <= 1.01e-7 * objective


@pytest.mark.parametrize("n_targets", [1, 3])
def test_whole_hessians_find_the_minimum_by_themselves(n_targets) -> None:
    x, labels = _between("400 × 200")
    rows = Rows(torch.from_numpy(x), torch.device("cpu"), torch.float64)
    signs = (2 * torch.from_numpy(labels[:, :n_targets]) - 1).T.contiguous().T
    problem = Problem(rows, signs, torch.full((n_targets,), 30.0, dtype=torch.float64), SquaredHinge())
    weights, steps = dense_newton(problem, torch.zeros(201, n_targets, dtype=torch.float64), 1e-14)
    objective, norm = evaluate(problem, weights)
    assert steps < 300
    assert bool((0.5 * norm.square() <= 1e-14 * objective).all())


@pytest.mark.parametrize("loss", [SquaredHinge(), Logistic()])
def test_quasi_newton_steps_reach_the_minimum_or_name_the_target(narrow_digits, loss) -> None:
    x = torch.from_numpy(narrow_digits.embedding)
    rows = Rows(x, torch.device("cpu"))
    signs = (2 * torch.from_numpy(narrow_digits.labels.astype(np.int8)) - 1).T.contiguous().T
    n_targets = signs.shape[1]
    problem = Problem(rows, signs, torch.ones(n_targets, dtype=torch.float64), loss)
    start = torch.zeros(x.shape[1] + 1, n_targets, dtype=torch.float64)
    found = descend(problem, start, 1e-5, spectrum_of(rows))
    objective, norm = evaluate(problem, found.weights)
    arrived = 0.5 * norm.square() <= 1.1e-5 * objective
    assert bool((arrived | found.slow).all())
    assert bool((objective < evaluate(problem, start)[0]).all())
    assert bool(arrived.any())


def _mistakes(x: np.ndarray, labels: np.ndarray) -> dict[str, tuple[dict[str, object], str]]:
    bad, huge = x.copy(), x.copy()
    bad[7, 3], huge[9, 0] = np.nan, 1e30
    infinite = x.copy()
    infinite[11, 1] = -np.inf
    return {
        "float64": ({"embedding": x.astype(np.float64)}, "float32"),
        "too few rows": ({"embedding": x[:10]}, "same n"),
        "one dimension": ({"embedding": x[:, 0]}, "two dimensions"),
        "a list": ({"embedding": x.tolist()}, "embedding is a list"),
        "text": ({"labels": labels.astype(str)}, "labels is of <U"),
        "not a number": ({"embedding": bad}, "row 7"),
        "infinite": ({"embedding": infinite}, "row 11"),
        "overflowing": ({"embedding": huge}, "row 9"),
        "multi-class": ({"labels": labels + 1}, "one-vs-rest"),
        "float labels": ({"labels": labels.astype(np.float32)}, "integers 0 and 1"),
        "C of zero": ({"C": 0.0}, "C must"),
        "C without end": ({"C": np.inf}, "C must"),
        "C of another length": ({"C": np.ones(3)}, "one for each of"),
        "tol of zero": ({"tol": 0.0}, "tol is 0"),
        "memory not a number": ({"memory_gb": np.nan}, "memory_gb is nan"),
        "start of another shape": ({"start": torch.zeros(2, 2)}, "start"),
        "start not a number": ({"start": torch.full((x.shape[1] + 1, labels.shape[1]), torch.nan)}, "start"),
    }


@pytest.mark.parametrize(
    "mistake", list(_mistakes(np.zeros((20, 4), np.float32), np.zeros((20, 2), np.int8)))
)
@pytest.mark.parametrize("fit", [fit_linear_svms, fit_logistic_probes])
def test_mistakes_are_named_in_one_line(narrow_digits, mistake, fit) -> None:
    right = {"embedding": narrow_digits.embedding, "labels": narrow_digits.labels}
    wrong, message = _mistakes(*right.values())[mistake]
    arguments = right | wrong
    with pytest.raises(DataError, match=message) as raised:
        fit(arguments.pop("embedding"), arguments.pop("labels"), **arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("form", ["reversed", "big-endian", "read-only", "needs a gradient", "column-major"])
def test_any_layout_of_the_same_numbers_gives_the_same_probes(narrow_digits, form) -> None:
    x, labels = narrow_digits.embedding, narrow_digits.labels
    expected = fit_linear_svms(x, labels)
    if form == "reversed":
        x, labels = x[::-1].copy()[::-1], labels[::-1].copy()[::-1]
    elif form == "big-endian":
        x, labels = x.astype(">f4"), labels.astype(">i4")
    elif form == "read-only":
        x = x.copy()
        x.flags.writeable = False
    elif form == "needs a gradient":
        x = torch.from_numpy(x).requires_grad_()
    else:
        x, labels = np.asfortranarray(x), np.asfortranarray(labels.astype(np.uint16))
    np.testing.assert_allclose(fit_linear_svms(x, labels).objective, expected.objective, rtol=1e-6)
