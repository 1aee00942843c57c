"""The (source, target) pairs that every report statistic starts from: estimate and measurement side by side.

Which pairs count, and why one does not, is decided here and nowhere else; no statistic is computed here.
"""

from collections.abc import Sequence

import polars as pl

PAIR = ["source", "target"]

_ESTIMATES: dict[str, pl.Expr] = {
    "mutual_information": pl.col("target_entropy") - pl.col("conditional_entropy"),
    "normalised": pl.when(pl.col("target_entropy") > 0).then(
        pl.col("conditional_entropy") / pl.col("target_entropy")
    ),
    "joint_entropy": pl.lit(None, pl.Float64),
    "corrected": pl.lit(None, pl.Float64),
    "corrected_normalised": pl.lit(None, pl.Float64),
    "n_source_values": pl.lit(None, pl.Int64),
    "near_unique_source": pl.lit(value=False),
    "equivalent": pl.lit(value=False),
    "undefined_because": pl.lit(None, pl.String),
}

_MEASUREMENTS: dict[str, pl.Expr] = {
    "constant_target": pl.lit(value=False),
    "test_majority_error": pl.lit(None, pl.Float64),
    "undefined_because": pl.lit(None, pl.String),
}


def _complete(frame: pl.DataFrame, defaults: dict[str, pl.Expr]) -> pl.DataFrame:
    """`frame` with each absent optional column filled from its default."""
    missing = [expression.alias(name) for name, expression in defaults.items() if name not in frame.columns]
    return frame.with_columns(missing)


def joined_pairs(
    conditional_entropy: pl.DataFrame, transfer: pl.DataFrame, tasks: pl.DataFrame
) -> pl.DataFrame:
    """Every pair that has an estimate, with its measured transfer error where there is one.

    Args:
        conditional_entropy: the table of that name; its further estimates are used where present.
        transfer: the table of that name; may be empty.
        tasks: the table of that name (`task`, `n_values`).

    Returns:
        One row per (split, source, target): the estimates in nats, `target_values`, `test_error`,
        `test_majority_error`, `error_reduction` (majority error minus test error), `constant_target`,
        `not_measured_because`, and `usable`: both numbers are defined and the target is not constant.
    """
    estimates = _complete(conditional_entropy, _ESTIMATES).rename(
        {"undefined_because": "not_estimated_because"}
    )
    measured = _complete(transfer, _MEASUREMENTS).select(
        *PAIR, "test_error", "test_majority_error", "constant_target",
        pl.col("undefined_because").alias("not_measured_because"),
    )  # fmt: skip
    values = tasks.select(
        pl.col("task").alias("target"), pl.col("n_values").cast(pl.Int64).alias("target_values")
    )
    return (
        estimates.join(measured, on=PAIR, how="left", maintain_order="left")
        .join(values, on="target", how="left", maintain_order="left")
        .with_columns(
            pl.col("constant_target").fill_null(value=False)
            | (pl.col("target_entropy") <= 0).fill_null(value=False),
            pl.col("equivalent").fill_null(value=False),
            pl.col("near_unique_source").fill_null(value=False),
            (pl.col("test_majority_error") - pl.col("test_error")).alias("error_reduction"),
        )
        .with_columns(
            (
                pl.col("conditional_entropy").is_not_null()
                & pl.col("test_error").is_not_null()
                & ~pl.col("constant_target")
            ).alias("usable")
        )
    )


def equivalence_classes(pairs: pl.DataFrame, names: Sequence[str]) -> dict[str, int]:
    """Number the classes of tasks that are one another's duplicate or complement.

    Args:
        pairs: frame with `source`, `target` and `equivalent`.
        names: every task; a task without a duplicate is a class of its own.

    Returns:
        task → class, numbered 0, 1, … in the order of `names`.
    """
    leader = {name: name for name in names}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for source, target in pairs.filter("equivalent").select(PAIR).unique(maintain_order=True).iter_rows():
        if source in leader and target in leader:
            leader[find(target)] = find(source)
    numbers: dict[str, int] = {}
    return {name: numbers.setdefault(find(name), len(numbers)) for name in names}
