"""Answers for one target: which sources to take, whether the estimate ranks them, where it is wrong most."""

from dataclasses import asdict

import numpy as np
import polars as pl
from scipy import stats

from assets.reports.association import associate
from assets.reports.correlations import column
from assets.reports.pairs import joined_pairs

BEST_SOURCES: dict[str, type[pl.DataType]] = {
    "split": pl.String, "target": pl.String, "source": pl.String, "rank": pl.Int64, "wide": pl.Boolean,
    "near_unique": pl.Boolean, "equivalent": pl.Boolean, "conditional_entropy": pl.Float64,
    "corrected": pl.Float64, "corrected_normalised": pl.Float64, "joint_entropy": pl.Float64,
    "test_error": pl.Float64, "dedicated_error": pl.Float64, "measured_rank": pl.Int64,
}  # fmt: skip

TARGET_RANKING: dict[str, type[pl.DataType]] = {
    "split": pl.String, "target": pl.String, "target_values": pl.Int64, "n_sources": pl.Int64,
    "spearman_r": pl.Float64, "spearman_p": pl.Float64, "kendall_tau": pl.Float64, "weighted_tau": pl.Float64,
    "chosen_source": pl.String, "chosen_error": pl.Float64,
    "best_source": pl.String, "best_error": pl.Float64, "mean_error": pl.Float64,
    "regret": pl.Float64, "random_regret": pl.Float64, "undefined_because": pl.String,
}  # fmt: skip

RESIDUALS: dict[str, type[pl.DataType]] = {
    "split": pl.String, "source": pl.String, "target": pl.String, "target_values": pl.Int64,
    "conditional_entropy": pl.Float64, "test_error": pl.Float64, "fitted": pl.Float64, "residual": pl.Float64,
    "standardised": pl.Float64,
}  # fmt: skip


def best_sources(
    conditional_entropy: pl.DataFrame,
    transfer: pl.DataFrame,
    source_models: pl.DataFrame,
    tasks: pl.DataFrame,
) -> pl.DataFrame:
    """For every target its sources, best first by the bias-corrected H(Y|Z)/H(Y).

    A source with more values than the target is `wide`: it determines much by its width alone, so wide and
    near-unique sources are ranked apart, as is a duplicate or complement of the target, which is the target
    itself. Ties go to the smaller H(Y, Z). A source that is constant, on the pair's rows or in train, says nothing
    about any target and has no row.

    Args:
        conditional_entropy: the table of that name.
        transfer: the table of that name; `test_error` is NULL where a pair was not measured.
        source_models: the table of that name, for the target's dedicated error; may be empty.
        tasks: the table of that name.

    Returns:
        One row per pair with a defined estimate, columns as in `BEST_SOURCES`; `rank` counts within (split,
        target, wide or near-unique, equivalent); `measured_rank` orders the test errors of the same sources.
    """
    pairs = joined_pairs(conditional_entropy, transfer, tasks)
    dedicated = source_models.select(
        pl.col("task").alias("target"), pl.col("test_error").alias("dedicated_error")
    )
    widths = tasks.select(
        pl.col("task").alias("source"), pl.col("n_values").cast(pl.Int64).alias("task_width")
    )
    # Tables of an older study say nothing of train; then the pair's own rows decide.
    constant = (
        tasks.filter("constant_in_train")["task"].to_list() if "constant_in_train" in tasks.columns else []
    )
    group = ["split", "target", "apart", "equivalent"]
    ranked = (
        pairs.join(dedicated, on="target", how="left", maintain_order="left")
        .join(widths, on="source", how="left", maintain_order="left")
        .with_columns(
            (pl.coalesce("n_source_values", "task_width") > pl.col("target_values")).alias("wide"),
            pl.col("near_unique_source").alias("near_unique"),
            pl.coalesce("corrected_normalised", "normalised").alias("score"),
        )
        .filter(pl.col("score").is_not_null() & ~pl.col("constant_target"))
        .filter((pl.col("n_source_values") > 1).fill_null(value=True) & ~pl.col("source").is_in(constant))
        .with_columns((pl.col("wide") | pl.col("near_unique")).alias("apart"))
        .sort("split", "target", "apart", "equivalent", "score", "joint_entropy", "source", nulls_last=True)
        .with_columns(
            pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(group).alias("rank"),
            pl.col("test_error").rank("min").over(group).cast(pl.Int64).alias("measured_rank"),
        )
    )
    return ranked.select(pl.col(name).cast(dtype) for name, dtype in BEST_SOURCES.items())


def _ranking_row(part: pl.DataFrame) -> dict[str, object]:
    """How well the estimate ranks the sources of one target, and what following it costs."""
    measured = part.filter(pl.col("test_error").is_not_null())
    if measured.is_empty():
        return {"n_sources": 0, "undefined_because": "no probe for this target has been measured"}
    x, y = column(measured, "conditional_entropy"), column(measured, "test_error")
    found = associate(x, y, x_name="conditional entropy", y_name="test error", points="sources")
    chosen, best = (
        measured.sort("rank").row(0, named=True),
        measured.sort("test_error", "rank").row(0, named=True),
    )
    return {
        **asdict(found),
        "n_sources": found.n,
        "chosen_source": chosen["source"],
        "chosen_error": chosen["test_error"],
        "best_source": best["source"],
        "best_error": best["test_error"],
        "mean_error": float(y.mean()),
        "regret": chosen["test_error"] - best["test_error"],
        "random_regret": float(y.mean()) - best["test_error"],
    }


def target_ranking(ranked: pl.DataFrame, tasks: pl.DataFrame) -> pl.DataFrame:
    """For every target: do its sources rank as the estimate says, and what does it cost to follow it?

    Wide, near-unique and duplicate sources are left out. `regret` is the test error of the source ranked
    first less that of the best source; `random_regret` is the same for a source taken at random.

    Args:
        ranked: what `best_sources` returned.
        tasks: the table of that name.

    Returns:
        One row per (split, target), columns as in `TARGET_RANKING`.
    """
    fair = ranked.filter(~pl.col("wide") & ~pl.col("near_unique") & ~pl.col("equivalent"))
    values = dict(tasks.select("task", pl.col("n_values").cast(pl.Int64)).iter_rows())
    rows = []
    for (split, target), part in fair.group_by("split", "target", maintain_order=True):
        row = {"split": split, "target": target, "target_values": values[target], **_ranking_row(part)}
        rows.append({name: row.get(name) for name in TARGET_RANKING})
    return pl.DataFrame(rows, schema=TARGET_RANKING)


def residuals(conditional_entropy: pl.DataFrame, transfer: pl.DataFrame, tasks: pl.DataFrame) -> pl.DataFrame:
    """How far every pair lies from its source's regression line: where the estimate is wrong most.

    The line is that of Fig. 2: test error on H(Y|Z) over the source's usable targets of one number of values.

    Args:
        conditional_entropy: the table of that name.
        transfer: the table of that name.
        tasks: the table of that name.

    Returns:
        One row per usable pair of a source that has a line, columns as in `RESIDUALS`, largest first by the
        absolute residual; `residual` = test error − fitted, `standardised` is the internally studentised
        residual.
    """
    pairs = joined_pairs(conditional_entropy, transfer, tasks).filter("usable")
    parts = []
    for _, part in pairs.group_by("split", "source", "target_values", maintain_order=True):
        x, y = column(part, "conditional_entropy"), column(part, "test_error")
        if associate(x, y, x_name="", y_name="", points="").undefined_because is not None:
            continue
        fit = stats.linregress(x, y)
        fitted = fit.intercept + fit.slope * x
        leverage = 1 / len(x) + (x - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
        spread = np.sqrt(((y - fitted) ** 2).sum() / max(len(x) - 2, 1) * np.clip(1 - leverage, 0, None))
        scaled = np.divide(y - fitted, spread, out=np.full(len(x), np.nan), where=spread > 1e-15)
        parts.append(
            part.with_columns(
                pl.Series("fitted", fitted),
                pl.Series("residual", y - fitted),
                pl.Series("standardised", scaled).fill_nan(None),
            )
        )
    if not parts:
        return pl.DataFrame(schema=RESIDUALS)
    every = pl.concat(parts).select(pl.col(name).cast(dtype) for name, dtype in RESIDUALS.items())
    return every.sort(pl.col("residual").abs(), descending=True, maintain_order=True)
