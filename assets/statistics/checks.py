"""What must hold of counts and entropies, checked against the labels themselves."""

import math

import polars as pl

from assets.checks import Check, Finding, TableReader
from assets.labels.sources import label_columns, with_representations
from assets.statistics.assets import CONDITIONAL_ENTROPY, JOINT_COUNTS, LABEL_COUNTS
from assets.study import Study

_ROUNDING = 1e-12


def label_counts_sum(study: Study, read: TableReader) -> Finding:
    """The counts of a task add up to its known labels, in every split."""
    known = _known(read("labels"), study)
    counted = read("label_counts").group_by("split", "task").agg(pl.col("n").sum().alias("counted"))
    off = known.join(counted, on=["split", "task"], how="left").filter(
        pl.col("n") != pl.col("counted").fill_null(0)
    )
    return _finding(off, "task", {"tasks": len(study.tasks)}, "counts do not add up to the known labels")


def joint_counts_sum(study: Study, read: TableReader) -> Finding:
    """The cells of a pair add up to the rows where both labels are known, in every split."""
    labels = with_representations(study, read("labels"))
    counted = (
        read("joint_counts").group_by("split", "source", "target").agg(pl.col("n").sum().alias("counted"))
    )
    both = _both_known(labels, study)
    off = both.join(counted, on=["split", "source", "target"], how="left").filter(
        pl.col("n") != pl.col("counted").fill_null(0)
    )
    return _finding(
        off, "source", {"pairs": len(study.pairs())}, "cells do not add up to the rows with both labels"
    )


def entropy_bounds(study: Study, read: TableReader) -> Finding:
    """0 ≤ H(Y|Z) ≤ H(Y) ≤ log |Y|, on the same rows."""
    del study
    values = read("tasks").select(pl.col("task").alias("target"), pl.col("n_values").alias("k"))
    frame = read("conditional_entropy").join(values, on="target", how="left")
    off = frame.filter(
        (pl.col("conditional_entropy") < -_ROUNDING)
        | (pl.col("conditional_entropy") > pl.col("target_entropy") + _ROUNDING)
        | (pl.col("target_entropy") > pl.col("k").cast(pl.Float64).log(math.e) + _ROUNDING)
        | (pl.col("conditional_entropy").is_null() & pl.col("undefined_because").is_null())
    )
    return _finding(off, "source", {"pairs": len(frame)}, "0 ≤ H(Y|Z) ≤ H(Y) ≤ log |Y| does not hold")


def _finding(off: pl.DataFrame, named: str, values: dict[str, int], text: str) -> Finding:
    first = f"{text}: {off[named][0]}, split {off['split'][0]}" if len(off) else ""
    return Finding(off.is_empty(), first, {**values, "violations": len(off)})


def _known(labels: pl.DataFrame, study: Study) -> pl.DataFrame:
    """(split, task, n): known labels, counted by another way than the stage's."""
    counts = labels.group_by("split").agg(pl.col(task).count() for task in study.tasks)
    total = labels.select(pl.lit("all").alias("split"), *(pl.col(task).count() for task in study.tasks)).head(
        1
    )
    return pl.concat([counts, total]).unpivot(index="split", variable_name="task", value_name="n")


def _both_known(labels: pl.DataFrame, study: Study) -> pl.DataFrame:
    """(split, source, target, n): rows with both labels."""
    parts, columns = [], label_columns(study)
    for split in [*labels["split"].unique().to_list(), "all"]:
        rows = labels if split == "all" else labels.filter(pl.col("split") == split)
        known = rows.select(pl.col(*columns).is_not_null().cast(pl.Float64)).to_numpy()
        both = (known.T @ known).astype(int)
        place = {task: i for i, task in enumerate(columns)}
        pairs = study.pairs()
        parts.append(
            pl.DataFrame(
                {
                    "split": [split] * len(pairs),
                    "source": [s for s, _ in pairs],
                    "target": [t for _, t in pairs],
                    "n": [int(both[place[s], place[t]]) for s, t in pairs],
                }
            )
        )
    return pl.concat(parts)


CHECKS = (
    Check(
        LABEL_COUNTS, "counts_sum_to_n", "The counts of a task add up to its known labels", label_counts_sum
    ),
    Check(
        JOINT_COUNTS,
        "cells_sum_to_n",
        "The cells of a pair add up to the rows with both labels",
        joint_counts_sum,
    ),
    Check(CONDITIONAL_ENTROPY, "bounds", "0 ≤ H(Y|Z) ≤ H(Y) ≤ log |Y| on the same rows", entropy_bounds),
)
