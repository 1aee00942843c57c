"""CelebA from files in the official format, and from the variants that circulate."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl

from resources.datasets.celeba import ATTRIBUTES, CelebA
from tests.resources.datasets import official_formats


def plain(folder: Path) -> pl.DataFrame:
    """An independent reading: Python's own splitting, row by row."""
    rows = [line.split() for line in (folder / "list_attr_celeba.txt").read_text().splitlines()[2:]]
    parts = dict(line.split() for line in (folder / "list_eval_partition.txt").read_text().splitlines())
    people = dict(line.split() for line in (folder / "identity_CelebA.txt").read_text().splitlines())
    records = [
        {"image": row[0], "partition": int(parts[row[0]]), "person": people[row[0]]}
        | {name: int(value == "1") for name, value in zip(ATTRIBUTES, row[1:], strict=True)}
        for row in rows
    ]
    return pl.DataFrame(records)


def test_every_label_is_what_the_files_say(pristine: Path) -> None:
    table = CelebA(folder=pristine / "celeba").read()
    truth = plain(pristine / "celeba")
    assert table.frame["image"].equals(truth["image"])
    assert table.frame["partition"].to_list() == truth["partition"].to_list()
    assert table.frame["split"].to_list() == ["test" if p == 2 else "train" for p in truth["partition"]]
    for name in ATTRIBUTES:
        assert table.frame[name].to_list() == truth[name].to_list(), name
    identity = table.tasks[-1]
    assert [identity.value_names[code] for code in table.frame["identity"]] == truth["person"].to_list()
    assert list(identity.value_names) == sorted(identity.value_names, key=int)
    assert identity.source_only
    assert table.tasks[0].value_names == ("-1", "1")
    assert table.task_names == CelebA(folder=pristine).task_names()


def test_line_ends_do_not_matter(pristine: Path, tmp_path: Path) -> None:
    official_formats.write_celeba(tmp_path / "celeba", images=False, crlf=True)
    assert CelebA(folder=tmp_path).read().frame.equals(CelebA(folder=pristine / "celeba").read().frame)


def test_layouts_of_the_archives(pristine: Path, tmp_path: Path) -> None:
    whole = CelebA(folder=pristine / "celeba").read().frame
    assert CelebA(folder=pristine).read().frame.equals(whole)  # the archive's own top folder
    for folder, file in (
        ("Anno", "list_attr_celeba"),
        ("Anno", "identity_CelebA"),
        ("Eval", "list_eval_partition"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.copy(pristine / "celeba" / f"{file}.txt", tmp_path / folder)
    assert CelebA(folder=tmp_path).read().frame.equals(whole)
    (tmp_path / "Img" / "img_align_celeba").mkdir(parents=True)
    assert CelebA(folder=tmp_path).image_root() == tmp_path / "Img" / "img_align_celeba"
    assert CelebA(folder=pristine).image_root() == pristine / "celeba" / "img_align_celeba"


def test_csv_variants_without_identity(pristine: Path, tmp_path: Path) -> None:
    truth = plain(pristine / "celeba")
    truth.select("image", *(pl.col(name) * 2 - 1 for name in ATTRIBUTES)).rename(
        {"image": "image_id"}
    ).write_csv(tmp_path / "list_attr_celeba.csv")
    pairs = truth.select("image", "partition").rename({"image": "image_id"})
    pairs.write_csv(tmp_path / "list_eval_partition.csv")
    dataset = CelebA(folder=tmp_path, identity=False)
    assert dataset.read().frame.equals(CelebA(folder=pristine).read().frame.drop("identity"))
    assert dataset.source_only_tasks() == ()
    assert [path.name for path in dataset.label_files()] == [
        "list_attr_celeba.csv",
        "list_eval_partition.csv",
    ]


def test_chosen_tasks_need_only_their_files(data: Path, edit: Callable[..., None]) -> None:
    (data / "celeba" / "identity_CelebA.txt").unlink()
    table = CelebA(folder=data, tasks=["Smiling", "Male"]).read()
    assert table.frame.columns == ["image_id", "image", "split", "partition", "Male", "Smiling"]


def test_counts_and_names_are_the_published_ones() -> None:
    assert CelebA(folder=Path()).published_counts() == {"images": 202599, "identity": 10177}
    assert len(ATTRIBUTES) == 40
    assert (ATTRIBUTES[0], ATTRIBUTES[20], ATTRIBUTES[39]) == ("5_o_Clock_Shadow", "Male", "Young")
