"""AwA2 from files in the official format, and the real label files where they are present."""

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from resources.datasets.awa2 import ATTRIBUTES, AwA2
from tests.resources.datasets import official_formats


def test_every_label_follows_from_the_class(pristine: Path) -> None:
    table = AwA2(folder=pristine / "awa2").read()
    matrix = np.loadtxt(pristine / "awa2" / "predicate-matrix-binary.txt", dtype=int)
    classes = [line.split()[1] for line in (pristine / "awa2" / "classes.txt").read_text().splitlines()]
    for row in table.frame.iter_rows(named=True):
        name = row["image"].split("/")[0]
        assert row["image"].split("/")[1].startswith(name + "_")
        assert table.tasks[-1].value_names[row["class"]] == name
        assert [row[attribute] for attribute in ATTRIBUTES] == matrix[classes.index(name)].tolist()


def test_images_and_lists_give_the_same_table(tmp_path: Path) -> None:
    official_formats.write_awa2(tmp_path / "a" / "Animals_with_Attributes2", 40, images=True, lists=False)
    official_formats.write_awa2(tmp_path / "b", 40, images=False, lists=True)
    official_formats.write_awa2(tmp_path / "c", 40, images=True, lists=True)
    tables = [AwA2(folder=tmp_path / name).read() for name in "abc"]
    assert tables[0].frame.equals(tables[1].frame)
    assert tables[1].frame.equals(tables[2].frame)
    assert [len(AwA2(folder=tmp_path / name).label_files()) for name in "abc"] == [13, 5, 5]
    root = AwA2(folder=tmp_path / "a").image_root()
    assert all((root / image).is_file() for image in tables[0].frame["image"])


def test_the_split_is_seeded_and_keeps_each_class_at_a_tenth(pristine: Path) -> None:
    frame = AwA2(folder=pristine / "awa2").read().frame
    assert frame.group_by("class").agg((pl.col("split") == "test").sum())["split"].to_list() == [1] * 10
    other = AwA2(folder=pristine / "awa2", seed=5).read().frame
    assert not other["split"].equals(frame["split"])


def test_the_real_label_files(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("awa2")
    digest = hashlib.sha256((folder / "AwA2-labels.txt").read_bytes()).hexdigest()
    assert digest == "2f60492cddc4a1b74b08a65cab9eb4fee3c3dc2fbc303a7e669c4b05fa1c8231"
    dataset = AwA2(folder=folder)
    table = dataset.read()
    assert len(table.frame) == dataset.published_counts()["images"] == 37_322
    with (folder / "class_counts.csv").open() as file:
        published = {row["class"]: int(row["n_images"]) for row in csv.DictReader(file)}
    names = table.tasks[-1].value_names
    counted = {names[code]: n for code, n in table.frame["class"].value_counts().iter_rows()}
    assert counted == published
    shares = np.array(list(counted.values())) / 37_322
    assert abs(-(shares * np.log(shares)).sum() - 3.785217) < 1e-6  # H(class) over all images, nats
    for name in ("swims", "water"):
        assert table.frame.group_by("class").agg(pl.col(name).n_unique())[name].max() == 1
    assert (table.frame["swims"] == table.frame["water"]).all()
    split = table.frame["split"].value_counts(sort=True)
    assert split["split"].to_list() == ["train", "test"]
    assert abs(split["count"][1] - 3732) <= 25  # a tenth, up to rounding in each of 50 classes
