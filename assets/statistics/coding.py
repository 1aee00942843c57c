"""Which columns are tasks, the distinct values of each, and the code that each value gets.

No counting happens here, and nothing is read beyond the distinct values of a column.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from resources.errors import DataError

NEVER_TASKS = ("image_id", "image", "split", "partition", "split_group")
"""Columns that describe a row rather than label it; they are tasks only when they are named."""

MANY_VALUES = 64
"""Tasks with more values than this are counted by the sparse way."""


@dataclass(frozen=True)
class TaskCoding:
    """The values of one task in sorted order.

    Attributes:
        task: Name of the column.
        values: The K distinct known values as they stand in the column, sorted; empty where no label is
            known.
        codes: (K,) the code of each value, as the tables show it.
        names: The K values as text.
        has_missing: Whether some row has no label.
    """

    task: str
    values: pl.Series
    codes: NDArray[np.int64]
    names: tuple[str, ...]
    has_missing: bool

    @property
    def n_values(self) -> int:
        """K, the number of values that occur in any row."""
        return len(self.codes)

    @property
    def is_wide(self) -> bool:
        """Whether the task has too many values for a dense one-hot and is counted by the sparse way."""
        return self.n_values > MANY_VALUES

    def places(self, dtype: pl.DataType) -> pl.Expr:
        """The place of each label among `values` as Int8, or Int32 if wide; −1 where it is unknown.

        Args:
            dtype: Type of the column as it stands in the table.
        """
        labels, small = label_expression(self.task, dtype), pl.Int32 if self.is_wide else pl.Int8
        values = self.values
        if not len(values):
            places = labels.cast(small, strict=False)  # nothing but NULL
        elif values.dtype == pl.String:
            places = labels.cast(pl.Enum(values)).to_physical().cast(small)
        elif values.dtype == pl.Boolean or int(values[-1]) - int(values[0]) + 1 == len(values):
            first = int(values[0])
            places = (
                labels.cast(small)
                if first == 0 and not self.is_wide
                else (labels.cast(pl.Int64) - first).cast(small)
            )
        else:
            places = labels.replace_strict(values, np.arange(len(values)), return_dtype=small)
        return (places.fill_null(-1) if self.has_missing else places).alias(self.task)


def task_columns(
    schema: pl.Schema,
    tasks: Sequence[str] | None,
    split_column: str | None,
    sources: Sequence[str] | None,
    targets: Sequence[str] | None,
) -> tuple[list[str], list[str], list[str]]:
    """Which columns are tasks, sources and targets, each in the order that the frames follow.

    Without `tasks` they are the columns named by `sources` and `targets` if both are given, otherwise every
    column but `NEVER_TASKS` and the split.

    Raises:
        DataError: A name that is not a column, stands twice, or is a source or target but not a task.
    """
    columns = [c for c in schema.names() if c != split_column]
    if tasks is None:
        if sources is not None and targets is not None:
            named = {*sources, *targets}
            tasks = [c for c in columns if c in named] + [
                c for c in dict.fromkeys((*sources, *targets)) if c not in columns
            ]
        else:
            named = {*(sources or ()), *(targets or ())}
            tasks = [c for c in columns if c in named or c not in NEVER_TASKS]
    known = list(tasks)
    _refuse_unknown(known, schema.names(), "the table's columns")
    chosen = []
    for role, names in (("source", sources), ("target", targets)):
        if names is not None:
            _refuse_unknown(names, known, f"the tasks, so it cannot be a {role}; the tasks")
        chosen.append(known if names is None else [t for t in known if t in set(names)])
    if not known:
        raise DataError(
            "the label table has no task column: give it one column per task, or name them with tasks="
        )
    return known, chosen[0], chosen[1]


def _refuse_unknown(names: Sequence[str], known: Sequence[str], where: str) -> None:
    """Refuse a name that is absent from `known` or stands twice."""
    present = set(known)
    for name in names:
        if name not in present:
            shown = ", ".join(list(known)[:8]) + (", …" if len(known) > 8 else "")
            raise DataError(f"column '{name}' is not among {where}: {shown}")
    repeated = (
        [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
        if len(set(names)) < len(names)
        else []
    )
    if repeated:
        raise DataError(f"column '{repeated[0]}' is named twice: name each task once")


def label_expression(task: str, dtype: pl.DataType) -> pl.Expr:
    """The column as labels: integers, Booleans or text, NULL where unknown (NaN counts as unknown).

    Raises:
        DataError: A column type that cannot hold labels.
    """
    column = pl.col(task)
    if dtype.is_integer() or dtype in (pl.Boolean, pl.String):
        return column
    if dtype.is_float():
        return column.fill_nan(None).cast(pl.Int64)
    if dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if dtype == pl.Null:
        return column.cast(pl.Int8)
    raise DataError(
        f"column '{task}' is of type {dtype}, which cannot be a task: use integers, Booleans or text"
    )


def task_codings(
    labels: pl.LazyFrame, schema: pl.Schema, tasks: Sequence[str], *, coded: bool = False
) -> tuple[int, list[TaskCoding]]:
    """The number of rows, and the coding of every task, from at most two passes over the labels.

    Codes: Booleans are 0 and 1; integer columns that hold only 0 and 1, or whose smallest value is 0, keep
        their
    numbers (a number that never occurs is an empty class); every other column gets 0…K−1 in sorted order. With
    `coded`, integers are codes already and all keep their numbers, whichever of them occur.

    Raises:
        DataError: A column of decimals, or of a type that cannot hold labels.
    """
    expressions = {t: label_expression(t, schema[t]) for t in tasks}
    numeric = [t for t in tasks if schema[t] not in (pl.String, pl.Categorical, pl.Enum)]
    row = _summary(labels, schema, expressions, numeric)
    n_rows = int(row["n"])
    bounds = {t: (row[f"{t}\0min"], row[f"{t}\0max"]) for t in numeric}
    simple = {t for t in numeric if bounds[t][0] is None or {int(b) for b in bounds[t]} <= {0, 1}}
    rest = [t for t in tasks if t not in simple]
    distinct: dict[str, pl.Series] = {}
    if rest:
        found = labels.select(
            expressions[t].unique().drop_nulls().sort().implode().alias(t) for t in rest
        ).collect()
        distinct = {t: found[t].explode(empty_as_null=False) for t in rest}
    for t in simple:
        low, high = bounds[t]
        known = [] if low is None else list(range(int(low), int(high) + 1))
        distinct[t] = pl.Series(t, known, dtype=pl.Int64).cast(
            pl.Boolean if schema[t] == pl.Boolean else pl.Int64
        )
    return n_rows, [_coding(t, distinct[t], int(row[f"{t}\0missing"]) > 0, coded) for t in tasks]


def _summary(
    labels: pl.LazyFrame, schema: pl.Schema, expressions: dict[str, pl.Expr], numeric: Sequence[str]
) -> dict[str, int]:
    """One pass: rows, missing labels a task, and the bounds of numeric tasks; refuses decimals."""
    selection = [pl.len().alias("n")]
    for t, expression in expressions.items():
        label = expression
        missing = pl.col(t).fill_nan(None) if schema[t].is_float() else pl.col(t)
        selection.append(missing.null_count().alias(f"{t}\0missing"))
        if schema[t].is_float():
            selection.append((pl.col(t).fill_nan(None) % 1 != 0).any().alias(f"{t}\0decimal"))
            label = pl.col(t).fill_nan(None).round()
        if t in numeric:
            selection += [label.min().alias(f"{t}\0min"), label.max().alias(f"{t}\0max")]
    row: dict[str, int] = labels.select(selection).collect().row(0, named=True)
    for t in numeric:
        if row.get(f"{t}\0decimal"):
            raise DataError(
                f"column '{t}' holds decimals, which are not labels: bin it first, or leave it out of tasks="
            )
    return row


def _coding(task: str, values: pl.Series, has_missing: bool, coded: bool) -> TaskCoding:
    """The coding of one task from its sorted distinct values."""
    names = tuple(values.cast(pl.String).to_list())
    codes = np.arange(len(values), dtype=np.int64)
    if values.dtype == pl.Boolean or values.dtype.is_integer():
        numbers = values.cast(pl.Int64).to_numpy() if values.dtype != pl.UInt64 else values.to_numpy()
        small = len(numbers) > 0 and numbers[-1] < 2**31
        keeps = small and (coded or numbers[0] == 0 or numbers[0] == 1 == numbers[-1])
        codes = numbers.astype(np.int64) if keeps else codes
    return TaskCoding(task, values, codes, names, has_missing)
