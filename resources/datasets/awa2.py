"""Animals with Attributes 2 (Xian et al., 2018): 37,322 images of 50 classes, 85 attributes of each class.

Every label follows from the class, so CE from ``class`` to every attribute is 0.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from resources.datasets.base import Dataset, LabelTable, TaskInfo, build_label_table, select_tasks
from resources.datasets.folders import data_folder, shipped_names
from resources.datasets.splits import stratified_split
from resources.datasets.textfiles import check_image_paths, check_unique, numbered_names, split_lines
from resources.errors import DataError

ATTRIBUTES = shipped_names("awa2_attributes.txt")

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class AwA2(Dataset):
    """The data set in a folder, opened but not read.

    Args:
        folder: Holds ``classes.txt`` and the others, or the archive's top folder
            ``Animals_with_Attributes2``.
        seed: Of the split; the paper's is not published.
        test_fraction: Share of each class that is test.
        tasks: Take only these tasks; None takes all 86.
    """

    name = "awa2"

    def __init__(
        self, *, folder: Path, seed: int = 0, test_fraction: float = 0.1, tasks: Sequence[str] | None = None
    ) -> None:
        self._folder = data_folder(folder, "Animals_with_Attributes2", ("classes.txt", "predicates.txt"))
        self._seed = seed
        self._test_fraction = test_fraction
        self._tasks = select_tasks((*ATTRIBUTES, "class"), tasks, "awa2")

    def task_names(self) -> tuple[str, ...]:
        """The 85 attributes in the official order, then ``class``."""
        return self._tasks

    def source_only_tasks(self) -> tuple[str, ...]:
        """``class``."""
        return tuple(name for name in self._tasks if name == "class")

    def label_files(self) -> tuple[Path, ...]:
        """Classes, predicates, their matrix, and the lists of images, or without those the image folders."""
        names = ("classes.txt", "predicates.txt", "predicate-matrix-binary.txt")
        always = tuple(self._folder / name for name in names)
        if self._has_lists():
            return (*always, self._folder / "AwA2-filenames.txt", self._folder / "AwA2-labels.txt")
        return always + tuple(sorted(path for path in self.image_root().iterdir() if path.is_dir()))

    def image_root(self) -> Path:
        """``JPEGImages``."""
        return self._folder / "JPEGImages"

    def published_counts(self) -> dict[str, int]:
        """37,322 images of 50 classes."""
        return {"images": 37_322, "class": 50}

    def read(self) -> LabelTable:
        """The labels, by class and file name; the split is stratified by class, by hash of the file names."""
        numbered = numbered_names(self._folder / "classes.txt")
        numbers, classes = list(numbered), tuple(numbered.values())
        matrix = self._read_matrix(len(classes))
        images, class_codes = (
            self._read_lists(numbers, classes) if self._has_lists() else self._list_images(classes)
        )
        split = stratified_split(images, class_codes, self._test_fraction, self._seed)
        columns = {
            name: class_codes if name == "class" else matrix[class_codes, ATTRIBUTES.index(name)]
            for name in self._tasks
        }
        tasks = [
            TaskInfo.of("class", "Which animal it is", classes, source_only=True)
            if name == "class"
            else TaskInfo.of(name, f"AwA2's class attribute {name}", ("0", "1"))
            for name in self._tasks
        ]
        return build_label_table(str(self._folder), images=images, split=split, columns=columns, tasks=tasks)

    def _has_lists(self) -> bool:
        return (self._folder / "AwA2-filenames.txt").exists() or not self.image_root().is_dir()

    def _read_matrix(self, n_classes: int) -> npt.NDArray[np.int64]:
        """The binary predicate matrix, (classes, 85)."""
        predicates = self._folder / "predicates.txt"
        names = tuple(numbered_names(predicates).values())
        if names != ATTRIBUTES:
            odd = next(
                (i for i, (a, b) in enumerate(zip(names, ATTRIBUTES, strict=False)) if a != b), len(names)
            )
            raise DataError(f"{predicates}, line {odd + 1}: not the 85 predicates of AwA2; download it again")
        path = self._folder / "predicate-matrix-binary.txt"
        rows = [line.split() for line in split_lines(path)]
        if len(rows) != n_classes:
            raise DataError(f"{path}: {len(rows)} rows, but classes.txt has {n_classes} classes")
        for number, row in enumerate(rows, 1):
            if len(row) != len(ATTRIBUTES):
                raise DataError(
                    f"{path}, line {number}: {len(row)} columns, but predicates.txt has {len(names)}"
                )
            if not set(row) <= {"0", "1"}:
                value = next(value for value in row if value not in {"0", "1"})
                raise DataError(f"{path}, line {number}: '{value[:20]}' is neither 0 nor 1")
        return np.array(rows, dtype=np.int64)

    def _read_lists(
        self, numbers: Sequence[int], classes: Sequence[str]
    ) -> tuple[list[str], npt.NDArray[np.int64]]:
        """Images as ``<class>/<file>`` and class codes, from the two lists of the feature archive."""
        names_path, labels_path = self._folder / "AwA2-filenames.txt", self._folder / "AwA2-labels.txt"
        if not names_path.exists():
            raise DataError(f"{self._folder}: neither the folder JPEGImages nor AwA2-filenames.txt is there")
        names, labels = split_lines(names_path), split_lines(labels_path)
        if len(names) != len(labels):
            raise DataError(f"{labels_path}: {len(labels)} lines, but {names_path.name} has {len(names)}")
        code_of = {str(number): code for code, number in enumerate(numbers)}
        codes = np.array([code_of.get(label, -1) for label in labels], dtype=np.int64)
        if (codes < 0).any():
            row = int(np.argmax(codes < 0))
            raise DataError(
                f"{labels_path}, line {row + 1}: '{labels[row][:20]}' is no class number of classes.txt"
            )
        for row, (name, code) in enumerate(zip(names, codes.tolist(), strict=True)):
            if not name.startswith(classes[code] + "_"):
                raise DataError(
                    f"{names_path}, line {row + 1}: '{name[:60]}' is labelled {classes[code]}; "
                    f"{labels_path.name} does not belong to it"
                )
        series = pl.Series(names)
        check_unique(series, names_path)
        check_image_paths(series, names_path)
        return [f"{classes[code]}/{name}" for name, code in zip(names, codes.tolist(), strict=True)], codes

    def _list_images(self, classes: Sequence[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
        """The same from the image folders: by class, then by file name, which is the order of the lists."""
        images: list[str] = []
        codes: list[int] = []
        for code, name in enumerate(classes):
            folder = self.image_root() / name
            if not folder.is_dir():
                raise DataError(
                    f"{folder}: no such folder, but classes.txt has class '{name}'; unpack all images"
                )
            found = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES)
            images.extend(f"{name}/{file}" for file in found)
            codes.extend([code] * len(found))
        if not images:
            raise DataError(f"{self.image_root()}: no images in it; unpack the archive again")
        return images, np.array(codes, dtype=np.int64)
