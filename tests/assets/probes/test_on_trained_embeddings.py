"""Probes on the embeddings of a network that a run of digits trained: scikit-learn's optima, errors and likelihoods."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from assets.models.embedding import load_embedding
from assets.probes.linear_svm import fit_linear_svms
from assets.probes.logistic import fit_logistic_probes
from assets.study import open_study
from pipelines.definitions import study_definitions
from pipelines.reconcile import Request, reconcile
from resources.home import Home

TARGETS = ["even", "prime", "closed_loop", "at_least_five"]


@dataclass(frozen=True)
class Trained:
    """ResNet-18's embedding (400, 512) after two epochs on the ten digits, four tasks (400, 4), and what the run found."""

    embedding: np.ndarray
    labels: np.ndarray
    is_train: np.ndarray
    transfer: pl.DataFrame

    def standardised(self, width: int) -> np.ndarray:
        x = self.embedding[:, :width]
        return StandardScaler().fit(x[self.is_train]).transform(x).astype(np.float32)


@pytest.fixture(scope="module")
def trained(tiny_content: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    content = {
        "dataset": {"reader": "digits", "options": {"per_class": 40, "tasks": ["digit", *TARGETS]}},
        "sources": ["digit"],
        "recipe": {"image_size": 16, "epochs": 2, "batch_size": 32},
        "uncertainty": {"permutations": 20},
        "probe": {"tolerance": 1e-7},
    }
    study = open_study("seen", content, Path("unused"))
    home = Home(path=str(tmp_path_factory.mktemp("seen")), mlflow_uri="http://127.0.0.1:9")
    definitions = dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))
    request = Request(only="probes")
    assert not reconcile(study, home, definitions, dg.DagsterInstance.ephemeral(), request).failed
    labels = home.store.read_table("seen", "labels", [None])
    return Trained(
        np.array(load_embedding(home.store.path("seen", "embedding", "digit", ".safetensors"))),
        labels.select(TARGETS).to_numpy().astype(np.int8),
        (labels["split"] == "train").to_numpy(),
        home.store.read_table("seen", "transfer", ["digit"]),
    )


def hinge(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: float, c: float) -> tuple[float, float]:
    """LinearSVC's objective and its gradient's norm, in float64; the intercept is penalised."""
    x, sign = np.c_[x.astype(np.float64), np.ones(len(x))], 2.0 * y - 1
    v = np.append(w, b).astype(np.float64)
    gap = np.maximum(0, 1 - sign * (x @ v))
    return 0.5 * v @ v + c * (gap**2).sum(), float(np.linalg.norm(v - 2 * c * x.T @ (sign * gap)))


@pytest.mark.parametrize(("width", "c"), [(512, 1.0), (512, 1e-3), (48, 1.0), (48, 1e-2)])
def test_each_svm_is_linear_svcs(trained: Trained, width: int, c: float) -> None:
    """Wide: separable, with fewer rows than features; narrow: not."""
    x, train = trained.standardised(width), trained.is_train
    y = trained.labels
    fit = fit_linear_svms(x[train], y[train], C=c, tol=1e-8)
    assert fit.converged.all()
    same = []
    for t in range(len(TARGETS)):
        reference = LinearSVC(C=c, dual=False, tol=1e-9, max_iter=20_000).fit(
            x[train].astype(np.float64), y[train, t]
        )
        w, b = reference.coef_[0], reference.intercept_[0]
        theirs, _ = hinge(x[train], y[train, t], w, b, c)
        ours, norm = hinge(x[train], y[train, t], fit.coef[:, t], fit.intercept[t], c)
        assert fit.objective[t] == pytest.approx(ours, rel=1e-9)
        assert fit.gradient_norm[t] == pytest.approx(norm, rel=1e-3, abs=1e-9)
        assert ours == pytest.approx(theirs, rel=1e-6)
        # The objective is 1-strongly convex, so that both are this near to the one optimum.
        near = np.sqrt(2 * max(norm**2 / 2, abs(ours - theirs))) * 2 + 1e-4
        assert np.linalg.norm(np.append(fit.coef[:, t] - w, fit.intercept[t] - b)) <= near
        test = x[~train].astype(np.float64)
        same.append((test @ w + b > 0) == (test @ fit.coef[:, t] + fit.intercept[t] > 0))
    assert np.mean(same) >= 0.999


@pytest.mark.parametrize(("width", "c"), [(512, 1.0), (512, 1e-3), (48, 1.0)])
def test_each_logistic_probe_is_logistic_regressions(trained: Trained, width: int, c: float) -> None:
    x, train, y = trained.standardised(width), trained.is_train, trained.labels
    fit = fit_logistic_probes(x[train], y[train], C=c, tol=1e-8)
    assert fit.converged.all()
    for t in range(len(TARGETS)):
        reference = LogisticRegression(C=c, tol=1e-10, max_iter=20_000).fit(
            x[train].astype(np.float64), y[train, t]
        )
        theirs, ours = (
            0.5 * w @ w + c * np.logaddexp(0, -(2.0 * y[train, t] - 1) * (x[train] @ w + b)).sum()
            for w, b in (
                (reference.coef_[0], reference.intercept_[0]),
                (fit.coef[:, t], fit.intercept[t]),
            )
        )
        assert fit.objective[t] == pytest.approx(ours, rel=1e-6)
        assert ours == pytest.approx(theirs, rel=1e-6)
        test = x[~train].astype(np.float64)
        chance = reference.predict_proba(test)[:, 1]
        np.testing.assert_allclose(
            1 / (1 + np.exp(-(test @ fit.coef[:, t] + fit.intercept[t]))), chance, atol=5e-3
        )


def test_the_table_of_the_run_has_scikit_learns_errors_and_likelihoods(trained: Trained) -> None:
    x, train = trained.embedding, trained.is_train
    rows = {row["target"]: row for row in trained.transfer.iter_rows(named=True)}
    assert list(rows) == TARGETS
    for t, target in enumerate(TARGETS):
        y, row = trained.labels[:, t], rows[target]
        svm = make_pipeline(StandardScaler(), LinearSVC(dual=False, tol=1e-8, max_iter=20_000)).fit(
            x[train], y[train]
        )
        for split, mask in (("train", train), ("test", ~train)):
            wrong = (svm.predict(x[mask]) != y[mask]).sum()
            assert abs(row[f"{split}_error"] * mask.sum() - wrong) <= 1  # a row on the very border may differ
            assert row[f"n_{split}"] == mask.sum()
        logistic = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10, max_iter=20_000)).fit(
            x[train], y[train]
        )
        own = -np.logaddexp(0, -(2.0 * y[train] - 1) * logistic.decision_function(x[train])).mean()
        assert row["probe_log_likelihood"] == pytest.approx(own, rel=1e-2)
    errors = trained.transfer["test_error"]
    assert errors.max() < 0.25, "the embedding of a trained network carries these tasks"
