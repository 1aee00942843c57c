"""From counts to numbers: H(Y|Z) (Eq. 7), H(Y) on the same rows and bias-corrected forms, for all pairs.

Counting lives in counts.py, the tables for people in frames.py. All entropies are in nats.

`corrected` is the jackknife taken within every value of the source (Zahl 1977), which removes the bias of
order 1/n_z of the plug-in estimate: the sum over z of (n_z/n) H_J(Y|z), H_J = n_z H − (n_z − 1) (mean of H
without one row). It has the plug-in estimate's form with J(n) = n log n − n − n (n − 1) log(1 − 1/n) in place
of n log n, so it costs as little. On simulated wide sources (5 and 20 rows a value) it had a fifth to three
fifths of Miller–Madow's bias; Grassberger's estimator had less still, but depends on whether n_z is odd and
is not 0 where a source value determines the target. No estimator can know what a value seen once says: it
counts as determined, which is why near-unique sources are marked.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from assets.statistics.counts import Int64, PairCounts

Float64 = NDArray[np.float64]

_TABLE = 2**16


def n_log_n(counts: Int64) -> Float64:
    """N log n of every count, 0 where n = 0; the same shape."""
    return _terms(counts, 0)


def n_jackknife(counts: Int64) -> Float64:
    """J(n) of every count (see the module), J(1) = −1 and J(0) = 0; the same shape."""
    return _terms(counts, 1)


def _terms(counts: Int64, which: int) -> Float64:
    if counts.size and counts.max() < _TABLE:
        return _tables()[which][counts]
    return _computed(counts)[which]


@cache
def _tables() -> tuple[Float64, Float64]:
    """Both functions for n < 65536: looking a small count up is several times faster than computing it."""
    return _computed(np.arange(_TABLE))


def _computed(counts: Int64) -> tuple[Float64, Float64]:
    n = np.maximum(counts, 2).astype(np.float64)
    logs = np.where(counts > 1, n * np.log(n), 0.0)
    return logs, np.where(
        counts > 1, logs - n - n * (n - 1.0) * np.log1p(-1.0 / n), -counts.astype(np.float64)
    )


@dataclass(frozen=True)
class PairSums:
    """Sums over the cells of every pair's table, of which all estimates are made.

    They run over the rows where both labels are known; arrays are (tasks, tasks), source first.

    Attributes:
        n: Rows.
        joint, source: Sums of n log n over the cells and over the source's margin; the target's is `source`
            transposed.
        joint_jackknife, source_jackknife: The same of J(n).
        joint_values, source_values: Numbers of non-zero cells and of source values.
    """

    n: Int64
    joint: Float64
    source: Float64
    joint_jackknife: Float64
    source_jackknife: Float64
    joint_values: Int64
    source_values: Int64


def _three_sums(counts: Int64) -> tuple[Float64, Float64, Float64]:
    """N log n, J(n) and whether non-zero (1 or 0), of every count."""
    return n_log_n(counts), n_jackknife(counts), (counts > 0).astype(np.float64)


def pair_sums(counts: PairCounts, group: int) -> PairSums:
    """The sums of all pairs of tasks in one group of rows."""
    size = len(counts.codings)
    n: Int64 = np.zeros((size, size), np.int64)
    joint, source = np.zeros((3, size, size)), np.zeros((3, size, size))
    if counts.narrow_tasks:
        place = np.ix_(counts.narrow_tasks, counts.narrow_tasks) if counts.wide_tasks else ...
        starts = counts.offsets[:-1]
        table = counts.narrow[group]
        margin = np.add.reduceat(table, starts, axis=1)
        n[place] = np.add.reduceat(margin, starts, axis=0)
        for k, (cells, margins) in enumerate(zip(_three_sums(table), _three_sums(margin), strict=True)):
            joint[k][place] = np.add.reduceat(np.add.reduceat(cells, starts, axis=0), starts, axis=1)
            source[k][place] = np.add.reduceat(margins, starts, axis=0)
        for w, tables in counts.wide_narrow.items():
            _add_wide(counts, tables[group], w, n, joint, source)
    for (first, second), pair_cells in counts.wide_wide.items():
        _add_wide_pair(pair_cells[:, pair_cells[0] == group], first, second, n, joint, source)
    return PairSums(
        n,
        joint[0],
        source[0],
        joint[1],
        source[1],
        np.rint(joint[2]).astype(np.int64),
        np.rint(source[2]).astype(np.int64),
    )


def _add_wide(counts: PairCounts, table: Int64, w: int, n: Int64, joint: Float64, source: Float64) -> None:
    """Fill in the pairs of one wide task with all narrow ones, in both directions; `table` is (K, C)."""
    starts, narrow = counts.offsets[:-1], counts.narrow_tasks
    margin = np.add.reduceat(table, starts, axis=1)
    columns = table.sum(axis=0)
    n[w, narrow] = n[narrow, w] = margin.sum(axis=0)
    parts = zip(_three_sums(table), _three_sums(margin), _three_sums(columns), strict=True)
    for k, (cells, wide_margin, narrow_margin) in enumerate(parts):
        joint[k][w, narrow] = joint[k][narrow, w] = np.add.reduceat(cells.sum(axis=0), starts)
        source[k][w, narrow] = wide_margin.sum(axis=0)
        source[k][narrow, w] = np.add.reduceat(narrow_margin, starts)


def _add_wide_pair(cells: Int64, a: int, b: int, n: Int64, joint: Float64, source: Float64) -> None:
    """Fill in one pair of wide tasks in both directions from its non-zero cells."""
    _, first, second, count = cells
    n[a, b] = n[b, a] = count.sum()
    margins = {(a, b): first, (b, a): second}
    for k, values in enumerate(_three_sums(count)):
        joint[k][a, b] = joint[k][b, a] = values.sum()
    for place, value in margins.items():
        margin = np.bincount(value, weights=count).astype(np.int64)
        for k, values in enumerate(_three_sums(margin)):
            source[k][place] = values.sum()


@dataclass(frozen=True)
class Estimates:
    """Every estimate of every pair, (sources, targets) each.

    An undefined number is NaN here; frames turn it into NULL.

    `conditional_entropy` is H(Y|Z), `target_entropy` H(Y) and `source_entropy` H(Z), all on the `n` rows
    where both labels are known; `corrected` and `corrected_target_entropy` are the bias-corrected H(Y|Z) and
    H(Y).
    """

    n: Int64
    conditional_entropy: Float64
    target_entropy: Float64
    source_entropy: Float64
    joint_entropy: Float64
    mutual_information: Float64
    normalised: Float64
    corrected: Float64
    corrected_target_entropy: Float64
    corrected_normalised: Float64
    n_source_values: Int64
    n_target_values: Int64
    equivalent: NDArray[np.bool_]


def estimates(sums: PairSums, sources: list[int], targets: list[int]) -> Estimates:
    """The estimates for the given sources (rows) and targets (columns), positions of tasks.

    A target that its source determines has a conditional entropy of exactly 0, one that takes a single value
    on the pair's rows a target entropy of exactly 0; then its normalised forms are undefined.
    """
    here, mirrored = np.ix_(sources, targets), np.ix_(targets, sources)
    n = sums.n[here]
    joint_values, source_values = sums.joint_values[here], sums.source_values[here]
    target_values = sums.source_values[mirrored].T
    rows = np.where(n > 0, n, np.nan)
    log_n, jackknife_n = np.log(rows), n_jackknife(n) / rows
    joint, source, target = (a / rows for a in (sums.joint[here], sums.source[here], sums.source[mirrored].T))
    determined = joint_values == source_values
    conditional = np.where(determined & (n > 0), 0.0, np.maximum(source - joint, 0.0))
    corrected = np.where(
        determined & (n > 0), 0.0, (sums.source_jackknife[here] - sums.joint_jackknife[here]) / rows
    )
    conditional[n == 0] = corrected[n == 0] = np.nan
    target_entropy = np.where(target_values == 1, 0.0, np.maximum(log_n - target, 0.0))
    source_entropy = np.where(source_values == 1, 0.0, np.maximum(log_n - source, 0.0))
    corrected_target = np.where(
        target_values == 1, 0.0, jackknife_n - sums.source_jackknife[mirrored].T / rows
    )
    conditional = np.minimum(conditional, target_entropy)
    divisor = np.where(target_values > 1, target_entropy, np.nan)
    corrected_divisor = np.where(target_values > 1, corrected_target, np.nan)
    return Estimates(
        n=n,
        conditional_entropy=conditional,
        target_entropy=target_entropy,
        source_entropy=source_entropy,
        joint_entropy=np.where(joint_values == 1, 0.0, np.maximum(log_n - joint, 0.0)),
        mutual_information=target_entropy - conditional,
        normalised=conditional / divisor,
        corrected=corrected,
        corrected_target_entropy=corrected_target,
        corrected_normalised=corrected / corrected_divisor,
        n_source_values=source_values,
        n_target_values=target_values,
        equivalent=determined & (joint_values == target_values) & (n > 0),
    )


def entropy(counts: Int64) -> Float64:
    """Plug-in entropy (Eq. 14) of counts along the last axis: (…, K) to (…), NaN where there is no count."""
    n = counts.sum(axis=-1)
    rows = np.where(n > 0, n, np.nan)
    plain = np.maximum(np.log(rows) - n_log_n(counts).sum(axis=-1) / rows, 0.0)
    out: Float64 = np.where((counts > 0).sum(axis=-1) == 1, 0.0, plain)
    return out
