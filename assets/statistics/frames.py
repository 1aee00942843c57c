"""The Polars frames that people and tables read, built from counts without a loop over pairs.

No number is computed here.

Rows stand in the order of splits, sources and targets (in the order of the tasks), then values; NaN becomes
NULL.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from assets.statistics.cells import CellTable
from assets.statistics.counts import Int64, PairCounts
from assets.statistics.entropy import Estimates, PairSums, entropy, estimates, pair_sums

NEVER_TOGETHER = "no row of this split has both labels"
NO_LABEL = "no row of this split has a label"


def label_values_frame(counts: PairCounts) -> pl.DataFrame:
    """(task, value, name): what every code stands for."""
    return pl.DataFrame(
        {
            "task": [c.task for c in counts.codings for _ in c.names],
            "value": np.concatenate([c.codes for c in counts.codings]).astype(np.int32),
            "name": [name for c in counts.codings for name in c.names],
        },
        schema={"task": pl.String, "value": pl.Int32, "name": pl.String},
    )


def label_counts_frame(counts: PairCounts, splits: Sequence[str]) -> pl.DataFrame:
    """(split, task, value, n): every value that occurs anywhere has a row in every split."""
    tasks = [c.task for c in counts.codings]
    sizes = [c.n_values for c in counts.codings]
    values = np.concatenate([c.codes for c in counts.codings]).astype(np.int32)
    per_split = np.concatenate(counts.marginals, axis=1)
    return pl.DataFrame(
        {
            "split": _repeated(splits, np.full(len(splits), len(values))),
            "task": _repeated(tasks * len(splits), np.array(sizes * len(splits))),
            "value": np.tile(values, len(splits)),
            "n": per_split.ravel(),
        }
    )


def hardness_frame(counts: PairCounts, splits: Sequence[str]) -> pl.DataFrame:
    """(split, task, hardness, n, n_values, undefined_because): H(Z) of Eq. 14 where the task is labelled.

    `n_values` counts the values that occur in the split; a constant task has hardness 0, one without any
    label NULL.
    """
    tasks = [c.task for c in counts.codings]
    n = np.stack([m.sum(axis=1) for m in counts.marginals], axis=1).ravel()
    return pl.DataFrame(
        {
            "split": _repeated(splits, np.full(len(splits), len(tasks))),
            "task": tasks * len(splits),
            "hardness": np.stack([entropy(m) for m in counts.marginals], axis=1).ravel(),
            "n": n,
            "n_values": np.stack([(m > 0).sum(axis=1) for m in counts.marginals], axis=1).ravel(),
        },
        nan_to_null=True,
    ).with_columns(undefined_because=_reason(n, NO_LABEL))


def conditional_entropy_frame(
    counts: PairCounts, splits: Sequence[str], sources: list[int], targets: list[int]
) -> pl.DataFrame:
    """One row a split, source and target (source ≠ target): every estimate of `entropy.Estimates`."""
    sums = [pair_sums(counts, group) for group in range(len(splits))]
    return conditional_entropy_of_sums([c.task for c in counts.codings], sums, splits, sources, targets)


def conditional_entropy_of_sums(
    tasks: Sequence[str],
    sums: Sequence[PairSums],
    splits: Sequence[str],
    sources: list[int],
    targets: list[int],
) -> pl.DataFrame:
    """The same from the sums themselves, one `PairSums` a split over `tasks`."""
    pairs = np.asarray(sources)[:, None] != np.asarray(targets)[None, :]
    names = pl.Series(tasks, dtype=pl.String)
    s, t = np.nonzero(pairs)
    source, target = names.gather(np.asarray(sources)[s]), names.gather(np.asarray(targets)[t])
    parts = []
    for of_split, split in zip(sums, splits, strict=True):
        e = estimates(of_split, sources, targets)
        columns = {name: getattr(e, name)[pairs] for name in Estimates.__dataclass_fields__}
        frame = pl.DataFrame({"source": source, "target": target, **columns}, nan_to_null=True)
        parts.append(
            frame.select(pl.lit(split).alias("split"), pl.all(), _reason(columns["n"], NEVER_TOGETHER))
        )
    return pl.concat(parts).select(
        "split",
        "source",
        "target",
        "conditional_entropy",
        "target_entropy",
        "n",
        "undefined_because",
        "source_entropy",
        "joint_entropy",
        "mutual_information",
        "normalised",
        "corrected",
        "corrected_target_entropy",
        "corrected_normalised",
        "n_source_values",
        "n_target_values",
        (pl.col("n_source_values") > pl.col("n_target_values")).alias("wide_source"),
        _near_unique().alias("near_unique_source"),
        "equivalent",
    )


def _near_unique() -> pl.Expr:
    """Whether a source has fewer than two rows a value, on the pair's rows or as a column.

    The column is judged on the pair with most rows: a nearly unique column stays one beside a target that few rows
    have a label of.
    """
    values, n, column = pl.col("n_source_values"), pl.col("n"), ["split", "source"]
    of_pair = (values * 2 > n) & (values > 2)
    of_column = (values.max().over(column) * 2 > n.max().over(column)) & (values.max().over(column) > 2)
    return of_pair | of_column


def joint_counts_frame(
    counts: PairCounts, splits: Sequence[str], sources: list[int], targets: list[int]
) -> pl.DataFrame:
    """(split, source, target, source_value, target_value, n): non-zero cells, in each direction asked."""
    size = len(counts.codings)
    plain = all(
        len(c.codes) == 0 or c.codes[-1] == c.n_values - 1 for c in counts.codings
    )  # codes are places
    codes = np.zeros((size, max(1, *(c.n_values for c in counts.codings))), np.int32)
    for i, coding in enumerate(counts.codings):
        codes[i, : coding.n_values] = coding.codes
    names = pl.Series([c.task for c in counts.codings], dtype=pl.String)
    table = CellTable(counts, sources, targets)
    parts = []
    for group, split in enumerate(splits):
        pair, s_value, t_value, n = table.cells(group)
        # Once a pair, then repeated: a division a cell costs more.
        starts = np.flatnonzero(np.diff(pair, prepend=-1))
        of_pair = np.divmod(pair[starts], size)
        s, t = (np.repeat(task.astype(np.uint32), np.diff(starts, append=len(pair))) for task in of_pair)
        columns = {
            "source": names.gather(s),
            "target": names.gather(t),
            "source_value": s_value.astype(np.int32) if plain else codes[s, s_value],
            "target_value": t_value.astype(np.int32) if plain else codes[t, t_value],
            "n": n,
        }
        parts.append(pl.DataFrame(columns).select(pl.lit(split).alias("split"), pl.all()))
    return pl.concat(parts)


def _repeated(names: Sequence[str], times: Int64) -> pl.Series:
    """Every name as many times in a row as its place in `times` says."""
    return pl.Series(list(names), dtype=pl.String).gather(np.repeat(np.arange(len(names)), times))


def _reason(n: Int64, text: str) -> pl.Series:
    """The column undefined_because: `text` where n = 0."""
    return pl.Series("undefined_because", [None, text], dtype=pl.String).gather(
        (np.asarray(n) == 0).astype(np.uint32)
    )
