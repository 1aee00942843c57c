"""What must hold of counts and entropies, checked against the labels themselves, value by value."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import scipy.sparse as sp

from assets.checks import Check, Finding, TableReader
from assets.labels.sources import label_columns, with_representations
from assets.statistics.assets import CONDITIONAL_ENTROPY, JOINT_COUNTS, LABEL_COUNTS
from assets.study import Study

_ROUNDING = 1e-12


def label_counts_of_values(study: Study, read: TableReader) -> Finding:
    """Every value is counted as often as it occurs in the labels, in every split, and has a name."""
    labels, key = read("labels"), ["split", "task", "value"]
    found = _values(labels, study.tasks)
    off = _differing(read("label_counts"), found, key)
    nameless = found.join(read("label_values"), on=["task", "value"], how="anti")
    off = pl.concat([off.select(key), nameless.select(key)])
    return _finding(
        off, "task", {"tasks": len(study.tasks)}, "counts are not those of the values in the labels"
    )


def joint_counts_of_values(study: Study, read: TableReader) -> Finding:
    """The cells of a pair add up, value by value of both, to the rows where both labels are known, in every split."""
    columns = label_columns(study)
    labels = with_representations(study, read("labels"))
    names = pl.Enum(columns)  # small numbers inside: several times faster to group and join by than text
    pairs = pl.DataFrame(study.pairs(), schema={"source": names, "target": names}, orient="row")
    # (split, task, value, other, n): rows with this value of the task on which the other is known.
    margins = pl.concat(_margins(labels, columns))
    splits = margins["split"].dtype
    cells = read("joint_counts").cast({"split": splits, "source": names, "target": names}, strict=False)
    off = []
    for task, other in (("source", "target"), ("target", "source")):
        key = ["split", "source", "target", f"{task}_value"]
        wanted = margins.rename({"task": task, "other": other, "value": f"{task}_value"})
        wanted = wanted.join(pairs, on=["source", "target"], how="semi")
        off.append(_differing(cells.group_by(key).agg(pl.col("n").sum()), wanted, key).select(key[:3]))
    return _finding(
        pl.concat(off),
        "source",
        {"pairs": len(pairs)},
        "cells do not add up to the rows with both labels",
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


def _differing(counted: pl.DataFrame, found: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """The keys whose n is not the same in both; an absent one is 0."""
    both = counted.select(*key, "n").join(found.select(*key, "n"), on=key, how="full", coalesce=True)
    return both.filter(pl.col("n").fill_null(0) != pl.col("n_right").fill_null(0)).sort(key)


def _values(labels: pl.DataFrame, tasks: Sequence[str]) -> pl.DataFrame:
    """(split, task, value, n): how often each value occurs, counted by another way than the stage's."""
    long = labels.select("split", *tasks).unpivot(index="split", variable_name="task").drop_nulls()
    counts = long.group_by("split", "task", "value").agg(pl.len().cast(pl.Int64).alias("n"))
    total = counts.group_by("task", "value").agg(pl.col("n").sum()).with_columns(split=pl.lit("all"))
    return pl.concat([counts, total.select(counts.columns)])


def _margins(labels: pl.DataFrame, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """(split, task, value, other, n), n > 0, a frame a split: rows with the value on which `other` is known."""
    sizes = [int(labels[task].max() or 0) + 1 for task in columns]  # type: ignore[arg-type]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    value = np.concatenate([np.arange(size) for size in sizes])
    task, names = np.repeat(np.arange(len(columns)), sizes), pl.Series(columns, dtype=pl.Enum(columns))
    splits = [*labels["split"].unique().sort().to_list(), "all"]
    for split in splits:
        rows = labels if split == "all" else labels.filter(pl.col("split") == split)
        codes = rows.select(pl.col(*columns).fill_null(-1)).to_numpy()
        known = codes >= 0
        row, column = np.nonzero(known)
        place = starts[column] + codes[row, column]
        one_hot = sp.csr_array(
            (np.ones(len(row), np.int32), (place, row)), shape=(int(starts[-1]), len(rows))
        )
        n = one_hot @ known.astype(np.int32)
        i, other = np.nonzero(n)
        yield pl.DataFrame(
            {
                "split": pl.Series([split], dtype=pl.Enum(splits)).new_from_index(0, len(i)),
                "task": names.gather(task[i]),
                "value": value[i].astype(np.int32),
                "other": names.gather(other),
                "n": n[i, other].astype(np.int64),
            }
        )


CHECKS = (
    Check(
        LABEL_COUNTS,
        "counts_sum_to_n",
        "Every value is counted as often as it occurs in the labels, and has a name",
        label_counts_of_values,
    ),
    Check(
        JOINT_COUNTS,
        "cells_sum_to_n",
        "The cells of a pair add up, value by value, to the rows with both labels",
        joint_counts_of_values,
    ),
    Check(CONDITIONAL_ENTROPY, "bounds", "0 ≤ H(Y|Z) ≤ H(Y) ≤ log |Y| on the same rows", entropy_bounds),
)
