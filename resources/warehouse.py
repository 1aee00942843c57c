"""DuckDB: one file a study, made from the store's Parquet pieces and replaced as a whole.

Readers never wait and never see half a table: a publication copies the file, changes the copy and moves it into place,
under a lock between processes so that two stages that finish together keep each other's tables. What a table is, is
said in the `tables.py` of the stage that owns it.
"""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import polars as pl
from filelock import FileLock

from resources.errors import StoreError
from resources.store import atomic_path, content_hash

SCHEMA_VERSION = "1"  # raise when a table changes its shape: older files are then rebuilt from the store
_COLUMN = re.compile(r"^\s+(\w+)\s+([A-Z0-9()]+)(\s+NOT NULL)?,?\s+--\s+(.+?)\s*$", re.MULTILINE)
_POLARS: dict[str, type[pl.DataType]] = {
    "BIGINT": pl.Int64,
    "INTEGER": pl.Int32,
    "DOUBLE": pl.Float64,
    "VARCHAR": pl.String,
    "BOOLEAN": pl.Boolean,
}
_HEADER = re.compile(r"CREATE TABLE (\w+) \(\s+--\s+(.+)")


@dataclass(frozen=True)
class Column:
    """One column of a table, read from its line in the SQL."""

    name: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True)
class Table:
    """A table of the warehouse, defined by readable SQL whose trailing comments describe its columns.

    Args:
        sql: a `CREATE TABLE name (  -- what it holds` statement, one column a line.
        order_by: the columns that give the rows their order.
        open_columns: whether further columns may follow the named ones (the label table has one a task).
    """

    sql: str
    order_by: tuple[str, ...] = ()
    open_columns: bool = False

    @cached_property
    def name(self) -> str:
        """The table's name."""
        return self._header[0]

    @cached_property
    def description(self) -> str:
        """What the table holds, in a sentence."""
        return self._header[1]

    @cached_property
    def _header(self) -> tuple[str, str]:
        found = _HEADER.search(self.sql)
        assert found, f"a table's SQL begins with `CREATE TABLE name (  -- description`: {self.sql[:60]}"  # noqa: S101
        return found.group(1), found.group(2)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The named columns in order."""
        return tuple(Column(n, t, bool(r), d) for n, t, r, d in _COLUMN.findall(self.sql))

    @cached_property
    def shape(self) -> list[str]:
        """The named columns with their types: pieces of another shape are of another version of the project."""
        return [f"{column.name} {column.type}{' NOT NULL' * column.required}" for column in self.columns]

    @cached_property
    def schema(self) -> dict[str, type[pl.DataType]]:
        """The named columns as a Polars schema."""
        return {column.name: _POLARS[column.type] for column in self.columns}

    def frame(self, rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
        """Rows as a frame of this table; columns that a row leaves out are NULL."""
        return pl.DataFrame(
            [{name: row.get(name) for name in self.schema} for row in rows], schema=self.schema
        )

    def fill(self, connection: duckdb.DuckDBPyConnection, pieces: Sequence[Path]) -> None:
        """(Re)create the table on `connection` from Parquet pieces that hold its columns by name."""
        connection.execute(f"DROP TABLE IF EXISTS {self.name}")
        paths = [str(path) for path in pieces]
        if self.open_columns:
            connection.execute(f"CREATE TABLE {self.name} AS FROM read_parquet($1)", [paths])
        else:
            connection.execute(self.sql)
            if paths:
                order = f"ORDER BY {', '.join(self.order_by)}" if self.order_by else ""
                columns = ", ".join(column.name for column in self.columns)
                connection.execute(
                    f"INSERT INTO {self.name} SELECT {columns} FROM read_parquet($1, union_by_name = true) {order}",  # noqa: S608
                    [paths],
                )
        connection.execute(f"COMMENT ON TABLE {self.name} IS {_literal(self.description)}")
        for column in self.columns:
            connection.execute(
                f"COMMENT ON COLUMN {self.name}.{column.name} IS {_literal(column.description)}"
            )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class Warehouse:
    """The DuckDB files of all studies, in one folder."""

    root: Path

    def path(self, study: str) -> Path:
        """The file of a study; any DuckDB client may read it at any time."""
        return self.root / f"{study}.duckdb"

    @contextmanager
    def reading(self, study: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection to the study's file as it stands now."""
        if not self.path(study).exists():
            raise StoreError(f"{study}: has no tables yet; run `transferability run {study}`")
        try:
            connection = duckdb.connect(self.path(study), read_only=True)
        except duckdb.Error as error:
            raise StoreError(
                f"{self.path(study).name}: cannot be read ({str(error).splitlines()[0]}); delete it and run "
                f"`transferability run {study}`, which makes it again from the store"
            ) from error
        try:
            yield connection
        finally:
            connection.close()

    def publish(self, study: str, tables: Sequence[tuple[Table, Sequence[Path]]]) -> list[str]:
        """Bring the named tables in line with their Parquet pieces; return the names of those that changed.

        Nothing is written where every table already holds just these pieces.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / f".{study}.lock"):
            live = self.path(study)
            published = self._published(study)
            wanted = {table.name: _fingerprint(table, pieces) for table, pieces in tables}
            changed = [name for name, print_ in wanted.items() if published.get(name) != print_]
            if not changed:
                return []
            for left in self.root.glob(f".{live.name}.*.tmp*"):  # by a killed process: the lock is ours now
                left.unlink(missing_ok=True)
            with atomic_path(live) as temporary:
                if published:
                    shutil.copyfile(live, temporary)
                self._rewrite(temporary, [(t, p) for t, p in tables if t.name in changed], wanted)
            return changed

    def _published(self, study: str) -> dict[str, str]:
        """Fingerprints of the pieces that each table was made from; empty for a file of another version."""
        try:
            with self.reading(study) as connection:
                rows = connection.execute("SELECT table_name, fingerprint FROM publications").fetchall()
        except (duckdb.Error, StoreError):
            return {}
        published = dict(rows)
        return published if published.pop("schema_version", None) == SCHEMA_VERSION else {}

    def _rewrite(
        self, path: Path, tables: Sequence[tuple[Table, Sequence[Path]]], fingerprints: dict[str, str]
    ) -> None:
        connection = duckdb.connect(path)
        try:
            connection.execute("BEGIN")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS publications (table_name VARCHAR PRIMARY KEY, fingerprint VARCHAR)"
            )
            for table, pieces in tables:
                table.fill(connection, pieces)
                connection.execute(
                    "INSERT OR REPLACE INTO publications VALUES ($1, $2)",
                    [table.name, fingerprints[table.name]],
                )
            connection.execute(
                "INSERT OR REPLACE INTO publications VALUES ('schema_version', $1)", [SCHEMA_VERSION]
            )
            connection.execute("COMMIT")
            connection.execute("CHECKPOINT")  # so that nothing is left in a log beside the copy
        finally:
            connection.close()


def _fingerprint(table: Table, pieces: Sequence[Path]) -> str:
    """Identity of a table's definition and of its pieces as files; a rewritten piece has a new modification time."""
    return content_hash([table.sql, [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in pieces]])
