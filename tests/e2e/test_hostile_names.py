"""A study whose tasks, classes and image files are called what nobody should call them, through the whole chain."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image

from resources.names import partition_key, task_of
from resources.store import Store
from tests.command_line import command_line

TASKS = (
    "it's; DROP TABLE labels; --",
    '"quoted" \\ and %25',
    "<script>alert(1)</script>",
    "../../up/../x...y",
    "line\nbreak\ttab",
    "é👩🏽‍🚀 \u202egnp.exe",
    "x" * 300,
    "NUL",
    "CON.txt",
    "[1,2] a=b&c",
)
VALUES = ("'; DROP TABLE tasks; --", "<img src=x onerror=alert(1)>", "\u202eesrever", "NULL", 'a,b;c"d')
IMAGES = (
    "a'b.png",
    "<b>.png",
    "sp ace;x.png",
    "👩.png",
    "NUL.png",
    "%2e%2e.png",
    "-rf.png",
    'q"uote.png',
    "x" * 200 + ".png",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("hostile")
    folder = home / "data"
    (folder / "pictures").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = [*IMAGES, *(f"{i}.png" for i in range(48 - len(IMAGES)))]
    for image in images:
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(folder / "pictures" / image)
    columns: dict[str, list[str]] = {"picture": images}
    for place, task in enumerate(TASKS):
        first, second = VALUES[place % 5], VALUES[(place + 1) % 5]
        columns[task] = [first if bit else second for bit in rng.integers(0, 2, len(images))]
    pl.DataFrame(columns).write_parquet(folder / "labels.parquet")
    options = {
        "table": "labels.parquet",
        "image_column": "picture",
        "image_folder": "pictures",
        "tasks": list(TASKS),
    }
    study = {
        "title": "<script>alert('title')</script>",
        "description": "'; DROP TABLE studies; --\n</p>",
        "dataset": {"reader": "table", "options": options},
        "sources": [TASKS[0], TASKS[4], TASKS[6]],
        "recipe": {"image_size": 16, "epochs": 1, "batch_size": 16},
        "uncertainty": {"permutations": 20},
    }
    (home / "studies").mkdir()
    (home / "studies" / "hostile.yaml").write_text(yaml.safe_dump(study, allow_unicode=True))
    done = cli(home, "run", "hostile")
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def cli(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return command_line(home, MLFLOW_TRACKING_URI="")(*arguments)


def rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(home / "warehouse" / "hostile.duckdb", read_only=True) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.slow
def test_the_tables_hold_every_name_as_it_is(home: Path, tmp_path: Path) -> None:
    assert [task for (task,) in rows(home, "SELECT task FROM tasks ORDER BY position")] == list(TASKS)
    assert {name for (name,) in rows(home, "SELECT DISTINCT name FROM label_values")} == set(VALUES)
    assert {image for (image,) in rows(home, "SELECT image FROM labels")} >= set(IMAGES)
    pairs = {(s, t) for s in (TASKS[0], TASKS[4], TASKS[6]) for t in TASKS if s != t}
    for table in ("transfer", "conditional_entropy"):
        assert set(rows(home, f"SELECT DISTINCT source, target FROM {table}")) == pairs
    done = cli(home, "export", "hostile", "--to", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    for read in (
        pl.read_parquet(tmp_path / "out" / "tasks.parquet"),
        pl.read_csv(tmp_path / "out" / "tasks.csv"),
    ):
        assert set(read["task"]) == set(TASKS)


@pytest.mark.slow
def test_files_stay_in_their_folders_and_partitions_give_their_names_back(home: Path) -> None:
    root = (home / "store").resolve()
    assert all(path.resolve().is_relative_to(root) for path in root.rglob("*"))
    for task in (TASKS[0], TASKS[4], TASKS[6]):
        manifest = Store(home / "store").manifest("hostile", "source_model", task)
        assert manifest is not None
        assert manifest.partition == task
    assert [task_of(partition_key(task)) for task in TASKS] == list(TASKS)
    assert {path.name for path in home.iterdir()} >= {"store", "warehouse", "reports", "mlflow.db"}


@pytest.mark.slow
def test_dagster_and_mlflow_know_every_output_by_its_name(home: Path) -> None:
    program = (
        "import dagster as dg, json\nwith dg.DagsterInstance.get() as i:\n"
        "    print(json.dumps(sorted(i.get_materialized_partitions(dg.AssetKey(['hostile', 'labels'])))))"
    )
    environment = {**os.environ, "DAGSTER_HOME": str(home / "dagster")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert set(map(task_of, json.loads(done.stdout))) == set(TASKS)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("hostile")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=500)
    assert {
        run.data.tags["dagster/partition"] for run in runs if "dagster/partition" in run.data.tags
    } == set(TASKS)
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.slow
def test_the_page_shows_names_as_text_and_a_second_run_has_nothing_to_do(home: Path) -> None:
    page = (home / "reports" / "hostile" / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"</script>alert", page)
    again = cli(home, "run", "hostile")
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("everything is up to date")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"Round": [0, 1], "round": [1, 0]}, "differ at most in case"),
        ({"image_id": [0, 1], "b": [1, 0]}, "reserved column 'image_id'"),
        ({"SPLIT": [0, 1], "b": [1, 0]}, "reserved column 'split'"),
        ({" ": [0, 1], "b": [1, 0]}, "empty name"),
    ],
    ids=["case", "reserved", "reserved but for case", "blank"],
)
def test_what_cannot_be_carried_is_refused_in_one_line(
    columns: dict[str, list[int]], said: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    pl.DataFrame({name: values * 10 for name, values in columns.items()}).write_parquet(
        tmp_path / "data" / "t.parquet"
    )
    study = {"dataset": {"reader": "table", "options": {"table": "t.parquet", "tasks": list(columns)}}}
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "mine.yaml").write_text(yaml.safe_dump(study))
    done = cli(tmp_path, "run", "mine", "--only", "statistics")
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
