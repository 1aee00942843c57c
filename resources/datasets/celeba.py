"""CelebA (Liu et al., ICCV 2015): 202,599 face images with 40 binary attributes and the identity.

Read from the files as published, in torchvision's layout or the archive's folders, or from the CSV variants.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from resources.datasets.base import Dataset, LabelTable, TaskInfo, build_label_table, select_tasks
from resources.datasets.folders import data_folder, first_existing, shipped_names
from resources.datasets.textfiles import (
    check_codes,
    check_image_paths,
    check_same_keys,
    check_unique,
    read_bytes,
    read_fields,
)
from resources.errors import DataError

ATTRIBUTES = shipped_names("celeba_attributes.txt")


class CelebA(Dataset):
    """The data set in a folder, opened but not read.

    Args:
        folder: Holds ``list_attr_celeba.txt`` and the others, or the archive's top folder ``celeba`` with
            them.
        identity: Whether to read ``identity_CelebA.txt``, the task ``identity``.
        tasks: Take only these tasks; None takes all.
    """

    name = "celeba"

    def __init__(self, *, folder: Path, identity: bool = True, tasks: Sequence[str] | None = None) -> None:
        self._folder = data_folder(folder, "celeba", ("list_attr_celeba.txt", "list_attr_celeba.csv", "Anno"))
        self._tasks = select_tasks((*ATTRIBUTES, *(["identity"] if identity else [])), tasks, "celeba")

    def task_names(self) -> tuple[str, ...]:
        """The 40 attributes in the official order, then ``identity``."""
        return self._tasks

    def source_only_tasks(self) -> tuple[str, ...]:
        """``identity``: 10,177 values, of which test shares few with train."""
        return tuple(name for name in self._tasks if name == "identity")

    def label_files(self) -> tuple[Path, ...]:
        """Attributes, partition, and identity where it is read."""
        names = ["list_attr_celeba", "list_eval_partition"]
        return tuple(map(self._file, names + (["identity_CelebA"] if self.source_only_tasks() else [])))

    def image_root(self) -> Path:
        """``img_align_celeba``, also below ``Img`` or doubled as some archives unpack it."""
        name = "img_align_celeba"
        plain = self._folder / name
        doubled = plain / name
        return doubled if doubled.is_dir() else first_existing([plain, self._folder / "Img" / name])

    def published_counts(self) -> dict[str, int]:
        """202,599 images of 10,177 identities."""
        return {"images": 202_599, "identity": 10_177}

    def read(self) -> LabelTable:
        """The labels, in the order of ``list_attr_celeba``; partitions 0 and 1 are train, 2 is test."""
        path = self._file("list_attr_celeba")
        attributes = self._read_attributes(path)
        images = attributes["image"]
        partition = self._read_pairs("list_eval_partition", images, path)
        check_codes(partition, (0, 1, 2), "the partition", self._file("list_eval_partition"))
        columns: dict[str, pl.Series] = {name: attributes[name] for name in self._tasks if name in ATTRIBUTES}
        tasks = [TaskInfo.of(name, _describe(name), ("-1", "1")) for name in columns]
        if "identity" in self._tasks:
            identities = self._read_pairs("identity_CelebA", images, path)
            values, codes = np.unique(identities.to_numpy(), return_inverse=True)
            columns["identity"] = pl.Series(codes)
            tasks.append(
                TaskInfo.of("identity", "Whose face it is", map(str, values.tolist()), source_only=True)
            )
        split = partition.to_frame("p").select(
            pl.when(pl.col("p") == 2).then(pl.lit("test")).otherwise(pl.lit("train"))
        )
        return build_label_table(
            str(self._folder),
            images=images,
            split=split.to_series(),
            columns=columns,
            tasks=tasks,
            partition=partition,
        )

    def _file(self, stem: str) -> Path:
        folders = (self._folder, self._folder / "Anno", self._folder / "Eval")
        return first_existing([folder / f"{stem}{end}" for end in (".txt", ".csv") for folder in folders])

    def _read_attributes(self, path: Path) -> pl.DataFrame:
        """``image`` and the 40 attributes as 0/1."""
        data = read_bytes(path)
        fields: dict[str, type[pl.DataType]] = {"image": pl.String, **dict.fromkeys(ATTRIBUTES, pl.Int32)}
        if path.suffix == ".csv":
            _check_heading(path, data.split(b"\n", 1)[0].decode().replace(",", " ").split()[1:], 1)
            frame = read_fields(path, fields, data=data, skip_lines=1, separator=",")
            first_line = 2
        else:
            count, heading = _heading(path, data)
            _check_heading(path, heading.split(), 2)
            frame = read_fields(path, fields, data=data, skip_lines=2)
            if count != len(frame):
                raise DataError(f"{path}, line 1: announces {count} images, but {len(frame)} lines follow")
            first_line = 3
        check_image_paths(frame["image"], path, first_line)
        check_unique(frame["image"], path, first_line)
        bad = frame.select(pl.any_horizontal(~pl.col(name).is_in([-1, 1]) for name in ATTRIBUTES)).to_series()
        if bad.any():
            row = int(bad.arg_max() or 0)
            name = next(name for name in ATTRIBUTES if frame[name][row] not in {-1, 1})
            raise DataError(
                f"{path}, line {row + first_line}: {name} is {frame[name][row]}; it must be -1 or 1"
            )
        return frame.with_columns((pl.col(name) == 1).cast(pl.Int32) for name in ATTRIBUTES)

    def _read_pairs(self, stem: str, images: pl.Series, reference: Path) -> pl.Series:
        """The second column of a file of (image, number), for the same images in the same order."""
        path = self._file(stem)
        csv = path.suffix == ".csv"
        fields: dict[str, type[pl.DataType]] = {"image": pl.String, "number": pl.Int32}
        frame = read_fields(path, fields, skip_lines=int(csv), separator="," if csv else " ")
        check_unique(frame["image"], path, 1 + csv)
        check_same_keys(frame["image"], images, path, reference)
        return frame["number"]


def _heading(path: Path, data: bytes) -> tuple[int, str]:
    """The announced count and the line of names."""
    lines = data.split(b"\n", 2)
    count = lines[0].strip().decode()
    if len(lines) < 3 or not count.isdecimal() or len(count) > 9:
        raise DataError(
            f"{path}, line 1: '{count[:40]}' is not the number of images; download the file again"
        )
    return int(count), lines[1].decode()


def _check_heading(path: Path, names: Sequence[str], line: int) -> None:
    if len(names) != len(ATTRIBUTES):
        raise DataError(f"{path}, line {line}: {len(names)} attribute names; CelebA has {len(ATTRIBUTES)}")
    for name, official in zip(names, ATTRIBUTES, strict=True):
        if name != official:
            raise DataError(f"{path}, line {line}: attribute '{name}' where CelebA has '{official}'")


def _describe(name: str) -> str:
    return f"CelebA's attribute {name.replace('_', ' ')}"
