"""Any table of labels as a data set: CSV, Parquet or a DuckDB query, with or without images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from resources.datasets.base import (
    Dataset,
    LabelTable,
    TaskInfo,
    UnknownColumnError,
    build_label_table,
    check_task_names,
)
from resources.datasets.options import OneVsRest
from resources.datasets.splits import growing_stratified_split, hash_split
from resources.datasets.table_columns import (
    SPLIT_WORDS,
    ColumnInfo,
    Encoded,
    clean,
    describe_columns,
    encode,
    encode_bins,
    looks_continuous,
)
from resources.datasets.table_files import LoadedTable, load_table
from resources.datasets.textfiles import check_image_paths, check_unique
from resources.errors import DataError

__all__ = ["ColumnInfo", "Table", "describe_table"]


class Table(Dataset):
    """A table of labels, one row an image, with or without image files.

    The arguments are the fields of ``TableOptions``, with paths resolved.

    Without ``tasks``, every column that looks like one is a task; a study should name them, so that a new
    column in the table does not change it. A seeded split goes by the hash of each row's key: its image path,
    or where there are no images its row number. No split moves a row when others are appended; a stratified one
    also looks at the rows before, so rows put between others may move those after them.
    """

    name = "table"

    def __init__(  # noqa: PLR0913 - one argument an option
        self,
        *,
        table: Path,
        query: str | None = None,
        tasks: Sequence[str] | None = None,
        image_column: str | None = None,
        image_folder: Path | None = None,
        split_column: str | None = None,
        split_values: Mapping[str, str] | None = None,
        test_fraction: float = 0.3,
        seed: int = 0,
        stratify_by: str | None = None,
        group_by: str | None = None,
        source_only: Sequence[str] = (),
        bins: Mapping[str, int] | None = None,
        categorical: Sequence[str] = (),
        one_vs_rest: Mapping[str, OneVsRest] | None = None,
    ) -> None:
        self._path = table
        self._query = query
        self._tasks = None if tasks is None else tuple(tasks)
        self._image_column = image_column
        self._image_folder = image_folder or table.parent
        self._split_column = split_column
        self._split_words = {**SPLIT_WORDS, **(split_values or {})}
        self._test_fraction = test_fraction
        self._seed = seed
        self._stratify_by = stratify_by
        self._group_by = group_by
        self._source_only = tuple(source_only)
        self._bins = dict(bins or {})
        self._categorical = tuple(categorical)
        self._one_vs_rest = dict(one_vs_rest or {})
        self._loaded: tuple[tuple[int, int], LoadedTable] | None = None
        self._clean: dict[str, pl.Series] = {}
        if tasks is not None and (stray := [name for name in self._bins if name not in tasks]):
            raise DataError(f"{table}: bins names '{stray[0]}', which is not among the tasks; add it to them")

    def task_names(self) -> tuple[str, ...]:
        """From the options alone if they name all tasks; the table is read only where it decides."""
        counted = any(expansion.values is None for expansion in self._one_vs_rest.values())
        if self._tasks is not None and not counted:
            expanded = [
                f"{column}={value}" for column, how in self._one_vs_rest.items() for value in how.values or ()
            ]
            names = (*self._tasks, *expanded)
        else:
            names = tuple(task.name for task, _ in self._encode_tasks(self._load()))
        check_task_names(names, str(self._path))
        return names

    def source_only_tasks(self) -> tuple[str, ...]:
        """Those that the options name; where they name no tasks, nearly unique columns too."""
        if self._tasks is not None:
            return self._source_only
        return tuple(task.name for task, _ in self._encode_tasks(self._load()) if task.source_only)

    def label_files(self) -> tuple[Path, ...]:
        """The table."""
        return (self._path,)

    def image_root(self) -> Path | None:
        """The image folder, if a column names images."""
        return self._image_folder if self._image_column is not None else None

    def read(self) -> LabelTable:
        """The labels, in the order of the table (of a query with images: in the order of their paths)."""
        loaded = self._load()
        encoded = self._encode_tasks(loaded)
        if unknown := [name for name in self._source_only if name not in {task.name for task, _ in encoded}]:
            raise DataError(f"{self._path}: source_only names '{unknown[0]}', which is no task")
        images = self._read_images(loaded)
        return build_label_table(
            str(self._path),
            images=images,
            split=self._read_split(loaded, images),
            columns={task.name: codes for task, codes in encoded},
            tasks=[task for task, _ in encoded],
            groups=self._groups(loaded),
        )

    def describe(self) -> list[ColumnInfo]:
        """What each column of the table looks like."""
        loaded = self._load()
        return describe_columns(
            loaded.frame.columns,
            lambda name: self._column(loaded, name),
            image=self._image_column,
            split=self._split_column,
            categorical=self._categorical,
        )

    def _load(self) -> LoadedTable:
        """The table, loaded again only if the file has changed."""
        stat = self._path.stat() if self._path.exists() else None
        state = (stat.st_mtime_ns, stat.st_size) if stat else (0, 0)
        if self._loaded is None or self._loaded[0] != state:
            loaded = load_table(self._path, self._query)
            if self._query is not None and self._image_column in loaded.frame.columns:
                # A query without ORDER BY may return its rows in any order, and image_id must not change with
                # it.
                ordered = loaded.frame.sort(self._image_column, nulls_last=True)
                loaded = LoadedTable(loaded.path, ordered, loaded.first_line, loaded.unit)
            self._loaded, self._clean = (state, loaded), {}
        return self._loaded[1]

    def _column(self, loaded: LoadedTable, name: str) -> pl.Series:
        if name not in loaded.frame.columns:
            near = [column for column in loaded.frame.columns if column.casefold() == name.casefold()]
            columns = ", ".join(loaded.frame.columns[:12]) + (", …" if len(loaded.frame.columns) > 12 else "")
            hint = f"did you mean '{near[0]}'?" if near else f"the columns are {columns}"
            raise UnknownColumnError(name, f"{self._path}: no column '{name}'; {hint}")
        if name not in self._clean:
            self._clean[name] = clean(loaded.frame[name], str(self._path))
        return self._clean[name]

    def _encode_tasks(self, loaded: LoadedTable) -> list[tuple[TaskInfo, pl.Series]]:
        source_only = set(self._source_only)
        names = self._tasks
        if names is None:
            infos = self.describe()
            for column in self._one_vs_rest:
                self._column(loaded, column)
            names = tuple(
                info.name
                for info in infos
                if (info.is_task or info.name in self._bins)
                and info.name not in self._one_vs_rest
                and info.name not in {self._group_by}
            )
            source_only |= {info.name for info in infos if info.kind == "near_unique"} & set(names)
        tasks = []
        for name in names:
            encoded = self._encode(loaded, name)
            about = f"Column {name} of {self._path.name}"
            task = TaskInfo.of(name, about, encoded.value_names, source_only=name in source_only)
            tasks.append((task, encoded.codes))
        for column, how in self._one_vs_rest.items():
            tasks.extend(self._expand(loaded, column, how, source_only))
        if not tasks:
            raise DataError(f"{self._path}: no usable task; no column has two or more values that repeat")
        return tasks

    def _encode(self, loaded: LoadedTable, name: str) -> Encoded:
        column = self._column(loaded, name)
        if name in self._bins:
            return encode_bins(column, self._bins[name], str(self._path))
        if looks_continuous(column) and name not in self._categorical:
            raise DataError(
                f"{self._path}: column '{name}' looks continuous ({column.drop_nulls().n_unique()} different "
                f"numbers); cut it into quantiles with bins: {{{name}: 4}}, or name it under categorical if "
                f"these are classes"
            )
        return encode(column)

    def _expand(
        self, loaded: LoadedTable, column: str, how: OneVsRest, source_only: set[str]
    ) -> list[tuple[TaskInfo, pl.Series]]:
        encoded = self._encode(loaded, column)
        counts = dict(encoded.codes.drop_nulls().value_counts().iter_rows())
        wanted = encoded.value_names if how.values is None else how.values
        tasks = []
        for value in wanted:
            if value not in encoded.value_names:
                raise DataError(
                    f"{self._path}: column '{column}' has no value '{value}', which one_vs_rest names"
                )
            code = encoded.value_names.index(value)
            if how.values is None and counts.get(code, 0) < how.min_count:
                continue
            name = f"{column}={value}"
            about = f"Whether column {column} of {self._path.name} is {value}"
            task = TaskInfo.of(name, about, ("rest", value), source_only=name in source_only)
            tasks.append((task, (encoded.codes == code).cast(pl.Int32)))
        return tasks

    def _read_images(self, loaded: LoadedTable) -> pl.Series | None:
        if self._image_column is None:
            return None
        self._column(loaded, self._image_column)
        images = loaded.frame[self._image_column].cast(pl.String).str.strip_chars()
        check_image_paths(images, self._path, loaded.first_line, loaded.unit)
        check_unique(images, self._path, loaded.first_line, loaded.unit)
        return images

    def _read_split(self, loaded: LoadedTable, images: pl.Series | None) -> pl.Series:
        if self._split_column is not None:
            return self._published_split(loaded, self._split_column)
        keys = images.to_list() if images is not None else [str(row) for row in range(len(loaded.frame))]
        if (column := self._groups(loaded)) is not None:
            groups = column.to_list()
            # A row without a group is a group of its own; the prefixes keep it apart from a group of that
            # name.
            keys = [
                f"row {key}" if group is None else f"group {group}"
                for key, group in zip(keys, groups, strict=True)
            ]
        if self._stratify_by is not None:
            strata = encode(self._column(loaded, self._stratify_by)).codes.fill_null(-1).to_numpy()
            return growing_stratified_split(keys, strata, self._test_fraction, self._seed)
        return hash_split(keys, self._test_fraction, self._seed)

    def _groups(self, loaded: LoadedTable) -> pl.Series | None:
        return None if self._group_by is None else self._column(loaded, self._group_by).cast(pl.String)

    def _published_split(self, loaded: LoadedTable, name: str) -> pl.Series:
        self._column(loaded, name)
        words = loaded.frame[name].cast(pl.String).str.strip_chars()
        known = {**self._split_words, **{word.lower(): side for word, side in self._split_words.items()}}
        exact = words.replace_strict(self._split_words, default=None, return_dtype=pl.String)
        split = exact.fill_null(
            words.str.to_lowercase().replace_strict(known, default=None, return_dtype=pl.String)
        )
        if split.has_nulls():
            row = int(split.is_null().arg_max() or 0)
            raise DataError(
                f"{loaded.place(row)}: {name} is '{words[row] or ''}', neither train nor test; "
                f"say what it means with split_values: {{{words[row] or 'value'}: train}}"
            )
        return split


def describe_table(path: Path, options: Mapping[str, Any] | None = None) -> list[ColumnInfo]:
    """What each column of a table looks like: image, split, a task of some kind, continuous, or of no use.

    Args:
        path: The table.
        options: Keyword arguments of :class:`Table` that bear on it, such as ``query`` or ``image_column``.

    Raises:
        DataError: If the table cannot be read.
    """
    return Table(table=path, **(options or {})).describe()
