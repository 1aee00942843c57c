"""All probes of one source: standardise, choose C, fit, predict, one row of figures a target; no storage, no bound."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from torch import Tensor

from assets.probes.choose_c import choose_c
from assets.probes.exact_steps import are_few
from assets.probes.fitting import Fit
from assets.probes.linear_svm import fit_linear_svms
from assets.probes.logistic import fit_logistic_probes, log_likelihood
from assets.probes.one_vs_rest import OneVsRest, one_vs_rest
from assets.probes.prepared import PreparedEmbedding
from assets.probes.rows import ArrayLike
from assets.probes.standardise import Scaling, scaling_of
from assets.settings import ProbeSettings
from resources.errors import DataError

_BLOCK_VALUES = 1 << 24  # 64 MB of standardised rows at a time

PROBE_SCHEMA = {
    "target": pl.String,
    "train_error": pl.Float64,
    "test_error": pl.Float64,
    "n_train": pl.Int64,
    "n_test": pl.Int64,
    "constant_target": pl.Boolean,
    "c": pl.Float64,
    "objective": pl.Float64,
    "gradient_norm": pl.Float64,
    "converged": pl.Boolean,
    "test_majority_error": pl.Float64,
    "probe_log_likelihood": pl.Float64,
    "n_likelihood": pl.Int64,
    "undefined_because": pl.String,
}


@dataclass(frozen=True)
class ProbeResult:
    """What the probes of one source found.

    Attributes:
        frame: one row a target, columns of `PROBE_SCHEMA`; `objective` is the sum over a multi-class target's
            one-vs-rest problems, `gradient_norm` their joint norm.
        products: passes over the embedding, in products with one column a binary problem.
        logistic_unconverged: targets whose logistic probe stopped short of the tolerance.
    """

    frame: pl.DataFrame
    products: float
    logistic_unconverged: tuple[str, ...] = ()


def probe_targets(  # noqa: PLR0913 - the data, the names, the settings: a struct would only rename them
    embedding: ArrayLike,
    labels: np.ndarray,
    is_train: np.ndarray,
    is_test: np.ndarray,
    *,
    targets: Sequence[str],
    n_values: Sequence[int],
    settings: ProbeSettings,
    device: str | None = None,
    seed: int = 0,
    likelihood_rows: np.ndarray | None = None,
    validation: np.ndarray | None = None,
) -> ProbeResult:
    """Fit and judge the linear SVMs of one source's embedding for every target (Eq. 3-5).

    Args:
        embedding: (n, d) float32, one row an image; NumPy (a memory map too) or torch.
        labels: (n, T) integer codes 0…n_values-1, negative = missing.
        is_train: (n,) bool; standardisation and probes see these rows only.
        is_test: (n,) bool; the transfer error is measured here.
        targets: T names.
        n_values: T numbers of values.
        settings: C or its grid, tolerance, memory.
        device: where to solve; None is the CPU.
        seed: of the split that chooses C from the grid.
        likelihood_rows: (n,) bool or (n, T) bool; where given, a logistic probe with the target's C is fitted on train
            too, and its mean log-likelihood in nats is taken over these rows with a known label.
        validation: (n,) bool, the training rows on which C is chosen from the grid; None: a random fifth of them. The
            probes themselves are then fitted on all of train.

    Returns:
        One row a target. A target that is constant in train is predicted as that constant; one without a known
        training label, or without a known test label, has NULL errors and the reason.

    Raises:
        DataError: shapes or codes that do not fit together.
    """
    _check(embedding, labels, (is_train, is_test), targets, n_values)
    train, test = np.flatnonzero(is_train), np.flatnonzero(is_test)
    if len(train) == 0:
        raise DataError("no training row: the probes need a split 'train'")
    scaling = scaling_of(embedding, train)
    x_train = scaling.apply(embedding, train)
    problems = one_vs_rest(labels[train])
    held_out = None if validation is None else validation[train]
    shared = PreparedEmbedding(x_train, device)
    c, spent = choose_c(shared, labels[train], settings, seed=seed, validation=held_out)
    logistic = None
    if likelihood_rows is not None:
        logistic = _fit(fit_logistic_probes, shared, problems, c, settings)
        spent += logistic.products
    # A good start where rows are few; where they are many, the solver's own is as good.
    start = logistic.weights if logistic is not None and are_few(*x_train.shape) else None
    fit = _fit(fit_linear_svms, shared, problems, c, settings, start)
    train_error = problems.errors(fit.decide(x_train, device), labels[train])
    test_error = problems.errors(_decisions(fit, embedding, scaling, test, device), labels[test])
    frame = _frame(targets, problems, fit, c, labels[train], labels[test], train_error, test_error)
    if logistic is not None and likelihood_rows is not None:
        frame = _with_likelihood(frame, problems, logistic, embedding, scaling, labels, likelihood_rows)
    short = _unconverged(targets, problems, logistic)
    return ProbeResult(frame.select(list(PROBE_SCHEMA)), fit.products + spent, short)


def _unconverged(targets: Sequence[str], problems: OneVsRest, fit: Fit | None) -> tuple[str, ...]:
    """The targets of which a binary problem did not converge."""
    if fit is None:
        return ()
    return tuple(target for t, target in enumerate(targets) if not fit.converged[problems.columns(t)].all())


def _fit(
    method: Callable[..., Fit],
    embedding: PreparedEmbedding,
    problems: OneVsRest,
    c: np.ndarray,
    settings: ProbeSettings,
    start: Tensor | None = None,
) -> Fit:
    return method(
        embedding,
        problems.labels,
        C=c[problems.owner],
        tol=settings.tolerance,
        memory_gb=settings.memory_gb,
        start=start,
    )


def _decisions(
    fit: Fit, embedding: ArrayLike, scaling: Scaling, rows: np.ndarray, device: str | None
) -> np.ndarray:
    """(len(rows), k) decision values; the rows are standardised a block at a time, so that no second copy is held."""
    step = max(1, _BLOCK_VALUES // max(embedding.shape[1], 1))
    parts = [rows[start : start + step] for start in range(0, len(rows), step)] or [rows]
    return np.concatenate([fit.decide(scaling.apply(embedding, part), device) for part in parts])


def _check(
    embedding: ArrayLike,
    labels: np.ndarray,
    masks: Sequence[np.ndarray],
    targets: Sequence[str],
    n_values: Sequence[int],
) -> None:
    n = embedding.shape[0]
    if labels.shape != (n, len(targets)) or any(mask.shape != (n,) for mask in masks):
        raise DataError(
            f"the embedding has {n} rows; labels {labels.shape} and splits {[m.shape for m in masks]} must match it "
            f"and the {len(targets)} targets"
        )
    greatest = labels.max(axis=0, initial=-1)
    for target, most, values in zip(targets, greatest, n_values, strict=True):
        if most >= values:
            raise DataError(f"target '{target}' has a code {most} but only {values} values")


def _frame(
    targets: Sequence[str],
    problems: OneVsRest,
    fit: Fit,
    c: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    train_error: list[float | None],
    test_error: list[float | None],
) -> pl.DataFrame:
    n_train, n_test = (train >= 0).sum(0), (test >= 0).sum(0)
    rows = []
    for t, target in enumerate(targets):
        own, solved = problems.columns(t), len(problems.classes[t]) > 1
        rows.append(
            {
                "target": target,
                "train_error": train_error[t],
                "test_error": test_error[t],
                "n_train": int(n_train[t]),
                "n_test": int(n_test[t]),
                "constant_target": len(problems.classes[t]) == 1,
                "c": float(c[t]),
                "objective": float(fit.objective[own].sum()) if solved else None,
                "gradient_norm": float(np.sqrt(np.square(fit.gradient_norm[own]).sum())) if solved else None,
                "converged": bool(fit.converged[own].all()),
                "test_majority_error": _majority_error(train[:, t], test[:, t]),
                "probe_log_likelihood": None,
                "n_likelihood": None,
                "undefined_because": _reason(int(n_train[t]), int(n_test[t])),
            }
        )
    return pl.DataFrame(rows, schema=PROBE_SCHEMA)


def _reason(n_train: int, n_test: int) -> str | None:
    if n_train == 0:
        return "no training row with a known target label"
    return None if n_test else "no test row with a known target label"


def _majority_error(train: np.ndarray, test: np.ndarray) -> float | None:
    """Test error of always guessing the most frequent code of train, the smallest such code on a tie."""
    seen, known = train[train >= 0], test[test >= 0]
    if len(seen) == 0 or len(known) == 0:
        return None
    return float((known != np.bincount(seen).argmax()).mean())


def _with_likelihood(
    frame: pl.DataFrame,
    problems: OneVsRest,
    logistic: Fit,
    embedding: ArrayLike,
    scaling: Scaling,
    labels: np.ndarray,
    rows: np.ndarray,
) -> pl.DataFrame:
    """The frame with the logistic probes' mean log-likelihood, each target over its own rows."""
    chosen = np.broadcast_to(rows[:, None] if rows.ndim == 1 else rows, labels.shape)
    used = np.flatnonzero(chosen.any(axis=1))
    decisions = _decisions(logistic, embedding, scaling, used, None)
    values: list[float | None] = []
    counts: list[int] = []
    for t in range(labels.shape[1]):
        codes = np.where(chosen[used, t], labels[used, t], -1)
        classes = problems.classes[t]
        counts.append(int((codes >= 0).sum()))
        values.append(log_likelihood(decisions[:, problems.columns(t)], classes, codes))
    return frame.with_columns(
        pl.Series("probe_log_likelihood", values, pl.Float64), pl.Series("n_likelihood", counts, pl.Int64)
    )
