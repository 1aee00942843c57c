"""The estimates over the rows that could be measured: those whose image could be read.

Label statistics run before any image is opened and count every row; beside a measurement, H(Y|Z) and hardness are
counted once more without the rows that training and probes had to leave out. Nothing is correlated here.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from assets.statistics import label_statistics
from assets.statistics.from_counts import conditional_entropy_from_counts, hardness_from_counts


def estimates_on_readable(
    labels: pl.DataFrame,
    readable: npt.NDArray[np.bool_],
    *,
    tasks: Sequence[str],
    sources: Sequence[str],
    targets: Sequence[str],
    splits: Sequence[str],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """H(Y|Z) of every pair (Eq. 7) and the hardness of every task (Eq. 14) over the rows with a readable image.

    Args:
        labels: the label table with a column for every source, n rows.
        readable: (n,) bool, in the order of `image_id`.
        tasks: the tasks whose hardness is wanted.
        sources: the tasks to condition on.
        targets: the tasks to predict.
        splits: the splits to give.

    Returns:
        The columns of the tables `conditional_entropy` and `hardness`; `n` counts readable rows, nats.
    """
    rows = labels.filter(pl.Series(readable))
    counted = label_statistics(
        rows,
        tasks=list(dict.fromkeys([*tasks, *sources])),
        split_column="split",
        sources=sources,
        targets=targets,
    )
    entropy = conditional_entropy_from_counts(
        counted.joint_counts, splits=splits, sources=sources, targets=targets
    )
    return entropy, hardness_from_counts(counted.label_counts, splits=splits, tasks=tasks)


def with_label_rows(estimates: pl.DataFrame, of_labels: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Estimates over readable rows with `n_labels`, the rows that the label statistics counted.

    Args:
        estimates: one of the frames of `estimates_on_readable`.
        of_labels: the label statistics' table of the same kind.
        keys: the columns that identify a row.
    """
    counted = of_labels.select(*keys, pl.col("n").alias("n_labels"))
    return estimates.join(counted, on=list(keys), how="left", maintain_order="left")
