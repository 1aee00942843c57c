"""Table 1: estimate, dedicated and transferred accuracy of every target of one source."""

import polars as pl

from assets.reports.correlations import column
from assets.reports.pairs import joined_pairs
from assets.reports.published import CELEBA_ATTRIBUTES, CELEBA_METHODS, PAPER_ROWS

TABLE_ONE: dict[str, type[pl.DataType]] = {
    "source": pl.String, "target": pl.String, "rank": pl.Int64, "conditional_entropy": pl.Float64,
    "dedicated_accuracy": pl.Float64, "transferred_accuracy": pl.Float64, "difference": pl.Float64,
}  # fmt: skip

AVERAGE = "average"


def wide_sources(tasks: pl.DataFrame) -> list[str]:
    """The sources with more values than any target, such as an identity: Fig. 3 and 4, Table 1."""
    widest = tasks.filter(pl.col("is_target"))["n_values"].max()
    least = int(str(widest)) if widest is not None else 0
    return tasks.filter(pl.col("is_source") & (pl.col("n_values") > least))["task"].to_list()


def table_one(
    conditional_entropy: pl.DataFrame,
    transfer: pl.DataFrame,
    source_models: pl.DataFrame,
    tasks: pl.DataFrame,
    *,
    source: str,
    split: str = "all",
) -> pl.DataFrame:
    """Table 1's rows 9 to 11 for one source, a target a row, from the most to the least transferable.

    Args:
        conditional_entropy: the table of that name.
        transfer: the table of that name.
        source_models: the table of that name, for the dedicated accuracy.
        tasks: the table of that name.
        source: the source.
        split: the rows of CE; the paper's table takes all images.

    Returns:
        Columns as in `TABLE_ONE`; the last row, with target NULL, holds the averages of the accuracies over
        the targets that have both.
    """
    dedicated = source_models.select(
        pl.col("task").alias("target"), (1 - pl.col("test_error")).alias("dedicated_accuracy")
    )
    rows = (
        joined_pairs(conditional_entropy, transfer, tasks)
        .filter((pl.col("source") == source) & (pl.col("split") == split) & ~pl.col("constant_target"))
        .filter(pl.col("conditional_entropy").is_not_null())
        .join(dedicated, on="target", how="left", maintain_order="left")
        .sort("conditional_entropy", "target")
        .with_columns(
            (1 - pl.col("test_error")).alias("transferred_accuracy"),
            pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("rank"),
        )
        .with_columns((pl.col("transferred_accuracy") - pl.col("dedicated_accuracy")).alias("difference"))
        .select(pl.col(name).cast(dtype) for name, dtype in TABLE_ONE.items())
    )
    both = rows.drop_nulls("difference")
    accuracies = ("dedicated_accuracy", "transferred_accuracy", "difference")
    averages = {name: float(column(both, name).mean()) if len(both) else None for name in accuracies}
    last = {"source": source, "target": None, "rank": None, "conditional_entropy": None, **averages}
    return pl.concat([rows, pl.DataFrame([last], schema=TABLE_ONE)])


def published_table(rows: pl.DataFrame) -> pl.DataFrame:
    """The paper's Table 1, rows 1 to 11, with one's own rows below, over its ten attributes and the average.

    Args:
        rows: what `table_one` returned for CelebA's identity.

    Returns:
        `row`, one column an attribute in the paper's order, and `average` (over all 40).
    """
    by_target = {row["target"]: row for row in rows.iter_rows(named=True)}
    names = [*CELEBA_ATTRIBUTES, AVERAGE]
    labels = {
        "conditional_entropy": "CE, nats",
        "dedicated_accuracy": "dedicated",
        "transferred_accuracy": "transferred",
    }
    lines: list[tuple[str, tuple[float | None, ...]]] = list(CELEBA_METHODS.items())
    lines += [(f"{labels[key]} (paper)", values) for key, values in PAPER_ROWS.items()]
    for key, label in labels.items():
        own = [by_target.get(name, {}).get(key) for name in (*CELEBA_ATTRIBUTES, None)]
        lines.append((f"{label} (this study)", tuple(own)))
    return pl.DataFrame(
        [{"row": label, **dict(zip(names, values, strict=True))} for label, values in lines],
        schema={"row": pl.String, **dict.fromkeys(names, pl.Float64)},
    )
