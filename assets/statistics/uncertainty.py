"""How far a conditional entropy can be trusted: an interval for H(Y|Z), and what chance would give.

It resamples, so it is a call of its own; the plain path never pays for it.

Rows are taken as independent draws. Where labels were made by class (AwA2) they are not, and the intervals
are too short.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import digamma

from assets.statistics.cells import CellTable
from assets.statistics.counts import Int64
from assets.statistics.entropy import Float64, n_jackknife, n_log_n
from assets.statistics.frames import NEVER_TOGETHER
from assets.statistics.from_labels import CountedLabels, Labels, count_labels
from assets.statistics.shuffled import shuffled_joint_sums

Z95 = 1.959964
"""The 97.5 % quantile of the normal distribution."""


def label_uncertainty(
    labels: Labels | CountedLabels,
    *,
    tasks: Sequence[str] | None = None,
    split_column: str | None = None,
    sources: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    permutations: int = 200,
    seed: int = 0,
) -> pl.DataFrame:
    """Bias-corrected H(Y|Z) with a 95 % interval, and the plug-in value of shuffled labels, for every pair.

    The interval stands for H(Y|Z) of the population and rests on two estimates that bracket it in
    expectation. With psi(n_z) − psi(n_zy) in place of log(n_z / n_zy) (harmonic numbers; Grassberger 1988,
    Schürmann 2004) the estimate is never too high; it misses sum_zy p (1 − p)^k / k over k ≥ n_z, which is at
    most the expected number of value pairs that are possible but unseen, divided by n. So the interval runs
    from the first estimate less 1.96 standard errors (delta method) to the same plus 1.96 standard errors
    plus the unseen part, which has a margin of its own (the rule of three a cell, added in squares). It is
    cut at 0 and at the upper limit of H(Y). For a source of which every value is seen once it runs from 0 to
    H(Y): nothing is known.

    The shuffled labels are drawn from the tables' own margins (a uniform permutation of the labels on the
    rows where both are known gives exactly the multivariate hypergeometric law), so missing labels stay where
    they are.

    Args:
        labels: As for `label_statistics`, or the counts that `count_labels` made; then the other selections
            are ignored.
        tasks: As for `label_statistics`.
        split_column: As for `label_statistics`.
        sources: As for `label_statistics`.
        targets: As for `label_statistics`.
        permutations: Shuffles a pair.
        seed: Seed of the shuffles.

    Returns:
        split, source, target, n, conditional_entropy (plug-in), corrected, standard_error, ci_low, ci_high,
        null_mean, null_q05, null_q95 (mean and quantiles of the plug-in value of shuffled labels: a value
        below null_q05 is more than chance), p_value (share of shuffles, the data counted as one, that are at
        or below the plug-in value), undefined_because; nats, rows in the order of `label_statistics`.

    Raises:
        ValueError: Fewer than one permutation.
        DataError: As for `label_statistics`.
    """
    if permutations < 1:
        raise ValueError(f"permutations must be at least 1, not {permutations}")
    if isinstance(labels, CountedLabels):
        counted = labels
    else:
        counted = count_labels(
            labels, tasks=tasks, split_column=split_column, sources=sources, targets=targets
        )
    table = CellTable(counted.counts, counted.sources, counted.targets)
    parts = []
    for group, split in enumerate(counted.splits):
        pairs = PairMargins.of(table.cells(group), len(counted.counts.codings))
        found = {**intervals(pairs), **_null(pairs, permutations, np.random.default_rng([seed, group]))}
        frame = table.pairs().join(
            pl.DataFrame({"pair": pairs.pair, **found}, nan_to_null=True),
            on="pair",
            how="left",
            maintain_order="left",
        )
        parts.append(frame.drop("pair").select(pl.lit(split).alias("split"), pl.all()))
    reason = pl.when(pl.col("n") == 0).then(pl.lit(NEVER_TOGETHER)).alias("undefined_because")
    return pl.concat(parts).with_columns(pl.col("n").fill_null(0)).with_columns(reason)


@dataclass(frozen=True)
class PairMargins:
    """The cells of many pairs and their margins, flat, each sorted by pair.

    Attributes:
        pair: (P,) source · tasks + target of the pairs that have a row.
        tasks: Number of tasks.
        cell_pair: (cells,) place of each cell's pair in `pair`.
        cell_source: (cells,) place of its source value in the source margin.
        cells: (cells,) n_zy.
        source_pair: (source values,) place of the pair.
        source: (source values,) n_z.
        target_pair: (target values,) place of the pair.
        target: (target values,) n_y.
    """

    pair: Int64
    tasks: int
    cell_pair: Int64
    cell_source: Int64
    cells: Int64
    source_pair: Int64
    source: Int64
    target_pair: Int64
    target: Int64

    @classmethod
    def of(cls, cells: tuple[Int64, Int64, Int64, Int64], tasks: int) -> "PairMargins":
        """From cells (pair, source value, target value, n) sorted in that order."""
        pair, s_value, t_value, n = cells
        new_pair = np.diff(pair, prepend=-1) != 0
        new_source = new_pair | (np.diff(s_value, prepend=-1) != 0)
        cell_pair = np.cumsum(new_pair) - 1
        by_target = np.lexsort((t_value, cell_pair))
        t_pair = cell_pair[by_target]
        new_target = (np.diff(t_pair, prepend=-1) != 0) | (np.diff(t_value[by_target], prepend=-1) != 0)
        return cls(
            pair=pair[new_pair],
            tasks=tasks,
            cell_pair=cell_pair,
            cell_source=np.cumsum(new_source) - 1,
            cells=n,
            source_pair=cell_pair[new_source],
            source=_segments(n, np.flatnonzero(new_source)),
            target_pair=t_pair[new_target],
            target=_segments(n[by_target], np.flatnonzero(new_target)),
        )

    def sum(self, values: NDArray[np.number], of: Int64) -> Float64:
        """(P,) sums of `values` by pair; `of` says each value's pair."""
        return np.bincount(of, weights=values, minlength=len(self.pair)).astype(np.float64)


def _segments(values: Int64, starts: Int64) -> Int64:
    return np.add.reduceat(values, starts) if len(starts) else np.empty(0, np.int64)


def intervals(m: PairMargins) -> dict[str, NDArray[np.number]]:
    """The interval of `label_uncertainty` and what it is made of, (P,) each."""
    n = m.sum(m.cells, m.cell_pair)
    n_z = m.source[m.cell_source]
    plug_in = (m.sum(n_log_n(m.source), m.source_pair) - m.sum(n_log_n(m.cells), m.cell_pair)) / n
    corrected = (m.sum(n_jackknife(m.source), m.source_pair) - m.sum(n_jackknife(m.cells), m.cell_pair)) / n
    log_loss = digamma(n_z) - digamma(m.cells)
    low = m.sum(m.cells * log_loss, m.cell_pair) / n
    variance = m.sum(m.cells * log_loss**2, m.cell_pair) / n - low**2
    error = np.sqrt(np.maximum(variance, 0.0) / n)
    n_y_values = np.bincount(m.target_pair, minlength=len(m.pair))
    unseen = n_y_values[m.source_pair] - np.bincount(m.cell_source, minlength=len(m.source))
    rule_of_three = 3.0 * (1.0 + np.log(np.maximum(m.source, 3) / 3.0))
    spread = np.sqrt(m.sum(unseen * (rule_of_three - 1.0) ** 2, m.source_pair)) / n
    high = np.maximum(low + m.sum(unseen, m.source_pair) / n, corrected)
    high = high + np.sqrt((Z95 * error) ** 2 + spread**2)
    corrected, plug_in = np.maximum(corrected, 0.0), np.maximum(plug_in, 0.0)
    return {
        "n": n.astype(np.int64),
        "conditional_entropy": plug_in,
        "corrected": corrected,
        "standard_error": error,
        "ci_low": np.maximum(np.minimum(low, corrected) - Z95 * error, 0.0),
        "ci_high": np.maximum(np.minimum(high, _target_limit(m, n)), corrected),
    }


def _target_limit(m: PairMargins, n: Float64) -> Float64:
    """(P,) upper 95 % limit of H(Y), which no conditional entropy exceeds; at most log K."""
    log_loss = np.log(n)[m.target_pair] - np.log(m.target)
    mean = m.sum(m.target * log_loss, m.target_pair) / n
    variance = m.sum(m.target * log_loss**2, m.target_pair) / n - mean**2
    jackknife = (n_jackknife(n.astype(np.int64)) - m.sum(n_jackknife(m.target), m.target_pair)) / n
    limit = jackknife + Z95 * np.sqrt(np.maximum(variance, 0.0) / n)
    return np.minimum(limit, np.log(np.bincount(m.target_pair, minlength=len(m.pair))))


def _null(m: PairMargins, permutations: int, rng: np.random.Generator) -> dict[str, Float64]:
    """Mean, quantiles and p-value of the plug-in value under shuffling, (P,) each.

    Both directions of a pair share their shuffled tables: only the sum over the cells changes, not the
        margins.
    """
    s, t = np.divmod(m.pair, m.tasks)
    _, first, place = np.unique(
        np.minimum(s, t) * m.tasks + np.maximum(s, t), return_index=True, return_inverse=True
    )
    shuffled = shuffled_joint_sums(m, first, permutations, rng)
    n = m.sum(m.cells, m.cell_pair)
    source = m.sum(n_log_n(m.source), m.source_pair)
    joint = m.sum(n_log_n(m.cells), m.cell_pair)
    out = {name: np.empty(len(m.pair)) for name in ("null_mean", "null_q05", "null_q95", "p_value")}
    for block in np.array_split(np.arange(len(m.pair)), max(1, len(m.pair) * permutations // 2**22)):
        sums = shuffled[place[block]]
        null = np.maximum((source[block, None] - sums) / n[block, None], 0.0)
        out["null_mean"][block] = null.mean(axis=1)
        out["null_q05"][block], out["null_q95"][block] = np.quantile(null, (0.05, 0.95), axis=1)
        as_good = sums >= joint[block, None] * (1.0 - 1e-12)
        out["p_value"][block] = (1.0 + as_good.sum(axis=1)) / (1.0 + permutations)
    return out
