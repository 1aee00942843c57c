"""A label's version changes when, and only when, what concerns that task changes."""

import hashlib
import struct
from dataclasses import replace

import numpy as np
import polars as pl

from assets.labels.versions import label_versions
from resources.datasets.base import LabelTable, TaskInfo, build_label_table

TASKS = [
    TaskInfo.of("wings", "Has wings", ("no", "yes")),
    TaskInfo.of("kind", "Which", ("ant", "bee", "cat")),
]


def table() -> LabelTable:
    columns = {"wings": np.array([0, 1, -1, 1]), "kind": np.array([0, 1, 2, 1])}
    split = pl.Series(["train", "train", "train", "test"])
    return build_label_table("here", images=["a", "b", "ç", "d"], split=split, columns=columns, tasks=TASKS)


def changed(**columns: pl.Expr) -> set[str]:
    """The tasks whose version a change of columns moves."""
    before = table()
    after = replace(before, frame=before.frame.with_columns(**columns))
    old, new = label_versions(before), label_versions(after)
    return {task for task in old if old[task] != new[task]}


def test_a_changed_label_concerns_its_own_task() -> None:
    assert changed() == set()
    assert changed(wings=pl.Series([0, 1, 0, 1], dtype=pl.Int32)) == {"wings"}
    assert changed(kind=pl.Series([0, 1, None, 1], dtype=pl.Int32)) == {"kind"}


def test_a_changed_split_or_image_concerns_every_task() -> None:
    assert changed(split=pl.Series(["train", "train", "test", "test"])) == {"wings", "kind"}
    assert changed(image=pl.Series(["a", "b", "c", "d"])) == {"wings", "kind"}
    assert changed(image=pl.lit(None, dtype=pl.String)) == {"wings", "kind"}


def test_the_data_sets_own_partition_concerns_every_task() -> None:
    before = table()
    old, new = (
        label_versions(
            replace(before, frame=before.frame.with_columns(partition=pl.Series(rows, dtype=pl.Int32)))
        )
        for rows in ([0, 0, 1, 2], [0, 1, 0, 2])
    )
    assert all(old[task] != new[task] for task in old)


def test_other_columns_and_the_columns_type_do_not_matter() -> None:
    assert changed(note=pl.lit(1, dtype=pl.Int32), kind=pl.col("kind").cast(pl.Int8)) == set()


def test_renamed_values_concern_their_task() -> None:
    before = table()
    after = replace(before, tasks=(TaskInfo.of("wings", "Has wings", ("0", "1")), TASKS[1]))
    assert label_versions(before)["wings"] != label_versions(after)["wings"]
    assert label_versions(before)["kind"] == label_versions(after)["kind"]


def test_versions_are_a_plain_sha256_that_any_release_can_repeat() -> None:
    def texts(*names: str) -> bytes:
        return len(names).to_bytes(8, "little") + b"".join(b"\1" + name.encode() + b"\0" for name in names)

    rows = hashlib.sha256(
        (4).to_bytes(8, "little") + texts("a", "b", "ç", "d") + bytes([0, 0, 0, 1])
    ).digest()
    expected = hashlib.sha256(rows + texts("no", "yes") + struct.pack("<4i", 0, 1, -1, 1)).hexdigest()
    assert label_versions(table())["wings"] == expected
