"""Stages `labels`, `label_table` and `pixels`: the roots of a study's chain."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from assets.labels import tables
from assets.labels.images import hash_images, missing_images
from assets.labels.reading import Reading, files_state, read_labels
from assets.materialize import Work
from assets.stage import Stage
from assets.study import Study
from resources.errors import DataError, StoreError
from resources.home import Home

if TYPE_CHECKING:
    from assets.labels.pixels import PixelCache

NO_IMAGES = "no images"
"""The data version of the pixels of a study that has only labels and features."""


def make_labels(work: Work) -> None:
    """One task's column with the split, as read from the data set."""
    reading = read_labels(work.study)
    column = reading.table.frame.select("split", pl.col(work.task).alias("value"))
    with work.file(".parquet") as path:
        column.write_parquet(path, statistics=False)
    work.version = reading.versions[work.task]
    work.record(state=reading.state)
    known = column["value"].drop_nulls()
    work.tell(images=len(column), labelled=len(known), values=known.n_unique())


def make_label_table(work: Work) -> None:
    """The whole label table, and what its tasks and codes mean."""
    reading = read_labels(work.study)
    _same_versions(work, reading)
    work.write(tables.LABELS, reading.table.frame)
    work.write(tables.TASKS, tables.tasks_frame(reading.table, work.study))
    work.write(tables.LABEL_VALUES, tables.label_values_frame(reading.table))


def make_pixels(work: Work) -> None:
    """Every image of the study as (size, size, 3) uint8, decoded once for all source models."""
    from assets.labels.pixels import build_pixel_cache

    study = work.study
    images = study.dataset.pixels()
    if images is None and study.dataset.image_root() is None and not needs_images(study):
        work.version = NO_IMAGES
        work.tell(images=0, note="no images; every source is an array of features")
        return
    destination = work.path("pixels", ".npy")
    cache = build_pixel_cache(
        image_paths(study) if images is None else images,
        study.settings.recipe.image_size,
        destination,
        tolerate_unreadable=study.settings.tolerate_unreadable_images,
        root=study.dataset.image_root(),
    )
    work.adopt(destination)
    work.adopt(destination.with_suffix(".json"))
    work.version = cache.content_hash
    work.tell(images=len(cache.pixels), unreadable=len(cache.unreadable), size=cache.size)


def needs_images(study: Study) -> bool:
    """Whether a network looks at the images: one that is trained, or one that is brought along."""
    files = [study.representation_file(source) for source in study.sources]
    return any(file is None or file.suffix == ".onnx" for file in files)


def pixels_of(study: Study, home: Home) -> "PixelCache | None":
    """The pixel cache of a study, memory-mapped; None where there is none, yet or because it needs no images."""
    from assets.labels.pixels import load_pixel_cache

    manifest = home.store.manifest(study.name, "pixels", None)
    if manifest is None or manifest.data_version == NO_IMAGES:
        return None
    return load_pixel_cache(home.store.path(study.name, "pixels", None, ".npy"))


def image_paths(study: Study) -> list[Path]:
    """The study's image files in the order of `image_id`.

    Raises:
        DataError: if the data set names none, or files are missing; says which folder was searched.
    """
    root = study.dataset.image_root()
    names = read_labels(study).table.frame["image"]
    if root is None or names.null_count() == len(names):
        raise DataError(f"{study.name}: has labels but no images; `--only statistics` needs none")
    paths = [root / name for name in names]
    if missing := missing_images(paths):
        raise DataError(
            f"{study.name}: {len(missing)} of {len(paths)} images are not in {root} "
            f"(first: {missing[0].name}); put them there or run with `--only statistics`, which needs none"
        )
    return paths


def label_versions_outside(study: Study, home: Home) -> Mapping[str | None, Any]:
    """Each task's version; the data set is read only if a label file was touched since it was read last."""
    state = files_state(study)
    manifests = {task: home.store.manifest(study.name, "labels", task) for task in study.tasks}
    if all(manifest and manifest.recorded.get("state") == state for manifest in manifests.values()):
        return {task: manifest.data_version for task, manifest in manifests.items() if manifest}
    return {task: version[:32] for task, version in read_labels(study).versions.items()}


def image_set_outside(study: Study, home: Home) -> Mapping[str | None, Any]:
    """The identity of the image set: names, sizes and times of the files, or what the library ships."""
    del home  # the images lie with the data set
    if study.dataset.image_root() is None:
        return {None: files_state(study)}
    root = study.dataset.image_root()
    names = read_labels(study).table.frame["image"].drop_nulls()
    return {None: hash_images([root / name for name in names], root) if root else ""}


def _same_versions(work: Work, reading: Reading) -> None:
    for task in work.study.tasks:
        manifest = work.home.store.manifest(work.study.name, "labels", task)
        if manifest is None or manifest.data_version != reading.versions[task][:32]:
            raise StoreError(f"labels of '{task}' changed while they were being read; run again")


LABELS = Stage(
    name="labels",
    description="One task's column of labels, with the split: the sequences Y and Z of Sec. 3.1. Its data version "
    "is a hash of the column together with image keys and split, so only tasks that changed move on.",
    make=make_labels,
    partitions="tasks",
    outside=label_versions_outside,
    kinds=frozenset({"polars", "parquet"}),
)

LABEL_TABLE = Stage(
    name="label_table",
    description="All labels of the study as one table, one row an image (X with all its label sequences, Sec. 3.1).",
    make=make_label_table,
    after=(LABELS,),
    tables=(tables.LABELS, tables.TASKS, tables.LABEL_VALUES),
    kinds=frozenset({"duckdb", "polars"}),
    pool="duckdb_writer",
)

PIXELS = Stage(
    name="pixels",
    description="Every image decoded once to a fixed size (uint8, memory-mapped): the input x of Eq. 1-2.",
    make=make_pixels,
    outside=image_set_outside,
    settings=lambda study, _: {
        "image_size": study.settings.recipe.image_size,
        "tolerate_unreadable": study.settings.tolerate_unreadable_images,
        "needed": needs_images(study),
    },
    kinds=frozenset({"numpy"}),
    command="models",
)
