"""Test accuracy of a probe against the number of training rows (Fig. 5); the dedicated network's half is not here."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from assets.labels.subsets import nested_subsets
from assets.probes.linear_svm import fit_linear_svms
from assets.probes.one_vs_rest import one_vs_rest
from assets.probes.rows import ArrayLike
from assets.probes.standardise import scaling_of
from assets.settings import ProbeSettings
from resources.errors import DataError

CURVE_SCHEMA = {"n_train": pl.Int64, "seed": pl.Int64, "test_accuracy": pl.Float64}


def probe_learning_curve(
    embedding: ArrayLike,
    labels: np.ndarray,
    is_train: np.ndarray,
    is_test: np.ndarray,
    sizes: Sequence[int],
    seeds: Sequence[int],
    *,
    settings: ProbeSettings,
    device: str | None = None,
) -> pl.DataFrame:
    """Fit a probe on nested subsets of the training rows and measure it on all test rows.

    Args:
        embedding: (n, d) float32.
        labels: (n,) codes of one target, negative = missing.
        is_train: (n,) bool.
        is_test: (n,) bool.
        sizes: numbers of labelled training rows.
        seeds: one repetition each; subsets of one seed are nested.
        settings: `c`, tolerance and memory; the grid is not searched.
        device: where to solve.

    Returns:
        One row a size and seed: `n_train`, `seed`, `test_accuracy`; each subset is standardised by itself, and a subset
        of a single class predicts that class.

    Raises:
        DataError: a size that the training rows cannot give, or no labelled test row.
    """
    train = np.flatnonzero(is_train & (labels >= 0))
    test = np.flatnonzero(is_test & (labels >= 0))
    if len(test) == 0:
        raise DataError("no test row with a known label: a learning curve needs a split 'test'")
    rows = []
    for seed in seeds:
        for size, subset in zip(sizes, nested_subsets(labels[train], sizes, seed), strict=True):
            accuracy = _accuracy(embedding, labels, train[subset], test, settings, device)
            rows.append({"n_train": size, "seed": seed, "test_accuracy": accuracy})
    return pl.DataFrame(rows, schema=CURVE_SCHEMA)


def _accuracy(
    embedding: ArrayLike,
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    settings: ProbeSettings,
    device: str | None,
) -> float:
    scaling = scaling_of(embedding, train)
    problems = one_vs_rest(labels[train, None])
    fit = fit_linear_svms(
        scaling.apply(embedding, train),
        problems.labels,
        C=settings.c,
        tol=settings.tolerance,
        device=device,
        memory_gb=settings.memory_gb,
    )
    predicted = problems.predict(0, fit.decide(scaling.apply(embedding, test), device))
    return float((predicted == labels[test]).mean())
