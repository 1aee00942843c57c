"""The one call of this stage: labels in, the frames of counts, conditional entropies and hardness out.

It reads the labels in pieces and hands them on; counting lives in counts.py, the formulae in entropy.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.statistics import frames
from assets.statistics.coding import TaskCoding, task_codings, task_columns
from assets.statistics.counts import PairCounter, PairCounts, with_all
from resources.errors import DataError

Labels = pl.DataFrame | pl.LazyFrame | str | Path
"""A label table: a frame, a lazy frame, or the path of a Parquet file."""

ALL = "all"
_GROUP = "\0group"


@dataclass(frozen=True)
class LabelStatistics:
    """What the labels alone say. Entropies are plug-in values in nats; the undefined is NULL.

    Attributes:
        label_counts: (split, task, value, n); n = 0 for a value that occurs in another split only.
        joint_counts: (split, source, target, source_value, target_value, n), non-zero cells on the rows where
            both labels are known (Eq. 6).
        conditional_entropy: (split, source, target, conditional_entropy, target_entropy, n,
            undefined_because, …): H(target | source) of Eq. 7; see `frames.conditional_entropy_frame` and
            `entropy.Estimates` for the rest.
        hardness: (split, task, hardness, n, n_values, undefined_because) of Eq. 14.
        label_values: (task, value, name): what every code stands for.
    """

    label_counts: pl.DataFrame
    joint_counts: pl.DataFrame
    conditional_entropy: pl.DataFrame
    hardness: pl.DataFrame
    label_values: pl.DataFrame


@dataclass(frozen=True)
class CountedLabels:
    """Counts by split together with what was asked: the step between labels and frames.

    Attributes:
        counts: One group a split.
        splits: Their names; `all` is the last.
        sources: Positions of the sources among `counts.codings`.
        targets: Positions of the targets.
    """

    counts: PairCounts
    splits: list[str]
    sources: list[int]
    targets: list[int]


def label_statistics(
    labels: Labels,
    *,
    tasks: Sequence[str] | None = None,
    split_column: str | None = None,
    sources: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    coded: bool = False,
) -> LabelStatistics:
    """Counts, conditional entropy (Eq. 6-9) and hardness (Eq. 14) of every task and pair, at once.

    Args:
        labels: One row an image and one column a task: a frame, a lazy frame, or the path of a Parquet file.
            Memory does not grow with the rows of a lazy frame or a file. NULL and NaN are unknown labels.
        tasks: The columns to use; by default every column but image_id, image, split and partition (or the
            sources and targets where both are named).
        split_column: A column of split names; each gets its rows in the frames beside `all`, which also holds
            the rows without a split. By default every row has split `all`.
        sources: The tasks to condition on; all by default.
        targets: The tasks to predict; all by default. A task is never paired with itself.
        coded: Whether integers are codes already (0…K−1 of a table `label_values`), so that they keep their
            numbers also where some, the first for one, do not occur.

    Returns:
        The frames, rows in the order of splits (train first, test and all last), sources and targets.

    Raises:
        DataError: A column that is missing, repeated, or no label column; a table too wide to count in
            memory.
    """
    counted = count_labels(
        labels, tasks=tasks, split_column=split_column, sources=sources, targets=targets, coded=coded
    )
    counts, splits = counted.counts, counted.splits
    return LabelStatistics(
        label_counts=frames.label_counts_frame(counts, splits),
        joint_counts=frames.joint_counts_frame(counts, splits, counted.sources, counted.targets),
        conditional_entropy=frames.conditional_entropy_frame(
            counts, splits, counted.sources, counted.targets
        ),
        hardness=frames.hardness_frame(counts, splits),
        label_values=frames.label_values_frame(counts),
    )


def count_labels(
    labels: Labels,
    *,
    tasks: Sequence[str] | None = None,
    split_column: str | None = None,
    sources: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    coded: bool = False,
) -> CountedLabels:
    """The counts of `label_statistics` as arrays, without the frames; arguments and errors are the same."""
    table = scan(labels)
    schema = table.collect_schema()
    if split_column is not None and split_column not in schema:
        raise DataError(
            f"split column '{split_column}' is not in the table: it has {', '.join(schema.names()[:8])}"
        )
    task_names, source_names, target_names = task_columns(schema, tasks, split_column, sources, targets)
    _, codings = task_codings(table, schema, task_names, coded=coded)
    splits = split_names(table, split_column)
    source_at = [task_names.index(t) for t in source_names]
    target_at = [task_names.index(t) for t in target_names]
    counter = PairCounter(codings, _wide_pairs(codings, source_at, target_at), n_groups=len(splits) + 1)
    places = [c.places(schema[c.task]) for c in codings]
    for piece, groups in _pieces(
        labels if isinstance(labels, pl.DataFrame) else table,
        places,
        split_column,
        splits,
        counter.piece_rows,
    ):
        counter.add(piece, groups)
    return CountedLabels(with_all(counter.result(), len(splits)), [*splits, ALL], source_at, target_at)


def scan(labels: Labels) -> pl.LazyFrame:
    """The label table as a lazy frame.

    Raises:
        DataError: A path that is not a Parquet file.
    """
    if isinstance(labels, pl.LazyFrame):
        return labels
    if isinstance(labels, pl.DataFrame):
        return labels.lazy()
    path = Path(labels)
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the path of a Parquet file, or a Polars frame")
    frame = pl.scan_parquet(path)
    try:
        frame.collect_schema()
    except pl.exceptions.ComputeError as error:
        raise DataError(
            f"{path}: not a Parquet file ({error}); read other formats with Polars first"
        ) from error
    return frame


def split_names(table: pl.LazyFrame, split_column: str | None) -> list[str]:
    """The splits that occur: train first, test last, others between them by name.

    Raises:
        DataError: A split called `all`, which is the name of all rows together.
    """
    if split_column is None:
        return []
    column = pl.col(split_column).cast(pl.String)
    names = table.select(column.unique().drop_nulls()).collect().to_series().to_list()
    if ALL in names:
        raise DataError(
            f"column '{split_column}' holds a split called '{ALL}', which stands for all rows: rename it"
        )
    return sorted(names, key=lambda name: ({"train": 0, "test": 2}.get(name, 1), name))


def _wide_pairs(codings: list[TaskCoding], sources: list[int], targets: list[int]) -> list[tuple[int, int]]:
    """Pairs of wide tasks, the first before the second, that are asked for in either direction."""
    wide = [i for i, c in enumerate(codings) if c.is_wide]

    def asked(a: int, b: int) -> bool:
        return (a in sources and b in targets) or (b in sources and a in targets)

    return [(a, b) for i, a in enumerate(wide) for b in wide[i + 1 :] if asked(a, b)]


def _pieces(
    table: pl.DataFrame | pl.LazyFrame,
    places: list[pl.Expr],
    split_column: str | None,
    splits: list[str],
    rows: int,
) -> Iterator[tuple[pl.DataFrame, NDArray[np.integer] | None]]:
    """The places of the labels piece by piece, with the group of every row."""
    selection = list(places)
    if split_column is not None:
        code = pl.col(split_column).cast(pl.String).cast(pl.Enum(splits)).to_physical().cast(pl.Int64)
        selection.append(code.fill_null(len(splits)).alias(_GROUP))
    if isinstance(table, pl.DataFrame):
        pieces = (part.select(selection) for part in table.iter_slices(rows))
    else:
        batches = table.select(selection).collect_batches(chunk_size=rows, maintain_order=False)
        pieces = (part for batch in batches for part in batch.iter_slices(rows))
    for piece in pieces:
        yield piece, None if split_column is None else piece.get_column(_GROUP).to_numpy()
