"""Conditional entropy and hardness from the count tables themselves, as the chain of assets makes them.

The formulae live in entropy.py; counting labels, in counts.py.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
import polars as pl

from assets.statistics.counts import Int64
from assets.statistics.entropy import PairSums, entropy, n_jackknife, n_log_n
from assets.statistics.frames import NO_LABEL, conditional_entropy_of_sums

HARDNESS_SCHEMA = {
    "split": pl.String,
    "task": pl.String,
    "hardness": pl.Float64,
    "n": pl.Int64,
    "n_values": pl.Int32,
    "undefined_because": pl.String,
}


def conditional_entropy_from_counts(
    joint_counts: pl.DataFrame, *, splits: Sequence[str], sources: Sequence[str], targets: Sequence[str]
) -> pl.DataFrame:
    """H(target | source) of every pair from the joint counts (Eq. 6-9).

    Args:
        joint_counts: (split, source, target, source_value, target_value, n), non-zero cells.
        splits: the splits to give, in order; one without any cell has n = 0 for every pair.
        sources: the tasks to condition on.
        targets: the tasks to predict.

    Returns:
        The columns of `frames.conditional_entropy_frame`, one row a split and pair with source ≠ target, in
        nats.
    """
    tasks = list(dict.fromkeys([*sources, *targets]))
    sums = [_pair_sums(joint_counts.filter(pl.col("split") == split), tasks) for split in splits]
    rows, columns = ([tasks.index(name) for name in names] for names in (sources, targets))
    return conditional_entropy_of_sums(tasks, sums, splits, rows, columns)


def hardness_from_counts(
    label_counts: pl.DataFrame, *, splits: Sequence[str], tasks: Sequence[str]
) -> pl.DataFrame:
    """H(Z|C) of every task in nats (Eq. 14), from the counts of its values.

    Args:
        label_counts: (split, task, value, n).
        splits: the splits to give, in order.
        tasks: the tasks to give, in order; one without any label has hardness NULL and n = 0.

    Returns:
        (split, task, hardness, n, n_values, undefined_because), as `frames.hardness_frame`.
    """
    counts = {key: cells["n"].to_numpy() for key, cells in label_counts.group_by("split", "task")}
    rows = []
    for split, task in product(splits, tasks):
        n = np.asarray(counts.get((split, task), ()), dtype=np.int64)
        total = int(n.sum())
        hardness, reason = (float(entropy(n)), None) if total else (None, NO_LABEL)
        rows.append((split, task, hardness, total, int((n > 0).sum()), reason))
    return pl.DataFrame(rows, schema=HARDNESS_SCHEMA, orient="row")


def _pair_sums(cells: pl.DataFrame, tasks: list[str]) -> PairSums:
    """The sums that all estimates are made of, (tasks, tasks), both directions of each pair with cells."""
    size = len(tasks)
    pair = ["source", "target"]
    joint = _sums(cells, pair)
    by_source = _sums(
        cells.group_by([*pair, "source_value"], maintain_order=True).agg(pl.col("n").sum()), pair
    )
    by_target = _sums(
        cells.group_by([*pair, "target_value"], maintain_order=True).agg(pl.col("n").sum()), pair
    )
    place = {name: i for i, name in enumerate(tasks)}
    at = tuple(joint[name].replace_strict(place, return_dtype=pl.Int64).to_numpy() for name in pair)
    back = (at[1], at[0])
    n, joint_values, values = (np.zeros((size, size), np.int64) for _ in range(3))
    logs, jackknives, joint_logs, joint_jackknives = (np.zeros((size, size)) for _ in range(4))
    n[at] = n[back] = joint["n"].to_numpy()
    for matrix, name in ((joint_logs, "log"), (joint_jackknives, "jackknife"), (joint_values, "values")):
        matrix[at] = matrix[back] = joint[name].to_numpy()
    for matrix, name in ((logs, "log"), (jackknives, "jackknife"), (values, "values")):
        matrix[at] = by_source[name].to_numpy()
        matrix[back] = by_target[name].to_numpy()
    return PairSums(n, joint_logs, logs, joint_jackknives, jackknives, joint_values, values)


def _sums(counts: pl.DataFrame, pair: list[str]) -> pl.DataFrame:
    """By pair: n, the sums of n log n and J(n), and the number of counts; in order of first appearance."""
    n: Int64 = counts["n"].to_numpy().astype(np.int64)
    terms = counts.select(*pair, "n").with_columns(log=n_log_n(n), jackknife=n_jackknife(n))
    return terms.group_by(pair, maintain_order=True).agg(
        pl.col("n", "log", "jackknife").sum(), pl.len().cast(pl.Int64).alias("values")
    )
