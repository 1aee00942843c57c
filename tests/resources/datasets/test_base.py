"""What holds for every label table, whatever its reader."""

import numpy as np
import polars as pl
import pytest

from resources.datasets.base import TaskInfo, build_label_table, check_task_names
from resources.errors import DataError

SPLIT = pl.Series(["train", "train", "test"])
TASK = TaskInfo.of("wings", "Has wings", ("no", "yes"))


def build(
    codes: object = (0, 1, 1), split: pl.Series = SPLIT, images: list[str] | None = None
) -> pl.DataFrame:
    columns = {"wings": np.array(codes)}
    return build_label_table("here", images=images, split=split, columns=columns, tasks=[TASK]).frame


def test_columns_types_and_order() -> None:
    frame = build(images=["a", "b", "c"])
    assert frame.schema == {"image_id": pl.Int64, "image": pl.String, "split": pl.String, "wings": pl.Int32}
    assert frame["image_id"].to_list() == [0, 1, 2]
    assert build()["image"].null_count() == 3


def test_minus_one_in_an_array_is_unknown() -> None:
    assert build((0, -1, 1), pl.Series(["train", "test", "train"]))["wings"].to_list() == [0, None, 1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Split", "reserved column 'split'"),
        ("IMAGE_ID", "reserved column 'image_id'"),
        ("image", "reserved column 'image'"),
        ("partition", "reserved column 'partition'"),
        ("WINGS", "differ at most in case"),
        (" ", "empty name"),
    ],
)
def test_names_that_collide_are_refused(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_task_names(["wings", name], "here")


def test_bad_tables_are_refused() -> None:
    with pytest.raises(DataError, match="image 'a' comes more than once"):
        build(images=["a", "b", "a"])
    with pytest.raises(DataError, match="row 2 has split 'val'"):
        build(split=pl.Series(["train", "val", "test"]))
    with pytest.raises(DataError, match="no row is in split train"):
        build(split=pl.Series(["test"] * 3))
    with pytest.raises(DataError, match=r"codes 0\.\.2 but 2 value names"):
        build((0, 1, 2))
    with pytest.raises(DataError, match="no usable task"):
        build((1, 1, 0))


def test_one_constant_task_beside_a_usable_one_is_no_error() -> None:
    columns = {"wings": np.array([0, 1, 1]), "tail": np.array([1, 1, 1])}
    tasks = [TASK, TaskInfo.of("tail", "Has a tail", ("no", "yes"))]
    table = build_label_table("here", images=None, split=SPLIT, columns=columns, tasks=tasks)
    assert table.task_names == ("wings", "tail")
