"""Caltech-UCSD Birds-200-2011 (Wah et al., 2011): 11,788 images of 200 classes with 312 binary attributes.

Attributes were given by annotators with a certainty; labels are their average by confidence, and labels that
nobody was sure of are missing, not negative (paper, section 5).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from resources.datasets.base import UNKNOWN, Dataset, LabelTable, TaskInfo, build_label_table, select_tasks
from resources.datasets.folders import data_folder, first_existing, shipped_names
from resources.datasets.textfiles import (
    check_codes,
    check_image_paths,
    check_same_keys,
    check_unique,
    numbered_names,
    read_fields,
)
from resources.errors import DataError

ATTRIBUTES = shipped_names("cub_attributes.txt")
CERTAINTIES = ("not visible", "guessing", "probably", "definitely")

_HIGHEST_ID = 10_000_000  # a damaged number must not ask for gigabytes: images are looked up by their number
_ROUNDING = 1e-9
"""Thirds do not add up exactly: ⅓ + ⅔ + ½ must still reach ½ on average."""


class Cub(Dataset):
    """The data set in a folder, opened but not read.

    Args:
        folder: Holds ``images.txt`` and the others, or the archive's top folder ``CUB_200_2011`` with them.
        certainty_weights: Confidence c of each of the four certainties.
        min_confidence: Labels whose mean confidence is lower are missing.
        tasks: Take only these tasks; None takes all 313. Without any attribute, their file is not needed.
    """

    name = "cub"

    def __init__(
        self,
        *,
        folder: Path,
        certainty_weights: Sequence[float] = (0.0, 1 / 3, 2 / 3, 1.0),
        min_confidence: float = 0.5,
        tasks: Sequence[str] | None = None,
    ) -> None:
        self._folder = data_folder(folder, "CUB_200_2011", ("images.txt", "image_class_labels.txt"))
        self._weights = np.array(certainty_weights, dtype=np.float64)
        self._min_confidence = min_confidence
        self._tasks = select_tasks((*ATTRIBUTES, "class"), tasks, "cub")

    def task_names(self) -> tuple[str, ...]:
        """The 312 attributes in the official order, then ``class``."""
        return self._tasks

    def source_only_tasks(self) -> tuple[str, ...]:
        """``class``."""
        return tuple(name for name in self._tasks if name == "class")

    def label_files(self) -> tuple[Path, ...]:
        """Images, classes, split, and the annotators' labels where attributes are read, each with its names."""
        names = ["images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"]
        files = [self._folder / name for name in names]
        named = [path for path, _ in self._name_files()]
        return tuple(files + ([self._annotations(), *named] if self._attributes() else []))

    def image_root(self) -> Path:
        """``images``."""
        return self._folder / "images"

    def published_counts(self) -> dict[str, int]:
        """11,788 images of 200 classes."""
        return {"images": 11_788, "class": 200}

    def read(self) -> LabelTable:
        """The labels, in the order of ``images.txt``, with the published split."""
        path = self._folder / "images.txt"
        images = read_fields(path, {"id": pl.Int32, "image": pl.String})
        check_image_paths(images["image"], path)
        check_unique(images["image"], path)
        check_unique(images["id"], path)
        if not images["id"].is_between(0, _HIGHEST_ID).all():
            row = int((~images["id"].is_between(0, _HIGHEST_ID)).arg_max() or 0)
            raise DataError(
                f"{path}, line {row + 1}: the image number is {images['id'][row]}; download it again"
            )
        in_train = self._read_pairs("train_test_split.txt", images["id"], (0, 1), "is_training_image")
        split = pl.Series("split", np.where(in_train.to_numpy() == 1, "train", "test"))
        columns: dict[str, npt.NDArray[np.integer] | pl.Series] = {}
        tasks = []
        if self._attributes():
            labels = self._read_attributes(images["id"])
            columns |= {name: labels[:, ATTRIBUTES.index(name)] for name in self._attributes()}
            tasks += [TaskInfo.of(name, _describe(name), ("0", "1")) for name in self._attributes()]
        if "class" in self._tasks:
            classes = self._read_classes()
            numbers = self._read_pairs("image_class_labels.txt", images["id"], tuple(classes), "the class")
            places = {number: code for code, number in enumerate(classes)}
            columns["class"] = numbers.replace_strict(places, return_dtype=pl.Int32)
            tasks.append(TaskInfo.of("class", "Which species it is", classes.values(), source_only=True))
        return build_label_table(
            str(self._folder), images=images["image"], split=split, columns=columns, tasks=tasks
        )

    def _attributes(self) -> tuple[str, ...]:
        return tuple(name for name in self._tasks if name != "class")

    def _annotations(self) -> Path:
        return self._folder / "attributes" / "image_attribute_labels.txt"

    def _read_classes(self) -> dict[int, str]:
        """Names by number; numbers alone where ``classes.txt`` is not there."""
        path = self._folder / "classes.txt"
        return numbered_names(path) if path.exists() else {number: str(number) for number in range(1, 201)}

    def _read_pairs(self, file: str, ids: pl.Series, allowed: Sequence[int], what: str) -> pl.Series:
        """The second column of a file of (image, number), for the same images in the same order."""
        path = self._folder / file
        frame = read_fields(path, {"id": pl.Int32, "number": pl.Int32})
        check_unique(frame["id"], path)
        check_same_keys(frame["id"], ids, path, self._folder / "images.txt")
        check_codes(frame["number"], allowed, what, path)
        return frame["number"]

    def _read_attributes(self, ids: pl.Series) -> npt.NDArray[np.int8]:
        """Labels (n, 312): 0, 1, −1 = missing."""
        self._check_names()
        path = self._annotations()
        fields = {"image": pl.Int32, "attribute": pl.Int32, "is_present": pl.Int32, "certainty": pl.Int32}
        # In the official file some lines have a needless 0 and a blank after the certainty; the first four
        # hold.
        rows = read_fields(path, fields, more_fields=True)
        check_codes(rows["attribute"], range(1, len(ATTRIBUTES) + 1), "the attribute", path)
        check_codes(rows["is_present"], (0, 1), "is_present", path)
        check_codes(rows["certainty"], (1, 2, 3, 4), "the certainty", path)
        place = np.full(int(ids.to_numpy().max()) + 1, -1)
        place[ids.to_numpy()] = np.arange(len(ids))
        image = rows["image"].to_numpy()
        known = (image >= 0) & (image < len(place))
        known[known] = place[image[known]] >= 0
        if not known.all():
            row = int(np.argmin(known))
            raise DataError(f"{path}, line {row + 1}: image {image[row]} is not in images.txt")
        labels = average_by_confidence(
            place[image] * len(ATTRIBUTES) + rows["attribute"].to_numpy() - 1,
            rows["is_present"].to_numpy(),
            self._weights[rows["certainty"].to_numpy() - 1],
            len(ids) * len(ATTRIBUTES),
            self._min_confidence,
        )
        return labels.reshape(len(ids), len(ATTRIBUTES))

    def _name_files(self) -> tuple[tuple[Path, tuple[str, ...]], ...]:
        """The files that name attributes and certainties, and the names they must hold."""
        above = [self._folder / "attributes", self._folder, self._folder.parent]
        return (
            (first_existing([folder / "attributes.txt" for folder in above]), ATTRIBUTES),
            (self._folder / "attributes" / "certainties.txt", CERTAINTIES),
        )

    def _check_names(self) -> None:
        """Where the files of names are there, they must be the known ones."""
        for path, names in self._name_files():
            if not path.exists() or (found := tuple(numbered_names(path).values())) == names:
                continue
            odd = next((i for i, (a, b) in enumerate(zip(found, names, strict=False)) if a != b), None)
            line = min(len(found), len(names)) if odd is None else odd
            raise DataError(
                f"{path}, line {line + 1}: not the {len(names)} names of CUB in their order; download it again"
            )


def average_by_confidence(
    cell: npt.NDArray[np.integer],
    present: npt.NDArray[np.integer],
    confidence: npt.NDArray[np.float64],
    n_cells: int,
    min_confidence: float,
) -> npt.NDArray[np.int8]:
    """The label of each (image, attribute) from its annotations.

    It is [Σ c·present / Σ c ≥ ½] over the annotations of the cell, where their mean c is enough.

    Args:
        cell: Which (image, attribute) each annotation is of, (rows,), 0..n_cells−1.
        present: What it says, 0 or 1, (rows,).
        confidence: Its weight c, (rows,).
        n_cells: Number of (image, attribute).
        min_confidence: Cells whose mean c is lower are missing, as are those without any confidence.

    Returns:
        (n_cells,): 0, 1, or −1 = missing.

    Raises:
        DataError: If a cell has no annotation at all: the published file has one for each.
    """
    number = np.bincount(cell, minlength=n_cells)
    if (number == 0).any():
        first = int(np.argmin(number > 0))
        image, attribute = divmod(first, len(ATTRIBUTES))
        raise DataError(
            f"attributes/image_attribute_labels.txt: nothing for row {image + 1} of images.txt, attribute "
            f"{attribute + 1} ({int((number == 0).sum())} such gaps); it is cut short, download it again"
        )
    total = np.bincount(cell, weights=confidence, minlength=n_cells)
    positive = np.bincount(cell, weights=confidence * present, minlength=n_cells)
    label = (2 * positive >= total - _ROUNDING).astype(np.int8)
    label[(total < min_confidence * number - _ROUNDING) | (total <= 0)] = UNKNOWN
    return label


def _describe(name: str) -> str:
    return f"CUB's attribute {name.replace('_', ' ').replace('::', ': ')}"
