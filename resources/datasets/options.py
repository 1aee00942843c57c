"""The options that a study may give to each reader, as validated models; unknown keys are refused.

Nothing is read here, and nothing heavy is imported: the code location validates these whenever it loads.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


def no_repeats(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The names as they are.

    Raises:
        ValueError: If one stands there twice.
    """
    if names is not None and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"'{twice}' is listed twice")
    return names


class ReaderOptions(BaseModel):
    """Base: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    tasks: tuple[str, ...] | None = Field(None, description="Take only these tasks; all of them if left out")

    @field_validator("tasks", "source_only", "categorical", "values", check_fields=False)
    @classmethod
    def _no_repeats(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return no_repeats(names)


class DigitsOptions(ReaderOptions):
    """Options of the reader ``digits``."""

    seed: Seed = Field(0, description="Seed of the split")
    test_fraction: Fraction = Field(0.3, description="Share of each digit that is test")
    per_class: Annotated[int, Field(ge=2)] | None = Field(
        None, description="Take only the first so many images of each digit"
    )


class CelebaOptions(ReaderOptions):
    """Options of the reader ``celeba``."""

    folder: str = Field("celeba", description="Folder of the data set, relative to the data folder")
    identity: bool = Field(True, description="Whether to read identity_CelebA.txt, the task 'identity'")


class Awa2Options(ReaderOptions):
    """Options of the reader ``awa2``."""

    folder: str = Field("awa2", description="Folder of the data set, relative to the data folder")
    seed: Seed = Field(0, description="Seed of the split")
    test_fraction: Fraction = Field(0.1, description="Share of each class that is test")


class CubOptions(ReaderOptions):
    """Options of the reader ``cub``."""

    folder: str = Field("cub", description="Folder of the data set, relative to the data folder")
    certainty_weights: tuple[Fraction | Literal[1], ...] = Field(
        (0.0, 1 / 3, 2 / 3, 1.0),
        min_length=4,
        max_length=4,
        description="Confidence of 'not visible', 'guessing', 'probably', 'definitely'",
    )
    min_confidence: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Labels whose mean confidence is lower are missing"
    )


class OneVsRest(BaseModel):
    """How a multi-class column becomes binary tasks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_count: Annotated[int, Field(ge=1)] = Field(1, description="Values that are rarer become no task")
    values: tuple[str, ...] | None = Field(None, description="Only these values; all of them if left out")


class TableOptions(ReaderOptions):
    """Options of the reader ``table``."""

    table: str = Field(description="A .csv, .tsv, .parquet or .duckdb file, relative to the data folder")
    query: str | None = Field(None, description="SQL to run; needed for a .duckdb file")
    image_column: str | None = Field(
        None, description="Column of image paths; without it there are only labels"
    )
    image_folder: str | None = Field(
        None, description="Folder that image paths are relative to; the table's own folder if left out"
    )
    split_column: str | None = Field(
        None, description="Column that says train or test; else the split is seeded"
    )
    split_values: dict[str, Literal["train", "test"]] = Field(
        default_factory=dict,
        description="What the values of split_column mean, where they are not train and test",
    )
    test_fraction: Fraction = Field(0.3, description="Share of test in a seeded split")
    seed: Seed = Field(0, description="Seed of a seeded split")
    stratify_by: str | None = Field(
        None,
        description="Column whose values keep their shares in a seeded split, within a row; append new rows last",
    )
    group_by: str | None = Field(None, description="Column whose values stay together in a seeded split")
    source_only: tuple[str, ...] = Field((), description="Tasks that are no targets")
    bins: dict[str, Annotated[int, Field(ge=2, le=100)]] = Field(
        default_factory=dict, description="Numeric columns to cut into so many quantiles"
    )
    categorical: tuple[str, ...] = Field(
        (), description="Numeric columns whose values are classes, although they look continuous"
    )
    one_vs_rest: dict[str, OneVsRest] = Field(
        default_factory=dict,
        description="Columns to expand into tasks '<column>=<value>'; kept only if 'tasks' names them",
    )

    @field_validator("stratify_by", "group_by")
    @classmethod
    def _one_way_to_split(cls, column: str | None, info: ValidationInfo) -> str | None:
        if column is not None and info.data.get("split_column") is not None:
            raise ValueError("split_column leaves nothing for stratify_by or group_by to do")
        if column is not None and info.field_name == "group_by" and info.data.get("stratify_by") is not None:
            raise ValueError("stratify_by and group_by exclude each other")
        return column

    @field_validator("bins")
    @classmethod
    def _bins_of_tasks(cls, bins: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        tasks = info.data.get("tasks")
        if tasks is not None and (stray := [name for name in bins if name not in tasks]):
            raise ValueError(f"names '{stray[0]}', which is not among the tasks; add it to them")
        return bins
