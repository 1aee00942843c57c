"""A study's DuckDB file is whole at any moment, loses no table, and is made again where it cannot be used."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

from assets.chain import STAGES
from resources.errors import StoreError
from resources.store import Store
from resources.warehouse import Table, Warehouse

COUNTS = Table(
    """
CREATE TABLE counts (  -- How often it's counted
    task VARCHAR NOT NULL,  -- The task's name, "as given"
    n    BIGINT  NOT NULL,  -- Rows, in all
    h    DOUBLE,            -- An entropy, nats
)
""",
    order_by=("task",),
)
LABELS = Table(
    """
CREATE TABLE labels (  -- One row an image
    image_id BIGINT NOT NULL,  -- 0…n−1
)
""",
    open_columns=True,
)
ALL_TABLES = [table for stage in STAGES for table in stage.tables]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "warehouse")


def piece(store: Store, *rows: tuple[str, int, float | None], part: str | None = None) -> Path:
    frame = pl.DataFrame(rows, schema=COUNTS.schema, orient="row")
    return store.write_table("study", "counts", part, frame)


def rows_of(warehouse: Warehouse, sql: str = "FROM counts") -> list[tuple[object, ...]]:
    with warehouse.reading("study") as connection:
        return connection.execute(sql).fetchall()


# --- definitions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.name)
def test_the_columns_read_from_the_comments_are_those_that_duckdb_makes(table: Table) -> None:
    with duckdb.connect() as connection:
        connection.execute(table.sql)
        made = connection.execute(
            "SELECT column_name, data_type, NOT is_nullable FROM duckdb_columns() "
            "WHERE table_name = $1 ORDER BY column_index",
            [table.name],
        ).fetchall()
    assert [(c.name, c.type, c.required) for c in table.columns] == made
    assert table.description
    assert all(column.description for column in table.columns)


def test_the_tables_have_names_of_their_own() -> None:
    names = [table.name for table in ALL_TABLES]
    assert len(set(names)) == len(names)


def test_a_frame_of_a_table_has_its_columns_and_null_where_a_row_is_silent() -> None:
    frame = COUNTS.frame([{"task": "a", "n": 1}])
    assert frame.columns == ["task", "n", "h"]
    assert frame.row(0) == ("a", 1, None)


# --- publication ---------------------------------------------------------------------------------------------


def test_rows_come_from_all_pieces_in_the_tables_order_with_descriptions(
    store: Store, warehouse: Warehouse
) -> None:
    pieces = [piece(store, ("b", 2, None), part="b"), piece(store, ("a", 1, 0.5), part="a")]
    assert warehouse.publish("study", [(COUNTS, pieces)]) == ["counts"]
    assert rows_of(warehouse) == [("a", 1, 0.5), ("b", 2, None)]
    assert rows_of(warehouse, "SELECT comment FROM duckdb_tables() WHERE table_name = 'counts'") == [
        ("How often it's counted",)
    ]
    assert rows_of(warehouse, "SELECT comment FROM duckdb_columns() WHERE table_name = 'counts'") == [
        ('The task\'s name, "as given"',),
        ("Rows, in all",),
        ("An entropy, nats",),
    ]


def test_an_open_table_keeps_the_columns_that_follow_whatever_their_names(
    store: Store, warehouse: Warehouse
) -> None:
    hostile = 'it\'s; DROP TABLE "labels" -- é👩'
    path = store.write_table("study", "labels", None, pl.DataFrame({"image_id": [0, 1], hostile: [None, 1]}))
    warehouse.publish("study", [(LABELS, [path])])
    with warehouse.reading("study") as connection:
        description = connection.execute("FROM labels").description
        assert [column[0] for column in description] == ["image_id", hostile]
        assert connection.execute("FROM labels").fetchall() == [(0, None), (1, 1)]


def test_what_is_published_already_is_not_written_again(store: Store, warehouse: Warehouse) -> None:
    pieces = [piece(store, ("a", 1, None))]
    warehouse.publish("study", [(COUNTS, pieces)])
    before = warehouse.path("study").stat()
    assert warehouse.publish("study", [(COUNTS, pieces)]) == []
    assert warehouse.path("study").stat().st_ino == before.st_ino
    piece(store, ("a", 2, None))
    assert warehouse.publish("study", [(COUNTS, pieces)]) == ["counts"]
    assert rows_of(warehouse) == [("a", 2, None)]


def test_a_reader_keeps_what_it_opened_and_does_not_stop_the_writer(
    store: Store, warehouse: Warehouse
) -> None:
    pieces = [piece(store, ("a", 1, None))]
    warehouse.publish("study", [(COUNTS, pieces)])
    script = (
        "import duckdb, sys\n"
        "c = duckdb.connect(sys.argv[1], read_only=True)\n"
        "print(c.execute('SELECT n FROM counts').fetchall(), flush=True); sys.stdin.readline()\n"
        "print(c.execute('SELECT n FROM counts').fetchall(), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(warehouse.path("study"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == "[(1,)]\n"
        piece(store, ("a", 2, None))
        assert warehouse.publish("study", [(COUNTS, pieces)]) == ["counts"]
        assert rows_of(warehouse) == [("a", 2, None)]
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "[(1,)]\n"


@pytest.mark.slow
def test_processes_that_publish_together_lose_nothing(store: Store, warehouse: Warehouse) -> None:
    script = """
import sys
from pathlib import Path
import polars as pl
from resources.store import Store
from resources.warehouse import Table, Warehouse
root, name = Path(sys.argv[1]), sys.argv[2]
table = Table(f"CREATE TABLE {name} (  -- one process's\\n    n BIGINT NOT NULL,  -- a number\\n)")
for n in range(8):
    path = Store(root / "store").write_table("study", name, None, pl.DataFrame({"n": [n]}))
    Warehouse(root / "warehouse").publish("study", [(table, [path])])
"""
    root = str(warehouse.root.parent)
    names = ["one", "two", "three"]
    writers = [subprocess.Popen([sys.executable, "-c", script, root, name]) for name in names]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    for name in names:
        assert rows_of(warehouse, f"FROM {name}") == [(7,)]
    assert {path.name for path in warehouse.root.iterdir()} == {"study.duckdb", ".study.lock"}


def test_a_publication_that_fails_leaves_the_file_as_it_was(store: Store, warehouse: Warehouse) -> None:
    good = piece(store, ("a", 1, None))
    warehouse.publish("study", [(COUNTS, [good])])
    bad = store.write_table("study", "bad", None, pl.DataFrame({"task": ["b"]}))
    with pytest.raises(duckdb.Error):
        warehouse.publish("study", [(COUNTS, [bad])])
    assert rows_of(warehouse) == [("a", 1, None)]
    assert {path.name for path in warehouse.root.iterdir()} == {"study.duckdb", ".study.lock"}


def test_what_a_killed_publication_left_is_taken_away(store: Store, warehouse: Warehouse) -> None:
    warehouse.publish("study", [(COUNTS, [piece(store, ("a", 1, None))])])
    for suffix in ("tmp", "tmp.wal"):
        (warehouse.root / f".study.duckdb.{os.getpid()}.abcd.{suffix}").write_text("half")
    other = warehouse.root / f".study2.duckdb.{os.getpid()}.abcd.tmp"
    other.write_text("another study's, perhaps being written")
    warehouse.publish("study", [(COUNTS, [piece(store, ("a", 2, None))])])
    assert {path.name for path in warehouse.root.iterdir()} == {"study.duckdb", ".study.lock", other.name}


# --- what cannot be used -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\0" * 20_000, None], ids=["empty", "garbage", "zeros", "cut short"]
)
def test_a_damaged_file_is_made_again(content: bytes | None, store: Store, warehouse: Warehouse) -> None:
    pieces = [piece(store, ("a", 1, None))]
    warehouse.publish("study", [(COUNTS, pieces)])
    whole = warehouse.path("study").read_bytes()
    warehouse.path("study").write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert warehouse.publish("study", [(COUNTS, pieces)]) == ["counts"]
    assert rows_of(warehouse) == [("a", 1, None)]


def test_a_file_of_an_older_version_is_made_again_and_nothing_of_it_kept(
    store: Store, warehouse: Warehouse
) -> None:
    pieces = [piece(store, ("a", 1, None))]
    warehouse.publish("study", [(COUNTS, pieces)])
    with duckdb.connect(warehouse.path("study")) as connection:
        connection.execute("UPDATE publications SET fingerprint = '0' WHERE table_name = 'schema_version'")
        connection.execute("CREATE TABLE relic AS SELECT 1 AS n")
    assert warehouse.publish("study", [(COUNTS, pieces)]) == ["counts"]
    assert rows_of(warehouse) == [("a", 1, None)]
    assert rows_of(warehouse, "SELECT table_name FROM duckdb_tables() WHERE table_name = 'relic'") == []


def test_a_table_of_another_shape_replaces_the_old_one(store: Store, warehouse: Warehouse) -> None:
    warehouse.publish("study", [(COUNTS, [piece(store, ("a", 1, None))])])
    wider = Table(COUNTS.sql.replace("h    DOUBLE", "k    BIGINT"))
    path = store.write_table("study", "counts", None, pl.DataFrame({"task": ["a"], "n": [1], "k": [3]}))
    assert warehouse.publish("study", [(wider, [path])]) == ["counts"]
    assert rows_of(warehouse) == [("a", 1, 3)]


def test_a_study_without_tables_says_what_to_run(warehouse: Warehouse) -> None:
    with pytest.raises(StoreError, match="study: has no tables yet; run `transferability run study`"):
        rows_of(warehouse)


def test_a_damaged_file_is_said_in_one_line(warehouse: Warehouse) -> None:
    warehouse.root.mkdir()
    warehouse.path("study").write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreError, match=r"study\.duckdb: cannot be read .*run `transferability run study`"):
        rows_of(warehouse)
