"""The tables that say what the data set says: the label table, the tasks, and what their codes mean."""

from collections.abc import Sequence

import polars as pl

from assets.study import Study
from resources.datasets import LabelTable
from resources.warehouse import Table

LABELS = Table(
    """
CREATE TABLE labels (  -- One row an image; after these columns follows one integer column a task (NULL = unknown)
    -- (before the tasks: partition, where the data set has one; split_group, where the split keeps groups together)
    image_id BIGINT NOT NULL,   -- 0…n−1, the row of the image in pixels and embeddings
    image    VARCHAR,           -- Path relative to the image folder; NULL where there are no image files
    split    VARCHAR NOT NULL,  -- train or test
)
""",
    open_columns=True,
)

TASKS = Table(
    """
CREATE TABLE tasks (  -- One row a task
    task        VARCHAR NOT NULL,  -- The task's name
    n_values    INTEGER NOT NULL,  -- How many values it has in the data set
    is_source   BOOLEAN NOT NULL,  -- Whether it is transferred from; never where it is constant in train
    is_target   BOOLEAN NOT NULL,  -- Whether it is transferred to
    description VARCHAR NOT NULL,  -- What a label of it says
    position    INTEGER NOT NULL,  -- 0…T−1, the order of the data set
    constant_in_train BOOLEAN NOT NULL,  -- Whether it has fewer than two values in train: nothing can be learned
)
""",
    order_by=("position",),
)

LABEL_VALUES = Table(
    """
CREATE TABLE label_values (  -- What the codes of each task mean
    task  VARCHAR NOT NULL,  -- The task
    value INTEGER NOT NULL,  -- The code, 0…K−1
    name  VARCHAR NOT NULL,  -- The original value (CelebA's −1 and 1 stand here)
)
""",
)


def tasks_frame(table: LabelTable, study: Study) -> pl.DataFrame:
    """The rows of `tasks`."""
    constant = constant_in_train(table.frame, table.task_names)
    return pl.DataFrame(
        {
            "task": [task.name for task in table.tasks],
            "n_values": [len(task.value_names) for task in table.tasks],
            "is_source": [task.name in study.sources and task.name not in constant for task in table.tasks],
            "is_target": [task.name in study.targets for task in table.tasks],
            "description": [task.description for task in table.tasks],
            "position": range(len(table.tasks)),
            "constant_in_train": [task.name in constant for task in table.tasks],
        }
    )


def constant_in_train(labels: pl.DataFrame, tasks: Sequence[str]) -> list[str]:
    """The tasks with fewer than two known values in split train: hardness 0, and nothing to transfer from."""
    train = labels.filter(pl.col("split") == "train")
    values = train.select(pl.col(task).drop_nulls().n_unique() for task in tasks).row(0, named=True)
    return [task for task in tasks if values[task] < 2]


def label_values_frame(table: LabelTable) -> pl.DataFrame:
    """The rows of `label_values`."""
    rows = [(task.name, value, name) for task in table.tasks for value, name in enumerate(task.value_names)]
    return pl.DataFrame(rows, schema={"task": pl.String, "value": pl.Int32, "name": pl.String}, orient="row")
