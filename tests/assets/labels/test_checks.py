"""The checks that travel with the data: what they refuse, what they only warn of, and what they say."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from assets.labels import checks
from assets.labels.reading import read_labels
from assets.labels.tables import tasks_frame
from tests.conftest import TableStudy

Read = Callable[[str], pl.DataFrame]


def study(published: dict[str, int] | None = None, **options: object) -> Any:
    """What the checks look at of a study."""
    return SimpleNamespace(
        tasks=("person", "wings"),
        settings=SimpleNamespace(dataset=SimpleNamespace(options=options)),
        dataset=SimpleNamespace(published_counts=lambda: published or {}),
    )


def labels(**columns: list[object]) -> Read:
    """A reader of one label table: four images of two people."""
    frame: dict[str, list[object]] = {
        "image_id": [0, 1, 2, 3], "image": ["a", "b", "c", "d"], "split": ["train", "train", "train", "test"],
        "person": [0, 0, 1, 1], "wings": [0, 1, None, 0],
    }  # fmt: skip
    return lambda _table: pl.DataFrame(frame | columns)


def test_a_sound_table_passes() -> None:
    for check in (checks.image_keys, checks.splits, checks.grouped_split, checks.published_counts,
                  checks.constant_tasks):  # fmt: skip
        found = check(study(), labels())
        assert found.passed, check


@pytest.mark.parametrize(
    ("check", "columns", "said"),
    [
        (checks.image_keys, {"image_id": [0, 1, 3, 2]}, "image_id does not count the rows"),
        (checks.image_keys, {"image": ["a", "b", "c", "a"]}, "image 'a' comes twice"),
        (checks.splits, {"split": ["train", "val", "test", "test"]}, "split 'val' is neither train nor test"),
        (checks.splits, {"split": ["test"] * 4}, "train is empty"),
    ],
)
def test_what_is_broken_stops_the_run(check: Any, columns: dict[str, list[object]], said: str) -> None:
    found = check(study(), labels(**columns))
    assert (found.passed, found.text, found.warning) == (False, said, False)


def test_a_group_in_both_splits_stops_the_run_whether_it_is_a_task_or_not() -> None:
    grouped = study(group_by="photographer")
    found = checks.grouped_split(grouped, labels(split_group=["x", None, "y", "y"]))
    assert (found.passed, found.warning) == (False, False)
    assert found.text == "1 values of photographer are in both splits, such as 'y'"
    found = checks.grouped_split(grouped, labels(split_group=["x", "x", None, None]))
    assert (found.passed, dict(found.values)) == (True, {"groups": 1, "values_in_both": 0})
    assert not checks.grouped_split(grouped, labels()).passed, "without the groups nothing is shown"


def test_the_groups_of_a_table_are_in_its_label_table(table_study: TableStudy) -> None:
    table_study.columns["who"] = [f"p{i % 9}" if i else "" for i in range(80)]
    table_study.write()
    options = {**table_study.content["dataset"]["options"], "group_by": "who"}
    grouped = table_study.open(dataset={"reader": "table", "options": options})
    frame = read_labels(grouped).table.frame
    assert frame["split_group"].to_list() == [None, *(f"p{i % 9}" for i in range(1, 80))]
    found = checks.grouped_split(grouped, lambda _table: frame)
    assert (found.passed, dict(found.values)) == (True, {"groups": 9, "values_in_both": 0})
    first_of_p1 = (pl.col("image_id") == 1).alias("first")
    split = pl.when(first_of_p1).then(pl.lit("test")).otherwise(pl.lit("train")).alias("split")
    assert not checks.grouped_split(grouped, lambda _table: frame.with_columns(split)).passed


def test_a_subset_and_a_constant_task_are_only_warned_of() -> None:
    found = checks.published_counts(study({"images": 202_599, "person": 2}), labels())
    assert (found.passed, found.warning) == (False, True)
    assert found.text == "4 instead of 202,599 images"
    found = checks.constant_tasks(study(), labels(wings=[1, 1, None, 0]))
    assert (found.passed, found.warning, found.text) == (False, True, "constant in train: wings")


def test_a_task_that_is_constant_in_train_is_marked_and_no_source(table_study: TableStudy) -> None:
    split = ["train"] * 60 + ["test"] * 20
    table_study.columns |= {"split": split, "big": ["yes"] * 70 + ["no"] * 10}
    table_study.write()
    content = table_study.content
    content["dataset"]["options"]["split_column"] = "split"
    study = table_study.open(dataset=content["dataset"])
    rows = tasks_frame(read_labels(study).table, study).rows_by_key("task", named=True, unique=True)
    assert [rows[task]["constant_in_train"] for task in study.tasks] == [False, False, True]
    assert [rows[task]["is_source"] for task in study.tasks] == [True, True, False]
    assert rows["big"]["is_target"]
    assert rows["big"]["n_values"] == 2
