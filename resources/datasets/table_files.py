"""Loading a table of labels from CSV, Parquet or a DuckDB query, as it stands.

What its columns mean is not decided here.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from resources.datasets.textfiles import read_bytes
from resources.errors import DataError, first_line

SUFFIXES = (".csv", ".tsv", ".parquet", ".duckdb")

# Of damaged bytes its Rust code also panics, which is no Exception in Python.
_POLARS_FAILS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
# A study's query can read its file, and write nothing anywhere.
_SEALED: dict[str, str | bool | int | float | list[str]] = {"enable_external_access": "false"}


@dataclass(frozen=True)
class LoadedTable:
    """A table in memory.

    Attributes:
        path: The file it came from.
        frame: Its columns; those of a CSV are all String.
        first_line: The number, for people, of its first row.
        unit: What rows are called in messages: ``line`` of a text file, else ``row``.
    """

    path: Path
    frame: pl.DataFrame
    first_line: int
    unit: str

    def place(self, row: int) -> str:
        """File and line of a row, for messages."""
        return f"{self.path}, {self.unit} {row + self.first_line}"


def load_table(path: Path, query: str | None = None) -> LoadedTable:
    """Load a table by the extension of its file name.

    Args:
        path: A ``.csv`` (comma or semicolon), ``.tsv``, ``.parquet`` or ``.duckdb`` file.
        query: SQL for a ``.duckdb`` file; its rows keep their order, so give it an ORDER BY.

    Raises:
        DataError: Naming file and line or column.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: extension '{suffix}' is none of {', '.join(SUFFIXES)}")
    if not path.exists():
        raise DataError(f"{path}: no such file; check the path, which is relative to the data folder")
    if (query is not None) != (suffix == ".duckdb"):
        advice = "a .duckdb file needs a query" if query is None else "only a .duckdb file takes a query"
        raise DataError(f"{path}: {advice}")
    if suffix == ".parquet":
        loaded = LoadedTable(path, _read_parquet(path), 1, "row")
    elif query is not None:
        loaded = LoadedTable(path, _run_query(path, query), 1, "row")
    else:
        loaded = _read_csv(path, "\t" if suffix == ".tsv" else None)
    if loaded.frame.is_empty():
        raise DataError(f"{path}: no rows; a table of labels needs at least one")
    return loaded


def _read_parquet(path: Path) -> pl.DataFrame:
    import pyarrow as pa

    try:
        # Polars' own reader may end the whole process over damaged bytes; Arrow's raises.
        return pl.read_parquet(path, use_pyarrow=True)
    except (*_POLARS_FAILS, pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({first_line(error)})") from None


def _run_query(path: Path, query: str) -> pl.DataFrame:
    import duckdb  # only tables in DuckDB need it

    try:
        with duckdb.connect(str(path), read_only=True, config=_SEALED) as connection:
            relation = connection.sql(query)
            frame: pl.DataFrame = pl.DataFrame() if relation is None else relation.pl()
            return frame
    except duckdb.Error as error:
        raise DataError(f"{path}: the query fails: {first_line(error)}") from None


def _read_csv(path: Path, separator: str | None) -> LoadedTable:
    data = read_bytes(path)
    heading = data.split(b"\n", 1)[0].decode()
    if separator is None:
        separator = ";" if heading.count(";") > heading.count(",") else ","
    names = _names(path, heading, separator)
    _check_heading(path, names)
    _check_lengths(path, data, separator, len(names))
    try:
        frame = pl.read_csv(data, separator=separator, infer_schema=False)
    except _POLARS_FAILS as error:
        raise DataError(f"{path}: not a readable CSV file ({first_line(error)})") from None
    if len(frame.columns) != len(names):
        raise DataError(
            f"{path}, line 1: {len(names)} names over {len(frame.columns)} columns; mend its quotation marks"
        )
    frame = frame.rename(dict(zip(frame.columns, names, strict=True)))
    if data.count(b"\n") == len(frame):
        return LoadedTable(path, frame, 2, "line")
    return LoadedTable(path, frame, 1, "row")  # texts that span lines: counting lines would mislead


def _names(path: Path, heading: str, separator: str) -> list[str]:
    try:
        names = next(csv.reader([heading], delimiter=separator, strict=True))
    except csv.Error as error:  # a quotation mark that is not closed in this line, a name without end
        raise DataError(f"{path}, line 1: the names of the columns cannot be read ({error})") from None
    return [name.strip() for name in names]


def _check_heading(path: Path, names: list[str]) -> None:
    for place, name in enumerate(names, 1):
        if not name:
            raise DataError(
                f"{path}, line 1: column {place} has no name; the first line must name every column"
            )
        if names.index(name) != place - 1:
            raise DataError(f"{path}, line 1: two columns are called '{name}'; rename one of them")


def _check_lengths(path: Path, data: bytes, separator: str, wanted: int) -> None:
    """Refuse a row with another number of fields than the heading; CSV readers fill short rows silently."""
    text = np.frombuffer(data, dtype=np.uint8)
    if b'"' in data:
        # Doubled quotes inside quotes change the parity twice, so the parity alone tells inside from outside.
        quoted = np.cumsum(text == ord('"'), dtype=np.int64) % 2 == 1
        if quoted[-1]:
            raise DataError(f"{path}: a quotation mark is opened and never closed; the file may be cut short")
        text = np.where(quoted, np.uint8(0), text)
    separators = np.flatnonzero(text == ord(separator))
    ends = np.flatnonzero(text == ord("\n"))
    per_row = np.diff(np.searchsorted(separators, ends), prepend=0, append=len(separators)) + 1
    if wanted > 1 and (per_row != wanted).any():
        row = int(np.argmax(per_row != wanted))
        start = int(ends[row - 1]) + 1 if row else 0
        line = data.count(b"\n", 0, start) + 1
        raise DataError(
            f"{path}, line {line}: {per_row[row]} fields, but the first line names {wanted} columns"
        )
