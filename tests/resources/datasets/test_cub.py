"""CUB-200-2011 from files in the official format: the confidence rule, the known fault, the real files."""

from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.datasets.cub import ATTRIBUTES, Cub, average_by_confidence
from resources.errors import DataError

THIRDS = (Fraction(0), Fraction(1, 3), Fraction(2, 3), Fraction(1))


def exact(rows: list[tuple[int, int]], minimum: Fraction = Fraction(1, 2)) -> int:
    """The rule in exact arithmetic over rows of (present, certainty 1–4)."""
    total = sum((THIRDS[certainty - 1] for _, certainty in rows), Fraction(0))
    positive = sum((THIRDS[certainty - 1] for present, certainty in rows if present), Fraction(0))
    if total == 0 or total / len(rows) < minimum:
        return -1
    return int(positive / total >= Fraction(1, 2))


def by_reader(cells: list[list[tuple[int, int]]], minimum: float = 0.5) -> list[int]:
    rows = [(i, *row) for i, cell in enumerate(cells) for row in cell]
    cell, present, certainty = (np.array(column) for column in zip(*rows, strict=True))
    weights = np.array([float(third) for third in THIRDS])
    return average_by_confidence(cell, present, weights[certainty - 1], len(cells), minimum).tolist()


def test_the_rule_by_hand() -> None:
    cells = [
        [(1, 4)],  # sure, present
        [(0, 3)],  # probably not
        [(1, 2)],  # guessing: mean 1/3
        [(1, 1), (1, 1)],  # not visible
        [(1, 2), (0, 3)],  # mean exactly 1/2: kept; 1/3 against 2/3
        [(1, 3), (0, 3)],  # a draw counts as present
        [(1, 4), (1, 1), (0, 2), (0, 2), (0, 3)],  # mean 7/15: missing
    ]
    assert by_reader(cells) == [1, 0, -1, -1, 0, 1, -1]


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4)), min_size=1, max_size=7), min_size=1)
)
def test_the_rule_agrees_with_exact_arithmetic(cells: list[list[tuple[int, int]]]) -> None:
    assert by_reader(cells) == [exact(cell) for cell in cells]


def test_a_cell_without_any_annotation_is_refused() -> None:
    with pytest.raises(DataError, match=r"row 1 of images.txt, attribute 2 .*cut short"):
        average_by_confidence(np.array([0, 2]), np.array([1, 1]), np.array([1.0, 1.0]), 3, 0.5)


def test_every_label_is_what_the_files_say_even_on_faulty_lines(pristine: Path) -> None:
    folder = pristine / "cub" / "CUB_200_2011"
    table = Cub(folder=pristine / "cub").read()
    lines = [
        line.split() for line in (folder / "attributes/image_attribute_labels.txt").read_text().splitlines()
    ]
    assert {len(line) for line in lines} == {5, 6}  # the known fault is in the fixture
    cells = defaultdict(list)
    for image, attribute, present, certainty, *_ in lines:
        cells[int(image) - 1, int(attribute) - 1].append((int(present), int(certainty)))
    labels = table.frame.select(ATTRIBUTES).fill_null(-1).to_numpy()
    assert labels.shape == (120, 312)
    assert all(labels[place] == exact(rows) for place, rows in cells.items())
    assert set(np.unique(labels)) == {-1, 0, 1}
    split = dict(line.split() for line in (folder / "train_test_split.txt").read_text().splitlines())
    assert table.frame["split"].to_list() == [["test", "train"][int(split[str(i)])] for i in range(1, 121)]
    names = table.tasks[-1].value_names
    assert [names[code] for code in table.frame["class"]] == [p.split("/")[0] for p in table.frame["image"]]


def test_several_annotators_and_other_weights(data: Path) -> None:
    path = data / "cub/CUB_200_2011/attributes/image_attribute_labels.txt"
    with path.open("a") as file:
        file.write("1 1 1 4 2.0\n1 1 1 4 2.0\n1 1 1 4 2.0\n1 1 1 4 2.0\n1 1 1 4 2.0\n")
    assert Cub(folder=data / "cub").read().frame[ATTRIBUTES[0]][0] == 1
    all_kept = Cub(folder=data / "cub", certainty_weights=(1, 1, 1, 1), min_confidence=0).read().frame
    assert all_kept.select(ATTRIBUTES).null_count().sum_horizontal()[0] == 0


def test_attributes_txt_may_lie_in_three_places(data: Path) -> None:
    top = data / "cub" / "CUB_200_2011"
    whole = Cub(folder=top).read().frame
    (data / "cub" / "attributes.txt").rename(top / "attributes.txt")
    assert Cub(folder=data / "cub").read().frame.equals(whole)
    (top / "attributes.txt").rename(top / "attributes" / "attributes.txt")
    assert Cub(folder=data / "cub").read().frame.equals(whole)


def test_classes_need_no_annotations(shared_data: Callable[[str], Path]) -> None:
    dataset = Cub(folder=shared_data("cub"), tasks=["class"])
    frame = dataset.read().frame
    assert len(frame) == dataset.published_counts()["images"]
    assert frame["class"].n_unique() == dataset.published_counts()["class"]
    assert dict(frame["split"].value_counts().iter_rows()) == {"train": 5994, "test": 5794}
    with pytest.raises(DataError, match=r"image_attribute_labels.txt: no such file"):
        Cub(folder=shared_data("cub")).read()


def test_every_file_that_is_read_is_watched(pristine: Path) -> None:
    """A change of a file that is not watched would go unnoticed once the labels are up to date."""
    folder = pristine / "cub" / "CUB_200_2011"
    watched = {path.relative_to(folder.parent).as_posix() for path in Cub(folder=folder).label_files()}
    there = {path.relative_to(folder.parent).as_posix() for path in folder.parent.rglob("*.txt")}
    assert watched == there
