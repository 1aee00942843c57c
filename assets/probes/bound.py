"""Theorem 1 checked row by row: k̄ (Eq. 9), its log-likelihood, H(Y|Z), l_Z and the slack, all on the same rows.

The rows S of a pair are the caller's rows with both labels known, each with weight 1. No network runs here
(source_head.py gives p_Z) and no probe is fitted: the logistic probe's likelihood is joined by whoever has both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import logsumexp

from assets.probes.source_head import SourceHead
from resources.errors import DataError

BOUND_SCHEMA = {
    "target": pl.String,
    "n": pl.Int64,
    "source_log_likelihood": pl.Float64,
    "conditional_entropy": pl.Float64,
    "kbar_log_likelihood": pl.Float64,
    "slack": pl.Float64,
    "slack_check": pl.Float64,
    "n_checked": pl.Int64,
    "n_violations": pl.Int64,
    "undefined_because": pl.String,
}
TOLERANCE = 1e-9
"""The inequality may fail by rounding, up to this much relative to 1 + its right-hand side."""

_CHECKED_VALUES = 10_000_000
_SMALL = 1e-250  # below this a float64 mixture may have lost terms to underflow


@dataclass(frozen=True)
class Conditional:
    """P̂(y|z) of one pair, counted on its rows S.

    Attributes:
        p: (source values, target values); a source value without a row in S has the marginal P̂(y).
        entropy: H(Y|Z) in nats (Eq. 7).
        n: rows in S.
    """

    p: np.ndarray
    entropy: float
    n: int


def empirical_conditional(
    source: np.ndarray, target: np.ndarray, n_source: int, n_target: int
) -> Conditional:
    """P̂(y|z) and H(Y|Z) over the rows where both codes are known (Eq. 6-7).

    Args:
        source: (n,) codes, negative = missing.
        target: (n,) codes, negative = missing.
        n_source: number of source values.
        n_target: number of target values.
    """
    both = (source >= 0) & (target >= 0)
    flat = source[both].astype(np.int64) * n_target + target[both]
    counts = np.bincount(flat, minlength=n_source * n_target).reshape(n_source, n_target).astype(np.float64)
    n = int(both.sum())
    by_source = counts.sum(1, keepdims=True)
    marginal = counts.sum(0) / max(n, 1)
    p = np.where(by_source > 0, counts / np.maximum(by_source, 1), marginal)
    positive = counts > 0
    entropy = -float((counts[positive] * np.log(p[positive])).sum()) / max(n, 1)
    return Conditional(p, max(0.0, entropy), n)  # in this order: of 0.0 and -0.0 the first is taken


@dataclass
class _Sums:
    """What is added up over the rows of one pair."""

    n: int = 0
    source: float = 0.0
    kbar: float = 0.0
    gap: float = 0.0
    checked: float = 0.0
    n_checked: int = 0
    violations: int = 0


def theorem_1_bound(
    head: SourceHead | None,
    source: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    *,
    targets: Sequence[str],
    n_values: Sequence[int],
    memory_gb: float = 1.0,
) -> pl.DataFrame:
    """Check l_Y(k̄) ≥ l_Z - H(Y|Z) for one source and all its targets (Eq. 9-12).

    Args:
        head: p_Z; None for an embedding without a head of its own, which leaves all but the entropy undefined.
        source: (n,) codes of the source task, negative = missing.
        labels: (n, T) codes of the targets, negative = missing.
        rows: (n,) bool: split train, image readable.
        targets: T names.
        n_values: T numbers of values.
        memory_gb: bound on working memory, GB.

    Returns:
        One row a target with the columns of `BOUND_SCHEMA`; log-likelihoods, entropy and slack in nats. `n_violations`
        counts rows on which the inequality fails. `slack_check` is -mean log q(z|x, y), computed in the log domain and
        apart from k̄, on `n_checked` rows: all of S, or for wide sources evenly spread rows of S and at least one, where
        it is the slack plus the mean difference on those. Where nothing could be checked, both are NULL.

    Raises:
        DataError: codes or shapes that do not fit together.
    """
    _check(head, source, labels, rows, n_values)
    used = np.flatnonzero(rows & (source >= 0))
    n_source = int(source[used].max(initial=0)) + 1 if head is None else head.n_values
    z = source[used].astype(np.int64)
    frames = []
    for group in _groups(n_values, n_source, memory_gb):
        y = labels[used][:, group].astype(np.int64)
        pairs = [empirical_conditional(z, y[:, i], n_source, n_values[t]) for i, t in enumerate(group)]
        sums = [_Sums() for _ in group]
        if head is not None:
            _walk(head, used, z, y, pairs, sums, memory_gb)
        frames += [_row(targets[t], pairs[i], sums[i], head is None) for i, t in enumerate(group)]
    return pl.DataFrame(frames, schema=BOUND_SCHEMA)


def _check(
    head: SourceHead | None, source: np.ndarray, labels: np.ndarray, rows: np.ndarray, n_values: Sequence[int]
) -> None:
    if not len(source) == len(labels) == len(rows) or labels.shape[1] != len(n_values):
        raise DataError(
            f"source {source.shape}, targets {labels.shape}, rows {rows.shape} and {len(n_values)} numbers of values "
            "do not fit together"
        )
    if head is not None and source[rows].max(initial=-1) >= head.n_values:
        raise DataError(f"the source has a code {source[rows].max()} but its head has {head.n_values} values")
    for column, most in enumerate(n_values):
        if labels[:, column].max(initial=-1) >= most:
            raise DataError(f"target {column} has a code {labels[:, column].max()} but only {most} values")


def _groups(n_values: Sequence[int], n_source: int, memory_gb: float) -> Iterator[list[int]]:
    """Targets whose tables P̂(y|z) fit side by side in a third of the memory."""
    budget = memory_gb * 1e9 / 3 / (8 * n_source)
    group: list[int] = []
    for target in range(len(n_values)):
        if group and sum(n_values[t] for t in group) + n_values[target] > budget:
            yield group
            group = []
        group.append(target)
    if group:
        yield group


def _walk(
    head: SourceHead,
    used: np.ndarray,
    z: np.ndarray,
    y: np.ndarray,
    pairs: list[Conditional],
    sums: list[_Sums],
    memory_gb: float,
) -> None:
    """Add up every pair over blocks of rows; p_Z is computed once a block for all pairs."""
    table = np.concatenate([pair.p for pair in pairs], axis=1)
    first = np.cumsum([0] + [pair.p.shape[1] for pair in pairs])
    size = max(1, int(memory_gb * 1e9 / 6 / (8 * sum(table.shape))))
    every = [max(1, pair.n * head.n_values // _CHECKED_VALUES) for pair in pairs]
    for start in range(0, len(used), size):
        block = slice(start, start + size)
        log_p = head.log_probabilities(used[block])
        mixed = np.exp(log_p) @ table
        for i, pair in enumerate(pairs):
            known = y[block, i] >= 0
            zi, yi = z[block][known], y[block, i][known]
            kbar = _log_kbar(log_p[known], mixed[known, first[i] + yi], pair.p, yi)
            spread = np.arange(sums[i].n, sums[i].n + len(zi)) % every[i] == 0
            _add(sums[i], log_p[known], kbar, pair.p, zi, yi, spread)


def _log_kbar(log_p: np.ndarray, mixture: np.ndarray, p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The log of p_Y(y) of k̄ (Eq. 9) for each row; where the mixture underflows, once more in the log domain."""
    small = mixture < _SMALL
    out = np.log(np.where(small, 1.0, mixture))
    if small.any():
        with np.errstate(divide="ignore"):
            out[small] = logsumexp(log_p[small] + np.log(p.T[y[small]]), axis=1)
    return out


def _add(
    sums: _Sums,
    log_p: np.ndarray,
    kbar: np.ndarray,
    p: np.ndarray,
    z: np.ndarray,
    y: np.ndarray,
    spread: np.ndarray,
) -> None:
    own = log_p[np.arange(len(z)), z]
    floor = np.log(p[z, y]) + own
    sums.n += len(z)
    sums.source += float(own.sum())
    sums.kbar += float(kbar.sum())
    sums.gap += float((kbar - floor)[spread].sum())
    sums.violations += int((kbar < floor - TOLERANCE * (1 + np.abs(floor))).sum())
    sums.checked += float(-_log_posterior(log_p[spread], p, z[spread], y[spread]).sum())
    sums.n_checked += int(spread.sum())


def _log_posterior(log_p: np.ndarray, p: np.ndarray, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The log of q(z_i|x_i, y_i) with q ∝ P̂(y_i|z) p(z|x_i), normalised over all z in the log domain."""
    with np.errstate(divide="ignore"):
        log_conditional = np.log(p.T)
    out = np.empty(len(z))
    for value in np.unique(y):
        chosen = np.flatnonzero(y == value)
        joint = log_p[chosen] + log_conditional[value]
        joint -= logsumexp(joint, axis=1, keepdims=True)
        out[chosen] = joint[np.arange(len(chosen)), z[chosen]]
    return out


def _row(target: str, pair: Conditional, sums: _Sums, headless: bool) -> dict[str, object]:
    if pair.n == 0:
        empty = dict.fromkeys(BOUND_SCHEMA)
        return empty | {
            "target": target,
            "n": 0,
            "undefined_because": "no training row with both labels known",
        }
    row: dict[str, object] = dict.fromkeys(BOUND_SCHEMA)
    row |= {"target": target, "n": pair.n, "conditional_entropy": pair.entropy}
    if headless:
        return row | {
            "undefined_because": "the source has an embedding but no classification head of its own"
        }
    l_z, kbar = sums.source / pair.n, sums.kbar / pair.n
    slack = kbar - (l_z - pair.entropy)
    check = None
    if sums.n_checked == pair.n:
        check = sums.checked / pair.n
    elif sums.n_checked > 0:
        check = slack + (sums.checked - sums.gap) / sums.n_checked
    return row | {
        "source_log_likelihood": l_z,
        "kbar_log_likelihood": kbar,
        "slack": slack,
        "slack_check": check,
        "n_checked": sums.n_checked,
        "n_violations": sums.violations,
    }
