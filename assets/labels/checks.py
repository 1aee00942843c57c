"""What must hold of the labels of every study, and what is only worth a warning."""

import polars as pl

from assets.checks import Check, Finding, TableReader
from assets.labels.assets import LABEL_TABLE
from assets.labels.tables import constant_in_train
from assets.study import Study


def image_keys(study: Study, read: TableReader) -> Finding:
    """`image_id` counts the rows, and no image comes twice: so none is in both splits either."""
    del study
    labels = read("labels")
    images = labels["image"].drop_nulls()
    counted = labels["image_id"].to_list() == list(range(len(labels)))
    twice = images.filter(images.is_duplicated())
    text = (
        "image_id does not count the rows"
        if not counted
        else f"image '{twice[0]}' comes twice"
        if len(twice)
        else ""
    )
    return Finding(not text, text, {"images": len(labels), "duplicates": len(twice)})


def splits(study: Study, read: TableReader) -> Finding:
    """Every row is train or test, and train is not empty."""
    del study
    counts = dict(read("labels")["split"].value_counts().iter_rows())
    odd = sorted(set(counts) - {"train", "test"})
    text = (
        f"split '{odd[0]}' is neither train nor test"
        if odd
        else ""
        if counts.get("train")
        else "train is empty"
    )
    return Finding(not text, text, {"train": counts.get("train", 0), "test": counts.get("test", 0)})


def grouped_split(study: Study, read: TableReader) -> Finding:
    """Where a split is grouped by a column, no value of it is in both splits."""
    column = study.settings.dataset.options.get("group_by")
    if column is None:
        return Finding(passed=True, text="the split is not grouped")
    labels = read("labels")
    if "split_group" not in labels:
        return Finding(passed=False, text=f"the groups of {column} are not in the label table")
    groups = labels.drop_nulls("split_group").group_by("split_group").agg(pl.col("split").n_unique())
    both = groups.filter(pl.col("split") > 1)["split_group"].sort()
    text = f"{len(both)} values of {column} are in both splits, such as '{both[0]}'" if len(both) else ""
    return Finding(not text, text, {"groups": len(groups), "values_in_both": len(both)})


def published_counts(study: Study, read: TableReader) -> Finding:
    """The data set has as many images and values as its authors publish; a subset is only a warning."""
    labels = read("labels")
    differences = []
    values: dict[str, int] = {}
    for what, published in study.dataset.published_counts().items():
        found = (
            len(labels)
            if what == "images"
            else labels[what].drop_nulls().n_unique()
            if what in labels
            else None
        )
        if found is None:
            continue
        values |= {f"{what}_published": published, f"{what}_found": found}
        if found != published:
            differences.append(f"{found:,} instead of {published:,} {what}")
    return Finding(not differences, "; ".join(differences), values, warning=True)


def constant_tasks(study: Study, read: TableReader) -> Finding:
    """Tasks that have one value in train: hardness 0, never a source, marked as targets."""
    constant = constant_in_train(read("labels"), study.tasks)
    shown = ", ".join(constant[:5]) + (", …" if len(constant) > 5 else "")
    text = f"constant in train: {shown}" if constant else ""
    return Finding(not constant, text, {"constant_tasks": len(constant)}, warning=True)


CHECKS = (
    Check(LABEL_TABLE, "image_keys", "image_id counts the rows and no image comes twice", image_keys),
    Check(LABEL_TABLE, "splits", "Every row is train or test; train is not empty", splits),
    Check(LABEL_TABLE, "grouped_split", "No group is in both splits", grouped_split),
    Check(
        LABEL_TABLE, "published_counts", "As many images and values as the authors publish", published_counts
    ),
    Check(LABEL_TABLE, "constant_tasks", "No task is constant in train", constant_tasks),
)
