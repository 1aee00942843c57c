"""Any table of labels: kinds of labels, splits, bins, one-vs-rest tasks, bad input, inference of columns."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

from resources.datasets import LabelTable, open_dataset
from resources.datasets.options import TableOptions
from resources.datasets.table import Table, describe_table
from resources.errors import DataError, StudyError

CSV = """file,colour,legs,tame,side,note
a/1.png,red,4,true,train,x
a/2.png,blue,2,false,train,
b/3.png, red ,4,,test,"two
lines"
b/4.png,,-1,true,TEST,"say ""hi"", you"
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(CSV)
    return path


def read(path: Path, **options: Any) -> LabelTable:
    return open_dataset("table", path.parent, {"table": path.name, **options}).read()


def many(tmp_path: Path, n: int = 400) -> Path:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "image": [f"{i:04d}.png" for i in range(n)],
            "kind": rng.choice(["ant", "bee", "cat"], n, p=[0.7, 0.2, 0.1]),
            "person": rng.integers(0, 40, n),
            "weight": rng.normal(size=n).round(6),
            "height": rng.integers(0, 10_000, n),
        }
    )
    frame.write_csv(tmp_path / "many.csv")
    return tmp_path / "many.csv"


def test_texts_integers_booleans_and_blanks(table: Path) -> None:
    result = read(table, tasks=["colour", "legs", "tame"], image_column="file", split_column="side")
    assert result.frame.drop("image_id").rows() == [
        ("a/1.png", "train", 1, 2, 1),
        ("a/2.png", "train", 0, 1, 0),
        ("b/3.png", "test", 1, 2, None),
        ("b/4.png", "test", None, 0, 1),
    ]
    assert [task.value_names for task in result.tasks] == [
        ("blue", "red"),
        ("-1", "2", "4"),
        ("false", "true"),
    ]
    assert [task.kind for task in result.tasks] == ["binary", "multiclass", "binary"]
    assert "partition" not in result.frame.columns


def test_parquet_tsv_semicolons_and_duckdb_give_the_same_table(table: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "tasks": ["colour", "legs", "tame"],
        "image_column": "file",
        "split_column": "side",
    }
    truth = read(table, **options).frame
    plain = pl.read_csv(table).with_columns(pl.col("colour").str.strip_chars(), note=pl.lit("x"))
    plain.write_parquet(tmp_path / "t.parquet")
    plain.write_csv(tmp_path / "t.tsv", separator="\t")
    plain.write_csv(tmp_path / "s.csv", separator=";", include_bom=True, line_terminator="\r\n")
    with duckdb.connect(str(tmp_path / "t.duckdb")) as connection:
        connection.read_parquet(str(tmp_path / "t.parquet")).create("pets")
    assert read(tmp_path / "t.parquet", **options).frame.equals(truth)
    assert read(tmp_path / "t.tsv", **options).frame.equals(truth)
    assert read(tmp_path / "s.csv", **options).frame.equals(truth)
    # Whatever order the query returns, rows come by image, so that image_id stays.
    query = "SELECT * FROM pets ORDER BY file DESC"
    assert read(tmp_path / "t.duckdb", query=query, **options).frame.equals(truth)


def test_blanks_within_quotes_are_missing_too(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\nx,"  "\ny,""\nz,NA\nz,w\n')
    result = read(tmp_path / "t.csv", tasks=["a", "b"], test_fraction=0)
    assert result.frame["b"].to_list() == [None, None, 0, 1]
    assert result.tasks[1].value_names == ("NA", "w")  # only blanks are missing; NA may be a country


def test_without_images_there_are_labels_only(table: Path) -> None:
    dataset = open_dataset(
        "table", table.parent, {"table": "labels.csv", "tasks": ["colour"], "test_fraction": 0}
    )
    assert dataset.image_root() is None
    frame = dataset.read().frame
    assert frame["image"].null_count() == 4
    assert frame["split"].unique().to_list() == ["train"]


def test_the_image_folder_is_the_tables_own_unless_told(table: Path) -> None:
    options = {"table": "labels.csv", "image_column": "file", "tasks": ["colour"]}
    assert open_dataset("table", table.parent, options).image_root() == table.parent
    options["image_folder"] = "pictures"
    assert open_dataset("table", table.parent, options).image_root() == table.parent / "pictures"


def test_appended_rows_move_no_other_row(tmp_path: Path) -> None:
    path = many(tmp_path)
    options: dict[str, Any] = {"tasks": ["kind"], "image_column": "image", "seed": 3}
    before = {how: read(path, **options, **extra).frame for how, extra in SPLITS.items()}
    rows = path.read_text().splitlines()
    kinds = ("bee", "cat", "dog", "new")
    more = [f"new{i}.png,{kinds[i % 4]},{i % 120},0.5,7" for i in range(80)]
    path.write_text("\n".join([*rows, *more]) + "\n")
    for how, extra in SPLITS.items():
        after = read(path, **options, **extra).frame
        assert len(after) == 480
        assert after["split"][:400].equals(before[how]["split"]), how
    path.write_text("\n".join([rows[0], *more, *rows[1:]]) + "\n")
    for how in ("seeded", "grouped"):  # wherever they stand
        after = read(path, **options, **SPLITS[how]).frame
        assert after["split"][80:].equals(before[how]["split"]), how


SPLITS: dict[str, dict[str, str]] = {
    "seeded": {},
    "grouped": {"group_by": "person"},
    "stratified": {"stratify_by": "kind"},
}


def test_grouped_splits_are_disjoint_and_stratified_ones_keep_shares(tmp_path: Path) -> None:
    path = many(tmp_path)
    person = pl.read_csv(path)["person"]
    grouped = read(path, tasks=["kind"], image_column="image", group_by="person").frame.with_columns(person)
    sides = grouped.group_by("person").agg(pl.col("split").n_unique())["split"]
    assert sides.max() == 1
    assert grouped["split"].n_unique() == 2
    stratified = read(path, tasks=["kind"], stratify_by="kind", test_fraction=0.25).frame
    for _, part in stratified.group_by("kind"):
        assert abs((part["split"] == "test").sum() - 0.25 * len(part)) < 1


def test_continuous_columns_are_refused_with_advice_and_can_be_binned(tmp_path: Path) -> None:
    path = many(tmp_path)
    with pytest.raises(
        DataError, match=r"'weight' looks continuous \(\d+ different numbers\).*bins: {weight: 4}"
    ):
        read(path, tasks=["weight"])
    with pytest.raises(DataError, match="'height' looks continuous"):
        read(path, tasks=["height"])
    kept = read(path, tasks=["height", "person"], categorical=["height"])
    assert len(kept.tasks[0].value_names) > 350
    binned = read(path, tasks=["weight"], bins={"weight": 4})
    values = pl.read_csv(path)["weight"].to_numpy()
    edges = np.quantile(values, [0.25, 0.5, 0.75])
    expected = (values[:, None] >= edges).sum(axis=1)
    assert binned.frame["weight"].to_list() == expected.tolist()
    assert binned.frame["weight"].value_counts()["count"].to_list() == [100] * 4
    assert len(binned.tasks[0].value_names) == 4
    assert binned.tasks[0].value_names[-1].endswith("]")
    with pytest.raises(DataError, match="not numeric"):
        read(path, tasks=["kind"], bins={"kind": 2})
    with pytest.raises(StudyError, match="bins: names 'weight', which is not among the tasks"):
        read(path, tasks=["kind"], bins={"weight": 2})


def test_bins_keep_blanks_missing_and_refuse_ties(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "v,w\n" + "".join(f"{v},{w}\n" for v, w in [(0.5, 1), ("", 1), (1.5, 1), (2.5, 1), (3.5, 9)])
    )
    assert read(path, tasks=["v"], bins={"v": 2}, test_fraction=0).frame["v"].to_list() == [0, None, 0, 1, 1]
    path.write_text("v,w\n0.5,1\n1.5,1\n2.5,9\n")  # a value on an edge belongs to the bin above it
    assert read(path, tasks=["v"], bins={"v": 2}, test_fraction=0).frame["v"].to_list() == [0, 1, 1]
    with pytest.raises(DataError, match="'w' has too many equal values for 4 bins"):
        read(path, tasks=["v", "w"], bins={"w": 4, "v": 2})


def test_one_vs_rest_makes_a_binary_task_of_each_frequent_value(tmp_path: Path) -> None:
    path = many(tmp_path)
    counts = dict(pl.read_csv(path)["kind"].value_counts().iter_rows())
    frequent = [kind for kind in ("ant", "bee", "cat") if counts[kind] >= 60]
    options: dict[str, Any] = {"table": "many.csv", "tasks": ["person"], "source_only": ["person"]}
    dataset = open_dataset("table", tmp_path, {**options, "one_vs_rest": {"kind": {"min_count": 60}}})
    names = ("person", *(f"kind={kind}" for kind in frequent))
    assert dataset.task_names() == names
    assert dataset.source_only_tasks() == ("person",)
    result = dataset.read()
    assert result.task_names == names
    assert len(frequent) == 2
    for kind in frequent:
        assert result.frame[f"kind={kind}"].sum() == counts[kind]
    listed = {**options, "one_vs_rest": {"kind": {"values": ["cat"]}}}
    assert open_dataset("table", tmp_path / "absent", listed).task_names() == ("person", "kind=cat")
    assert open_dataset("table", tmp_path, listed).read().tasks[1].value_names == ("rest", "cat")
    with pytest.raises(DataError, match="column 'kind' has no value 'dog'"):
        read(path, **{**options, "table": "many.csv", "one_vs_rest": {"kind": {"values": ["dog"]}}})


def test_one_vs_rest_keeps_blanks_missing(table: Path) -> None:
    frame = read(table, tasks=["legs"], one_vs_rest={"colour": {"min_count": 1}}, test_fraction=0).frame
    assert frame["colour=red"].to_list() == [1, 0, 1, None]


def test_without_tasks_the_columns_that_look_like_tasks_are_taken(tmp_path: Path) -> None:
    path = many(tmp_path)
    dataset = open_dataset("table", tmp_path, {"table": "many.csv", "bins": {"weight": 3}} | {"tasks": None})
    assert dataset.task_names() == ("kind", "person", "weight")
    path.write_text(path.read_text().replace("kind", "sort"))
    assert dataset.task_names() == ("sort", "person", "weight")  # the file changed, so it was read again


def test_what_columns_look_like(tmp_path: Path) -> None:
    n = 300
    rng = np.random.default_rng(1)
    pl.DataFrame(
        {
            "path": [f"x/{i}.JPG" for i in range(n)],
            "Split": ["train"] * 200 + ["val"] * 50 + ["test"] * 50,
            "flag": rng.choice([True, False], n),
            "class": rng.choice(["a", "b", "c"], n),
            "name": [f"n{i // 2}" for i in range(n)],
            "uid": [f"u{i}" for i in range(n)],
            "weight": rng.normal(size=n),
            "same": ["x"] * n,
            "blank": [None] * n,
            "partition": rng.integers(0, 3, n),
            "zip": [f"0{i % 7}123" for i in range(n)],
            "halves": rng.choice([0.5, 1.0, 1.5], n),
        }
    ).write_csv(tmp_path / "t.csv")
    infos = {info.name: info for info in describe_table(tmp_path / "t.csv")}
    assert {name: info.kind for name, info in infos.items()} == {
        "path": "image",
        "Split": "split",
        "flag": "binary",
        "class": "multiclass",
        "name": "near_unique",
        "uid": "ignored",
        "weight": "continuous",
        "same": "constant",
        "blank": "ignored",
        "partition": "ignored",
        "zip": "multiclass",
        "halves": "multiclass",
    }
    assert infos["class"].examples == ("a", "b", "c")
    assert infos["zip"].examples[0] == "00123"
    assert infos["blank"].n_missing == n
    assert [info.name for info in infos.values() if info.is_task] == [
        "flag",
        "class",
        "name",
        "zip",
        "halves",
    ]


def test_integers_with_blanks_from_a_float_column_are_integers(tmp_path: Path) -> None:
    pl.DataFrame({"v": [1.0, None, 2.0, float("nan"), 10.0]}).write_parquet(tmp_path / "t.parquet")
    result = read(tmp_path / "t.parquet", tasks=["v"], test_fraction=0)
    assert result.tasks[0].value_names == ("1", "2", "10")
    assert result.frame["v"].to_list() == [0, None, 1, None, 2]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, r"t\.csv: empty file"),
        ("<html><body>Sign in</body></html>", {}, r"t\.csv: a web page"),
        ("a,b\n1,x\n2\n", {}, r"t\.csv, line 3: 1 fields, but the first line names 2 columns"),
        ("a,b\n1,x\n2,y,z\n", {}, r"t\.csv, line 3: 3 fields, but the first line names 2"),
        ('a,b\n1,"x\n\ny"\n2\n', {}, r"t\.csv, line 5: 1 fields"),
        ('a,b\n1,"x\n2,y\n', {}, r"t\.csv: a quotation mark is opened and never closed"),
        ("a,a\n1,2\n", {}, r"t\.csv, line 1: two columns are called 'a'"),
        ("a,\n1,2\n", {}, r"t\.csv, line 1: column 2 has no name"),
        ("a,b\n", {}, r"t\.csv: no rows"),
        ("a,b\n1,x\n2,y\n", {"tasks": ["c"]}, r"t\.csv: no column 'c'; the columns are a, b"),
        ("a,b\n1,x\n2,y\n", {"tasks": ["A"]}, r"t\.csv: no column 'A'; did you mean 'a'\?"),
        ("a,A\n1,x\n2,y\n", {"tasks": ["a", "A"]}, r"tasks 'a' and 'A' differ at most in case"),
        ("Split,b\n1,x\n2,y\n", {"tasks": ["Split"]}, r"collides with the reserved column 'split'"),
        ("a,b\n1,x\n1,y\n", {"tasks": ["a"]}, r"no usable task"),
        ("a\nx\nx\nx\n", {}, r"no usable task"),
        ("i,b\nu.png,x\nu.png,y\n", {"image_column": "i"}, r"line 3: image 'u.png' comes a second time"),
        ("i,b\nu.png,x\n../v.png,y\n", {"image_column": "i"}, r"line 3: image path '../v.png'"),
        ("i,b\nu.png,x\n/v.png,y\n", {"image_column": "i"}, r"line 3: image path '/v.png'"),
        ("i,b\nu.png,x\nC:\\v.png,y\n", {"image_column": "i"}, r"line 3: image path"),
        ("i,b\nu.png,x\n,y\n", {"image_column": "i"}, r"line 3: image path '' is empty"),
        ("s,b\ntrain,x\nval,y\n", {"split_column": "s"}, r"line 3: s is 'val'.*split_values: {val: train}"),
        (
            "a,b\n1,x\n2,y\n",
            {"source_only": ["z"], "tasks": ["b"]},
            r"source_only names 'z', which is no task",
        ),
        ("a,b\n1,x\n2,y\n", {"query": "SELECT 1"}, r"only a .duckdb file takes a query"),
    ],
)
def test_bad_tables_get_one_line(tmp_path: Path, content: str, options: dict[str, Any], message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)


def test_bad_files_of_other_kinds_get_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "t.duckdb").write_bytes(b"no database")
    (tmp_path / "latin.csv").write_bytes(b"a,b\nx,y\ncaf\xe9,z\n")
    pl.DataFrame({"a": [[1], [2]]}).write_parquet(tmp_path / "lists.parquet")
    with duckdb.connect(str(tmp_path / "good.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("absent.csv", {}, r"absent\.csv: no such file"),
        ("t.xlsx", {}, r"extension '.xlsx' is none of .csv, .tsv, .parquet, .duckdb"),
        ("t.parquet", {}, r"t\.parquet: not a readable Parquet file"),
        ("t.duckdb", {"query": "SELECT 1"}, r"t\.duckdb: the query fails"),
        ("t.duckdb", {}, r"a .duckdb file needs a query"),
        ("good.duckdb", {"query": "SELECT b FROM t"}, r"good\.duckdb: the query fails: .*b"),
        ("latin.csv", {}, r"latin\.csv, line 3: not UTF-8"),
        ("lists.parquet", {"tasks": ["a"]}, r"column 'a' holds List"),
    ]
    for name, options, message in cases:
        with pytest.raises(DataError, match=message) as caught:
            read(tmp_path / name, **options)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "heading", ['a,"b\nc",d', 'a,"b,c', 'a"b,c"d,e', "a," + "b" * 140_000 + ",c"], ids=range(4)
)
def test_a_heading_that_cannot_be_read_is_refused(heading: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(heading + "\n1,2,3\n1,2,4\n")
    with pytest.raises(DataError, match=r"labels\.csv, line [123]: |labels\.csv: a quotation mark"):
        read(path)


def test_whole_numbers_beyond_64_bits_are_kept_apart(tmp_path: Path) -> None:
    names = [2**64 - 1, 2**64 - 2, 2**64 - 1, 1]
    pl.DataFrame(
        {"person": names, "even": [0, 1, 0, 1]}, schema_overrides={"person": pl.UInt64}
    ).write_parquet(tmp_path / "t.parquet")
    result = read(tmp_path / "t.parquet", tasks=["person", "even"], test_fraction=0.0)
    assert result.tasks[0].value_names == ("1", str(2**64 - 2), str(2**64 - 1))
    assert result.frame["person"].to_list() == [2, 1, 2, 0]


def test_a_query_cannot_write_or_read_other_files(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "t.duckdb") as connection:
        connection.execute("CREATE TABLE t AS SELECT range AS i, range % 2 AS even FROM range(10)")
    (tmp_path / "other.csv").write_text("a\n1\n")
    for query in (
        f"COPY t TO '{tmp_path / 'out.csv'}'",
        f"FROM read_csv('{tmp_path / 'other.csv'}')",
        f"ATTACH '{tmp_path / 'new.duckdb'}'",
        "SET enable_external_access = true",
        "DROP TABLE t",
    ):
        with pytest.raises(DataError, match=r"t\.duckdb: the query fails"):
            read(tmp_path / "t.duckdb", query=query)
    assert {path.name for path in tmp_path.iterdir()} == {"t.duckdb", "other.csv"}


def test_split_values_say_what_other_words_mean(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("s,b\n0,x\n1,y\n2,x\nTraining,y\n")
    values = {"0": "train", "1": "train", "2": "test"}
    assert read(path, tasks=["b"], split_column="s", split_values=values).frame["split"].to_list() == [
        "train",
        "train",
        "test",
        "train",
    ]


def test_the_emoji_table(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("twemoji")
    infos = {info.name: info for info in describe_table(folder / "labels.csv")}
    kinds = {name: info.kind for name, info in infos.items()}
    assert kinds == {
        "image": "image",
        "category": "multiclass",
        "subcategory": "multiclass",
        "skin_tone": "multiclass",
        "gender": "binary",
        "emoji": "near_unique",
    }
    expand = {name: {"min_count": 100} for name in ("category", "subcategory", "skin_tone", "gender")}
    dataset = Table(
        table=folder / "labels.csv",
        image_column="image",
        tasks=["emoji"],
        source_only=["emoji"],
        one_vs_rest=TableOptions(table="labels.csv", one_vs_rest=expand).one_vs_rest,
    )
    table = dataset.read()
    assert len(table.frame) == 3786
    assert len(table.tasks) >= 20
    assert {task.kind for task in table.tasks[1:]} == {"binary"}
    root = dataset.image_root()
    assert root is not None
    assert all((root / image).is_file() for image in table.frame["image"])
