"""The probes of one source: scikit-learn's pipeline for every target, be it binary, multi-class or constant."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from assets.probes.probe import PROBE_SCHEMA, probe_targets
from assets.settings import ProbeSettings
from resources.errors import DataError

NAMES = ["three", "odd", "digit", "three values", "always", "never known", "no test"]
N_VALUES = [2, 2, 10, 3, 2, 2, 2]


@pytest.fixture(scope="module")
def codes(narrow_digits) -> np.ndarray:
    digit, n = narrow_digits.digit, len(narrow_digits.digit)
    columns = [digit == 3, digit % 2, digit, digit % 2 * 2, np.ones(n), np.full(n, -1), digit == 1]
    out = np.stack(columns, axis=1).astype(np.int32)
    out[np.random.default_rng(2).random(n) < 0.15, 1] = -1
    out[~narrow_digits.is_train, 6] = -1
    return out


def _probe(digits, codes, embedding=None, **options):
    x = 3 + 2 * digits.embedding if embedding is None else embedding
    options = {"settings": ProbeSettings(), **options}
    train = digits.is_train
    return probe_targets(x, codes, train, ~train, targets=NAMES, n_values=N_VALUES, **options).frame


def test_errors_are_those_of_scikit_learn(narrow_digits, codes) -> None:
    frame = _probe(narrow_digits, codes)
    assert frame.schema == PROBE_SCHEMA
    x, train = 3 + 2 * narrow_digits.embedding, narrow_digits.is_train
    for t in range(4):
        row, known = frame.row(t, named=True), codes[:, t] >= 0
        pipeline = make_pipeline(
            StandardScaler().fit(x[train]), LinearSVC(dual=False, tol=1e-6, max_iter=5000)
        )
        pipeline[-1].fit(pipeline[0].transform(x[train & known]), codes[train & known, t])
        for name, rows in (("train", train & known), ("test", ~train & known)):
            wrong = (pipeline[-1].predict(pipeline[0].transform(x[rows])) != codes[rows, t]).sum()
            assert abs(row[f"{name}_error"] * rows.sum() - wrong) <= 1
            assert row[f"n_{name}"] == rows.sum()
        counts = np.bincount(codes[train & known, t])
        assert row["test_majority_error"] == pytest.approx(
            (codes[~train & known, t] != counts.argmax()).mean()
        )
        assert row["converged"]


def test_undefined_errors_have_a_reason_and_constants_a_mark(narrow_digits, codes) -> None:
    rows = {row["target"]: row for row in _probe(narrow_digits, codes).iter_rows(named=True)}
    assert rows["always"]["constant_target"]
    assert rows["always"]["test_error"] == 0
    assert rows["always"]["objective"] is None
    assert rows["never known"]["test_error"] is None
    assert "training row" in rows["never known"]["undefined_because"]
    assert rows["no test"]["test_error"] is None
    assert rows["no test"]["train_error"] is not None
    assert "test row" in rows["no test"]["undefined_because"]
    assert sum(row["constant_target"] for row in rows.values()) == 1


def test_a_constant_feature_and_the_scale_of_others_do_not_matter(narrow_digits, codes) -> None:
    plain = _probe(narrow_digits, codes)
    moved = np.concatenate([narrow_digits.embedding * 1e-4 + 5, np.full((len(codes), 1), 7.0)], axis=1)
    other = _probe(narrow_digits, codes, embedding=moved.astype(np.float32))
    np.testing.assert_allclose(
        plain["objective"].drop_nulls(), other["objective"].drop_nulls(), rtol=2e-2
    )  # 5 + 1e-4·x keeps four digits of x in float32


def test_test_rows_never_reach_the_fit(narrow_digits, codes) -> None:
    x = narrow_digits.embedding.copy()
    before = _probe(narrow_digits, codes, embedding=x)
    x[~narrow_digits.is_train] *= 100
    after = _probe(narrow_digits, codes, embedding=x)
    assert before["objective"].equals(after["objective"])
    assert before["train_error"].equals(after["train_error"])


def test_c_is_chosen_from_the_grid_on_a_part_of_train(narrow_digits, codes) -> None:
    grid = (1e-4, 1e-2, 1.0)
    frame = _probe(narrow_digits, codes, settings=ProbeSettings(c_grid=grid))
    assert set(frame["c"].to_list()[:4]) <= set(grid)
    assert len(set(frame["c"].to_list()[:4])) > 1
    again = _probe(narrow_digits, codes, settings=ProbeSettings(c_grid=grid))
    assert frame.equals(again)
    chosen = frame.row(2, named=True)
    fixed = _probe(narrow_digits, codes, settings=ProbeSettings(c=chosen["c"])).row(2, named=True)
    assert chosen["objective"] == pytest.approx(fixed["objective"], rel=1e-6)


def test_c_may_be_chosen_on_the_rows_that_the_data_set_sets_apart(narrow_digits, codes) -> None:
    train = narrow_digits.is_train
    grid = (1e-4, 1e-2, 1.0)
    apart = train & (np.arange(len(train)) % 4 == 0)
    frame = _probe(narrow_digits, codes, settings=ProbeSettings(c_grid=grid), validation=apart)
    target = 1
    rest = train & ~apart
    errors = {
        c: probe_targets(
            narrow_digits.embedding, codes, rest, apart, targets=NAMES, n_values=N_VALUES,
            settings=ProbeSettings(c=c),
        ).frame["test_error"][target]
        for c in grid
    }  # fmt: skip
    assert errors[frame["c"][target]] == pytest.approx(min(errors.values()), abs=0.01)
    fixed = _probe(narrow_digits, codes, settings=ProbeSettings(c=frame["c"][target]))
    assert frame["n_train"][target] == fixed["n_train"][target]  # the probe itself sees all of train
    assert frame["objective"][target] == pytest.approx(fixed["objective"][target], rel=1e-4)


def test_the_logistic_probe_gives_the_likelihood_on_the_named_rows(narrow_digits, codes) -> None:
    train = narrow_digits.is_train
    rows = np.repeat((train & (np.arange(len(codes)) % 3 > 0))[:, None], codes.shape[1], axis=1)
    rows[:100, 0] = False
    frame = _probe(narrow_digits, codes, likelihood_rows=rows)
    x = 3 + 2 * narrow_digits.embedding
    x = StandardScaler().fit(x[train]).transform(x)
    for t in (0, 1):
        fitted, judged = train & (codes[:, t] >= 0), rows[:, t] & (codes[:, t] >= 0)
        model = LogisticRegression(tol=1e-8, max_iter=5000).fit(x[fitted], codes[fitted, t])
        expected = model.predict_log_proba(x[judged])[np.arange(judged.sum()), codes[judged, t]].mean()
        assert frame["probe_log_likelihood"][t] == pytest.approx(expected, rel=1e-3)
        assert frame["n_likelihood"][t] == judged.sum()
    assert frame["probe_log_likelihood"][4] == 0
    assert frame["probe_log_likelihood"][5] is None


def test_logistic_probes_short_of_their_tolerance_are_named(narrow_digits, codes) -> None:
    train = narrow_digits.is_train
    found = [
        probe_targets(
            narrow_digits.embedding, codes[:, :2], train, ~train, targets=NAMES[:2], n_values=N_VALUES[:2],
            settings=ProbeSettings(tolerance=tolerance), likelihood_rows=rows,
        ).logistic_unconverged
        for tolerance, rows in ((1e-6, train), (1e-40, train), (1e-40, None))
    ]  # fmt: skip
    assert found == [(), tuple(NAMES[:2]), ()]


def test_mistakes_are_named(narrow_digits, codes) -> None:
    x, train = narrow_digits.embedding, narrow_digits.is_train
    with pytest.raises(DataError, match="'digit' has a code 9"):
        probe_targets(x, codes, train, ~train, targets=NAMES, n_values=[2] * 7, settings=ProbeSettings())
    with pytest.raises(DataError, match="must match"):
        probe_targets(x[:9], codes, train, ~train, targets=NAMES, n_values=N_VALUES, settings=ProbeSettings())
    none = np.zeros_like(train)
    with pytest.raises(DataError, match="'train'"):
        probe_targets(x, codes, none, ~train, targets=NAMES, n_values=N_VALUES, settings=ProbeSettings())
