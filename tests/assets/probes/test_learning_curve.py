"""Learning curves: nested stratified subsets, and accuracies that are the probe's on just those rows."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from assets.labels.subsets import nested_subsets
from assets.probes.learning_curve import probe_learning_curve
from assets.settings import ProbeSettings
from resources.errors import DataError


@given(st.lists(st.integers(0, 3), min_size=8, max_size=80), st.integers(0, 99))
def test_subsets_are_nested_and_hold_every_class_that_fits(values, seed) -> None:
    codes = np.array(values)
    sizes = [2, 4, 8, len(codes)]
    subsets = nested_subsets(codes, sizes, seed)
    classes = len(np.unique(codes))
    for small, large in pairwise(subsets):
        assert set(small) <= set(large)
    for size, subset in zip(sizes, subsets, strict=True):
        assert len(set(subset)) == size
        assert len(np.unique(codes[subset])) == min(classes, size)


def test_shares_of_the_classes_are_kept() -> None:
    codes = np.repeat([0, 1], [900, 100])
    (subset,) = nested_subsets(codes, [200], 0)
    assert abs(codes[subset].sum() - 20) <= 2


def test_each_point_is_the_probe_of_its_subset(narrow_digits) -> None:
    x, labels, train = (
        narrow_digits.embedding,
        (narrow_digits.digit % 2).astype(np.int32),
        narrow_digits.is_train,
    )
    curve = probe_learning_curve(x, labels, train, ~train, [20, 200, 1257], [0, 1], settings=ProbeSettings())
    assert curve.columns == ["n_train", "seed", "test_accuracy"]
    assert len(curve) == 6
    mean = curve.group_by("n_train").mean().sort("n_train")["test_accuracy"].to_list()
    assert mean[0] < mean[1] < mean[2]
    rows = np.flatnonzero(train)[nested_subsets(labels[train], [200], 1)[0]]
    scaled = StandardScaler().fit(x[rows]).transform(x)
    svc = LinearSVC(dual=False, tol=1e-6).fit(scaled[rows], labels[rows])
    expected = (svc.predict(scaled[~train]) == labels[~train]).mean()
    got = curve.filter((curve["n_train"] == 200) & (curve["seed"] == 1))["test_accuracy"].item()
    assert got == pytest.approx(expected, abs=2 / 540)


def test_mistakes_are_named(narrow_digits) -> None:
    x, labels, train = narrow_digits.embedding, narrow_digits.digit, narrow_digits.is_train
    with pytest.raises(DataError, match="1257 labelled"):
        probe_learning_curve(x, labels, train, ~train, [5000], [0], settings=ProbeSettings())
    with pytest.raises(DataError, match="'test'"):
        probe_learning_curve(x, labels, train, np.zeros_like(train), [20], [0], settings=ProbeSettings())
