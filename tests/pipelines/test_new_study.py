"""`transferability new-study`: what it writes can be run as it stands, and what cannot is refused before it writes."""

from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
import yaml

from assets.labels.reading import read_labels
from assets.study import Study, load_study
from pipelines.cli import main

ROWS = 120


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRANSFERABILITY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def columns() -> dict[str, object]:
    rng = np.random.default_rng(0)
    return {
        "image": [f"{i:03}.png" for i in range(ROWS)],
        "round": rng.integers(0, 2, ROWS),
        "colour": rng.choice(["red", "green", "blue"], ROWS),
        "weight": rng.normal(size=ROWS),
        "height": rng.normal(size=ROWS),
    }


def table(folder: Path, columns: dict[str, object]) -> Path:
    pl.DataFrame(columns).write_csv(folder / "labels.csv")
    return folder / "labels.csv"


def written(home: Path, *arguments: object) -> Study:
    assert main(["new-study", "mine", *map(str, arguments)]) == 0
    return load_study(home / "studies" / "mine.yaml", home / "data")


def test_a_validation_split_is_given_a_meaning(
    tmp_path: Path, home: Path, columns: dict[str, object]
) -> None:
    columns["split"] = [("train", "val", "test", "Train")[i % 4] for i in range(ROWS)]
    study = written(home, table(tmp_path, columns))
    assert study.settings.dataset.options["split_values"] == {"val": "train"}
    split = read_labels(study).table.frame["split"].to_list()
    assert split[:4] == ["train", "train", "test", "train"]


def test_continuous_columns_are_one_commented_mapping(
    tmp_path: Path, home: Path, columns: dict[str, object]
) -> None:
    study = written(home, table(tmp_path, columns))
    assert study.tasks == ("round", "colour")
    path = home / "studies" / "mine.yaml"
    text = path.read_text()
    assert text.count("# bins:") == 1
    path.write_text(
        text.replace("    # bins:", "    bins:").replace(
            "      - colour", "      - weight\n      - height\n      - colour"
        )
    )
    labels = read_labels(load_study(path, home / "data")).table
    assert labels.task_names == ("round", "weight", "height", "colour")
    assert labels.frame["weight"].n_unique() == labels.frame["height"].n_unique() == 4


def test_a_query_of_a_duckdb_file(tmp_path: Path, home: Path, columns: dict[str, object]) -> None:
    path = tmp_path / "all.duckdb"
    frame = pl.DataFrame(columns)
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE things AS FROM frame")
    assert len(frame) == ROWS
    query = "SELECT image, round, colour FROM things WHERE colour <> 'it''s: #no' ORDER BY image"
    study = written(home, path, "--query", query)
    assert study.settings.dataset.options["query"] == query
    assert study.tasks == ("round", "colour")
    assert len(read_labels(study).table.frame) == ROWS


CONTINUOUS = "'weight' looks continuous: cut it into classes in the table, or write a study file with tasks and bins: {"


@pytest.mark.parametrize(
    ("kept", "options", "said"),
    [
        (["image", "weight"], [], "labels.csv: a study needs two columns of labels and there are fewer; " + CONTINUOUS),
        (["round", "weight"], [], "labels.csv: a study needs two columns of labels and only 'round' looks like one; "),
        (["round", "weight"], [], CONTINUOUS + "weight: 4}"),
        (["image", "round"], [], "only 'round' looks like one; add a column of labels"),
        (["image", "colour"], [], "only 'colour' looks like one; --expand colour makes a task of each of its values"),
        (["round", "colour"], ["--expand", "colour", "--min-count", "99"],
         "--min-count 99: no value of column 'colour' in "),
        (["round", "colour"], ["--min-count", "0"], "--min-count 0: a value needs at least 1 row"),
        (["round", "colour"], ["--query", "FROM t"], "labels.csv: only a .duckdb file takes a query"),
        (["round", "colour", "weight"], ["--expand", "weight"], "'weight' is no multi-class column (continuous)"),
    ],
)  # fmt: skip
def test_what_gives_no_pair_is_refused_in_one_line_and_nothing_is_written(
    kept: list[str],
    options: list[str],
    said: str,
    tmp_path: Path,
    home: Path,
    columns: dict[str, object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = table(tmp_path, {name: columns[name] for name in kept})
    assert main(["new-study", "mine", str(path), *options]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert not home.exists()


def test_a_duckdb_file_without_a_query_is_refused(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with duckdb.connect(tmp_path / "all.duckdb") as connection:
        connection.execute("CREATE TABLE things AS SELECT 1 AS a")
    assert main(["new-study", "mine", str(tmp_path / "all.duckdb")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert (
        "all.duckdb: a .duckdb file needs a query that gives one row an image, for example --query" in error
    )
    assert not home.exists()


def test_one_multi_class_column_is_enough_once_it_is_expanded(
    tmp_path: Path, home: Path, columns: dict[str, object]
) -> None:
    path = table(tmp_path, {name: columns[name] for name in ("image", "colour")})
    study = written(home, path, "--expand", "colour")
    assert study.tasks == ("colour=blue", "colour=green", "colour=red")
    assert yaml.safe_load((home / "studies" / "mine.yaml").read_text())["dataset"]["options"]["tasks"] == []
