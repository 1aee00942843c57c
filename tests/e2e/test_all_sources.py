"""Every source of a real study is trained, or refused with the reason; through the command line, as a user runs it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from assets.labels.reading import read_labels
from assets.study import load_study
from tests.command_line import command_line

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


def majority_errors(labels: pl.DataFrame) -> pl.DataFrame:
    """The test error of always guessing train's most frequent value, by `task`."""
    train, test = (labels.filter(pl.col("split") == split) for split in ("train", "test"))
    tasks = [name for name in labels.columns if name not in {"image_id", "image", "split"}]
    errors = [float((test[task] != train[task].mode().sort()[0]).mean() or 0.0) for task in tasks]
    return pl.DataFrame({"task": tasks, "error": errors})


def query(home: Path, study: str, sql: str) -> pl.DataFrame:
    with duckdb.connect(home / "warehouse" / f"{study}.duckdb", read_only=True) as connection:
        return connection.sql(sql).pl()


def test_all_sources_of_digits_learn_their_task(tmp_path: Path) -> None:
    home = tmp_path / "home"
    cli = command_line(home, timeout=2300, threads=2)
    for stage in ("statistics", "models"):
        done = cli("run", "digits", "--only", stage)
        assert done.returncode == 0, done.stderr
    errors = majority_errors(query(home, "digits", "FROM labels"))
    models = query(home, "digits", "FROM source_models").join(errors, on="task")
    assert len(models) == 29
    assert models["undefined_because"].null_count() == 29
    assert models["epochs"].unique().to_list() == [4]
    assert (models["n_unseen"] == 0).all()
    assert models.filter(pl.col("test_error") >= pl.col("error"))["task"].to_list() == []
    assert models.filter(~pl.col("train_log_likelihood").is_between(-0.7, 0))["task"].to_list() == []
    assert len(list((home / "store" / "digits" / "embedding").glob("*.safetensors"))) == 29


def test_every_source_of_the_emoji_is_trained_or_refused_with_the_reason(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """The walk-through's 26 sources, and those so rare that train does not show them."""
    home = tmp_path / "home"
    cli = command_line(home, timeout=2300, threads=2)
    expand = ("--expand", "category,subcategory,skin_tone,gender", "--min-count", "1")
    done = cli("new-study", "emoji", str(shared_data("twemoji") / "labels.csv"), *expand)
    assert done.returncode == 0, done.stderr
    path = home / "studies" / "emoji.yaml"
    table = read_labels(load_study(path, home / "data")).table
    of_train = table.frame.filter(pl.col("split") == "train")
    often = [name for name in table.task_names if name == "emoji" or table.frame[name].sum() >= 100]
    constant = [name for name in table.task_names if of_train[name].drop_nulls().n_unique() < 2]
    assert len(often) == 26
    assert constant
    sources = [*often, *constant]
    text = path.read_text().replace("resnet18", "shufflenet_v2_x0_5")
    path.write_text(
        _with(text, image_size=16, epochs=1) + f"sources: {sources}\nuncertainty: {{permutations: 20}}\n"
    )
    done = cli("run", "emoji", "--only", "models")
    assert done.returncode == 0, done.stderr

    models = query(home, "emoji", "FROM source_models")
    assert set(models["task"]) == set(sources)
    trained = models.filter(pl.col("epochs") == 1)
    assert set(trained["task"]) == set(often)
    assert trained["train_log_likelihood"].null_count() == 0
    assert trained.filter(pl.col("test_error").is_null())["task"].to_list() == ["emoji"]
    (emoji,) = trained.filter(pl.col("task") == "emoji").rows(named=True)
    assert f"{emoji['n_unseen']} of {emoji['n_test']} test rows hold" in emoji["undefined_because"]
    refused = models.filter(pl.col("epochs") == 0)
    assert set(refused["task"]) == set(constant)
    for row in refused.rows(named=True):
        assert "the task is constant in train" in row["undefined_because"]
        assert row["test_error"] is None
        assert row["n_unseen"] >= 1  # its images are in test
    assert len(list((home / "store" / "emoji" / "embedding").glob("*.safetensors"))) == 26


def _with(text: str, **settings: Any) -> str:
    """A study file's text with other values of some settings."""
    lines = text.splitlines()
    for key, value in settings.items():
        at = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
        lines[at] = f"{lines[at].split(key)[0]}{key}: {value}"
    return "\n".join(lines) + "\n"
