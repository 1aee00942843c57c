"""What all sources together say of the estimate: median and spread, pooled pairs, and the baseline H(Y)."""

from collections.abc import Callable

import numpy as np
import polars as pl

from assets.reports.association import Array
from assets.reports.correlations import BOOTSTRAP_SEED, RESAMPLES, pair_matrices
from assets.reports.pairs import equivalence_classes, joined_pairs
from assets.reports.resampling import (
    Draws,
    PairMatrices,
    draw_tasks,
    interval,
    pooled_correlation,
    single_draw,
    source_correlations,
    weighted_median,
    within_target_correlation,
)

SIGNIFICANCE = 0.05

_RESAMPLED = (
    "median_r",
    "median_entropy_r",
    "median_difference",
    "pooled_r",
    "pooled_entropy_r",
    "within_target_r",
)

OVERALL_CORRELATION: dict[str, type[pl.DataType]] = {
    "split": pl.String, "target_values": pl.Int64, "n_sources": pl.Int64, "n_defined": pl.Int64,
    "n_targets": pl.Int64, "n_pairs": pl.Int64, "n_equivalent": pl.Int64,
    "n_significant": pl.Int64, "share_significant": pl.Float64,
    "min_r": pl.Float64, "max_r": pl.Float64,
    **{f"{name}{end}": pl.Float64 for name in _RESAMPLED for end in ("", "_low", "_high")},
    "median_spearman_r": pl.Float64, "median_kendall_tau": pl.Float64, "median_weighted_tau": pl.Float64,
    "median_partial_r": pl.Float64, "median_information_r": pl.Float64,
    "n_better_than_entropy": pl.Int64, "n_worse_than_entropy": pl.Int64, "undefined_because": pl.String,
}  # fmt: skip


def _statistics(matrices: PairMatrices, draws: Draws) -> dict[str, Array]:
    """Every resampled statistic of `_RESAMPLED`, shape (B,) each."""
    m, error = matrices.mask, matrices.error
    by_estimate = source_correlations(matrices.estimate, error, m, draws)
    by_entropy = source_correlations(matrices.entropy, error, m, draws)
    return {
        "median_r": weighted_median(by_estimate, draws.sources),
        "median_entropy_r": weighted_median(by_entropy, draws.sources),
        "median_difference": weighted_median(by_estimate - by_entropy, draws.sources),
        "pooled_r": pooled_correlation(matrices.estimate, error, m, draws),
        "pooled_entropy_r": pooled_correlation(matrices.entropy, error, m, draws),
        "within_target_r": within_target_correlation(matrices.estimate, error, m, draws),
    }


def _resampled(matrices: PairMatrices, *, resamples: int, seed: int) -> dict[str, float | None]:
    """Each statistic of the data itself with its 95 % interval over tasks."""
    point = _statistics(matrices, single_draw(matrices))
    many = _statistics(matrices, draw_tasks(matrices, resamples=resamples, seed=seed))
    row: dict[str, float | None] = {}
    for name in _RESAMPLED:
        value = float(point[name][0])
        ends = interval(many[name])
        if np.isnan(value):
            continue
        row |= {name: value, f"{name}_low": ends.low, f"{name}_high": ends.high}
    return row


def _number(frame: pl.DataFrame, name: str, statistic: Callable[[pl.Series], object]) -> float | None:
    """A statistic of a column's known values, or None where there are none."""
    known = frame[name].drop_nulls()
    return None if known.is_empty() else float(str(statistic(known)))


def _of_sources(rows: pl.DataFrame) -> dict[str, object]:
    """What the rows of `transfer_correlation` of one group add up to."""
    defined = rows.filter(pl.col("pearson_r").is_not_null())
    significant = defined.filter((pl.col("q_value") < SIGNIFICANCE) & (pl.col("pearson_r") > 0))
    differs = defined.filter(pl.col("williams_p") < SIGNIFICANCE)
    return {
        "n_sources": len(rows),
        "n_defined": len(defined),
        "n_significant": len(significant),
        "share_significant": len(significant) / len(defined) if len(defined) else None,
        "min_r": _number(defined, "distinct_pearson_r", pl.Series.min),
        "max_r": _number(defined, "distinct_pearson_r", pl.Series.max),
        **{
            f"median_{name}": _number(defined, name, pl.Series.median)
            for name in ("spearman_r", "kendall_tau", "weighted_tau", "partial_r", "information_r")
        },
        "n_better_than_entropy": len(differs.filter(pl.col("difference") > 0)),
        "n_worse_than_entropy": len(differs.filter(pl.col("difference") < 0)),
        "undefined_because": None if len(defined) else _common_reason(rows),
    }


def _common_reason(rows: pl.DataFrame) -> str:
    reasons = rows["undefined_because"].drop_nulls().unique(maintain_order=True).to_list()
    return str(reasons[0]) if len(reasons) == 1 else "the correlation is defined for no source"


def overall_correlation(
    correlations: pl.DataFrame,
    conditional_entropy: pl.DataFrame,
    transfer: pl.DataFrame,
    tasks: pl.DataFrame,
    *,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> pl.DataFrame:
    """All sources of a study together, one row per group of targets with the same number of values.

    `median_r` is the median over sources of `distinct_pearson_r`, `median_difference` that of its lead over
    the target's own entropy, r(H(Y|Z), error) − r(H(Y), error); `pooled_r` takes all pairs, and
    `within_target_r` takes each target's mean out first, which leaves exactly what H(Y) cannot know: which
    source is better for a target. Their intervals come from a bootstrap over tasks; pairs of a task with its
    own duplicate are left out, and duplicates are drawn together. `min_r` and `max_r` are the extremes of
    `distinct_pearson_r`; a source is significant where r > 0 and `q_value` < 0.05, and better (worse) than the
    entropy where Williams' p < 0.05.

    Args:
        correlations: what `transfer_correlation` returned.
        conditional_entropy: the table of that name.
        transfer: the table of that name.
        tasks: the table of that name.
        resamples: number of bootstrap resamples of tasks.
        seed: seed of the bootstrap.

    Returns:
        One row per (split, target_values), columns as in `OVERALL_CORRELATION`.
    """
    pairs = joined_pairs(conditional_entropy, transfer, tasks)
    names = sorted({*pairs["source"], *pairs["target"]})
    rows = []
    for (split, values), part in correlations.group_by("split", "target_values", maintain_order=True):
        in_split = pairs.filter(pl.col("split") == split)
        group = in_split.filter(pl.col("target_values") == values)
        usable = group.filter("usable")
        row: dict[str, object] = {
            "split": split,
            "target_values": values,
            "n_targets": usable["target"].n_unique(),
            "n_pairs": int((~usable["equivalent"]).sum()),
            "n_equivalent": int(usable["equivalent"].sum()),
            **_of_sources(part),
        }
        if row["undefined_because"] is None:
            matrices = pair_matrices(group, equivalence_classes(in_split, names))
            row |= _resampled(matrices, resamples=resamples, seed=seed)
        rows.append({name: row.get(name) for name in OVERALL_CORRELATION})
    return pl.DataFrame(rows, schema=OVERALL_CORRELATION)
