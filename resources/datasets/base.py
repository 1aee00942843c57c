"""What every data-set reader hands over: the label table, its tasks, and the checks that all must pass.

No file format lives here; each reader has its own module.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from resources.errors import DataError

RESERVED = ("image_id", "image", "split", "partition", "split_group")
SPLITS = ("train", "test")
UNKNOWN = -1
"""The code of an unknown label in integer arrays; in frames it is null."""


@dataclass(frozen=True)
class TaskInfo:
    """One task: a column of labels over the images.

    Attributes:
        name: The column's name.
        description: One sentence for tables and pages.
        value_names: The original name of each code 0..K-1, in the order of the codes.
        kind: ``binary`` for at most two values, else ``multiclass``.
        source_only: Whether the task may be transferred from, but is no target.
    """

    name: str
    description: str
    value_names: tuple[str, ...]
    kind: Literal["binary", "multiclass"]
    source_only: bool = False

    @classmethod
    def of(
        cls, name: str, description: str, values: Iterable[str], *, source_only: bool = False
    ) -> "TaskInfo":
        """A task whose kind follows from its number of values."""
        names = tuple(values)
        return cls(name, description, names, "binary" if len(names) <= 2 else "multiclass", source_only)


@dataclass(frozen=True)
class LabelTable:
    """The labels of a data set, one row an image.

    Attributes:
        frame: ``image_id`` (Int64, 0..n-1, in row order), ``image`` (String, path relative to the image
            folder, or null), ``split`` (String, ``train`` or ``test``), where the data set has one
            ``partition`` (Int32), where the split is grouped ``split_group`` (String, null = a row of its
            own), then one Int32 column a task with codes 0..K-1, null = unknown.
        tasks: The tasks, in the order of the columns.
    """

    frame: pl.DataFrame
    tasks: tuple[TaskInfo, ...]

    @property
    def task_names(self) -> tuple[str, ...]:
        """The tasks' names, in the order of the columns."""
        return tuple(task.name for task in self.tasks)


class Dataset(ABC):
    """One data set on disk, opened but not read: what can be known without its data is known at once."""

    name: str

    @abstractmethod
    def task_names(self) -> tuple[str, ...]:
        """The tasks' names, known without reading the label files."""

    @abstractmethod
    def read(self) -> LabelTable:
        """Read the label files; images are neither needed nor opened.

        Raises:
            DataError: If a file is missing or malformed; the message names file and line or column.
        """

    def source_only_tasks(self) -> tuple[str, ...]:
        """Tasks that are sources but no targets."""
        return ()

    def label_files(self) -> tuple[Path, ...]:
        """The files whose change means that labels may have changed; they need not exist yet."""
        return ()

    def image_root(self) -> Path | None:
        """The folder that the ``image`` column is relative to, or None where there are no image files."""
        return None

    def pixels(self) -> npt.NDArray[np.uint8] | None:
        """The images, (n, height, width) uint8 in row order, where the data set ships them as arrays."""
        return None

    def published_counts(self) -> dict[str, int]:
        """The numbers its authors publish (``images``, and the number of values of a task by its name)."""
        return {}


def check_task_names(names: Iterable[str], where: str) -> None:
    """Refuse names that are empty, reserved, or differ from another only in case (DuckDB ignores case).

    Raises:
        DataError: Naming the offending task; ``where`` says in which file or table.
    """
    seen: dict[str, str] = {}
    for name in names:
        folded = name.casefold()
        if not name.strip():
            raise DataError(f"{where}: a task has an empty name; name every task column")
        if folded in RESERVED:
            raise DataError(
                f"{where}: task '{name}' collides with the reserved column '{folded}'; rename the task"
            )
        if folded in seen:
            raise DataError(
                f"{where}: tasks '{seen[folded]}' and '{name}' differ at most in case; rename one of them"
            )
        seen[folded] = name


class UnknownColumnError(DataError):
    """A column that an option names and the table does not have."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


class UnknownTaskError(DataError):
    """A wanted task that the data set does not have."""

    def __init__(self, task: str, message: str) -> None:
        super().__init__(message)
        self.task = task


def select_tasks(available: Sequence[str], wanted: Sequence[str] | None, where: str) -> tuple[str, ...]:
    """The wanted tasks in the order of ``available``; all of them where nothing in particular is wanted.

    Raises:
        UnknownTaskError: If a wanted task does not exist.
    """
    if wanted is None:
        return tuple(available)
    unknown = [name for name in wanted if name not in available]
    if unknown:
        shown = ", ".join(available[:8]) + (", …" if len(available) > 8 else "")
        raise UnknownTaskError(unknown[0], f"{where}: no task '{unknown[0]}'; the tasks are {shown}")
    return tuple(name for name in available if name in set(wanted))


def build_label_table(
    where: str,
    *,
    images: Sequence[str] | pl.Series | None,
    split: pl.Series,
    columns: Mapping[str, npt.NDArray[np.integer] | pl.Series],
    tasks: Sequence[TaskInfo],
    partition: pl.Series | None = None,
    groups: pl.Series | None = None,
) -> LabelTable:
    """Put a label table together and check what holds for every data set.

    Args:
        where: The file or data set, for messages.
        images: Paths relative to the image folder, unique; None where there are none.
        split: ``train`` or ``test`` for each of the n rows.
        columns: Codes by task, (n,); −1 in an array and null in a series stand for unknown.
        tasks: The tasks, in the wanted order of the columns.
        partition: The data set's own partition, where it has one.
        groups: The group of each row in a split that keeps groups together; null where a row is its own.

    Raises:
        DataError: If a name collides, an image comes twice, train is empty, a code has no name, or no task
            varies.
    """
    check_task_names((task.name for task in tasks), where)
    n = len(split)
    image = pl.Series("image", images, dtype=pl.String) if images is not None else None
    parts: list[pl.Series] = [
        pl.Series("image_id", np.arange(n, dtype=np.int64)),
        image if image is not None else pl.Series("image", [None] * n, dtype=pl.String),
        split.cast(pl.String).alias("split"),
    ]
    if partition is not None:
        parts.append(partition.cast(pl.Int32).alias("partition"))
    if groups is not None:
        parts.append(groups.cast(pl.String).alias("split_group"))
    parts.extend(_codes(task, columns[task.name], where) for task in tasks)
    frame = pl.DataFrame(parts)
    _check_rows(frame, where)
    _check_usable(frame, tasks, where)
    return LabelTable(frame, tuple(tasks))


def _codes(task: TaskInfo, column: npt.NDArray[np.integer] | pl.Series, where: str) -> pl.Series:
    series = column if isinstance(column, pl.Series) else pl.Series(column)
    codes = series.cast(pl.Int32).alias(task.name)
    if not isinstance(column, pl.Series) and codes.min() == UNKNOWN:
        codes = codes.to_frame().select(pl.when(pl.col(task.name) >= 0).then(pl.col(task.name)))[task.name]
    known = codes.drop_nulls().to_numpy()
    if known.size and not (known.min() >= 0 and known.max() < len(task.value_names)):
        raise DataError(
            f"{where}: task '{task.name}' has codes {known.min()}..{known.max()} "
            f"but {len(task.value_names)} value names"
        )
    return codes


def _check_rows(frame: pl.DataFrame, where: str) -> None:
    if frame.is_empty():
        raise DataError(f"{where}: no rows; a label table needs at least one image")
    odd = frame.filter(~pl.col("split").is_in(SPLITS) | pl.col("split").is_null())
    if not odd.is_empty():
        raise DataError(
            f"{where}: row {odd['image_id'][0] + 1} has split {odd['split'][0]!r}; it must be train or test"
        )
    if frame.filter(pl.col("split") == "train").is_empty():
        raise DataError(f"{where}: no row is in split train; nothing could be learned from it")
    images = frame["image"].drop_nulls()
    if images.n_unique() < len(images):
        twice = images.filter(images.is_duplicated())[0]
        raise DataError(f"{where}: image '{twice}' comes more than once; each image is one row")


def _check_usable(frame: pl.DataFrame, tasks: Sequence[TaskInfo], where: str) -> None:
    train = frame.filter(pl.col("split") == "train")
    if not any(train[task.name].drop_nulls().n_unique() > 1 for task in tasks):
        raise DataError(f"{where}: no usable task; every task column is constant or unknown in split train")
