"""The report's own tables, computed from the stages' tables where not handed in. Nothing is drawn."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from assets.reports.correlations import BOOTSTRAP_SEED, RESAMPLES, hardness_correlation, transfer_correlation
from assets.reports.overall import overall_correlation
from assets.reports.rankings import best_sources, residuals, target_ranking

Tables = dict[str, pl.DataFrame]
Row = Mapping[str, Any]
CERTAIN = 1e-12
"""Nats below which an entropy is zero but for rounding."""

_EMPTY: dict[str, dict[str, type[pl.DataType]]] = {
    "transfer": {"source": pl.String, "target": pl.String, "test_error": pl.Float64},
    "source_models": {"task": pl.String, "test_error": pl.Float64, "undefined_because": pl.String},
}


def with_report_tables(tables: Tables, *, resamples: int = RESAMPLES, seed: int = BOOTSTRAP_SEED) -> Tables:
    """All tables that the page reads: those given, and the report's own where they are not among them.

    Args:
        tables: at least `tasks`, `conditional_entropy` and `hardness`; `transfer` and `source_models` may be
            missing or empty while those stages have not run.
        resamples: bootstrap resamples of tasks.
        seed: seed of the bootstrap.

    Returns:
        The tables given, with `transfer_correlation`, `hardness_correlation`, `overall_correlation`,
        `best_sources`, `target_ranking` and `residuals` added.
    """
    full = {name: pl.DataFrame(schema=schema) for name, schema in _EMPTY.items()} | dict(tables)
    tasks, entropy = full["tasks"], full["conditional_entropy"]
    transfer, models = full["transfer"], full["source_models"]
    if "transfer_correlation" not in full:
        full["transfer_correlation"] = transfer_correlation(
            entropy, transfer, tasks, resamples=resamples, seed=seed
        )
    if "hardness_correlation" not in full:
        full["hardness_correlation"] = hardness_correlation(full["hardness"], models, tasks)
    if "overall_correlation" not in full:
        full["overall_correlation"] = overall_correlation(
            full["transfer_correlation"], entropy, transfer, tasks, resamples=resamples, seed=seed
        )
    if "best_sources" not in full:
        full["best_sources"] = best_sources(entropy, transfer, models, tasks)
    if "target_ranking" not in full:
        full["target_ranking"] = target_ranking(full["best_sources"], tasks)
    if "residuals" not in full:
        full["residuals"] = residuals(entropy, transfer, tasks)
    return full


def main_split(tables: Tables) -> str:
    """The split that figures and page show: `train`, as in the paper, or else the first there is."""
    splits = tables["conditional_entropy"]["split"].unique(maintain_order=True).to_list()
    return "train" if "train" in splits or not splits else str(splits[0])


def main_group(tables: Tables) -> int:
    """The targets' number of values with the most measured pairs, or else the most targets: the headline's group."""
    groups = tables["overall_correlation"].filter(pl.col("split") == main_split(tables))
    if groups.is_empty():
        return 2
    targets = tables["tasks"].filter("is_target").group_by(pl.col("n_values").cast(pl.Int64)).len()
    counted = groups.join(targets, left_on="target_values", right_on="n_values", how="left")
    ordered = counted.sort("n_pairs", "len", "target_values", descending=[True, True, False], nulls_last=True)
    return int(ordered["target_values"][0])


def rows_of_split(frame: pl.DataFrame, split: str) -> Iterator[Row]:
    """The rows of a table that belong to a split, as mappings."""
    return frame.filter(pl.col("split") == split).iter_rows(named=True)


def constant_tasks(tables: Tables) -> set[str]:
    """The tasks with a single value in the main split: nothing is to be learned of them, nor from them."""
    hardness = tables["hardness"].filter(pl.col("split") == main_split(tables))
    return set(hardness.filter(pl.col("hardness").abs() < CERTAIN)["task"])
