"""How well conditional entropy predicts the transfer error (Fig. 2, 3), and hardness the error (Fig. 6).

One row a source and one row a group of tasks; what is said of all sources together stands in overall.py.
"""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import product

import numpy as np
import polars as pl
from scipy import stats

from assets.reports.association import Array, Association, associate
from assets.reports.baseline import BaselineComparison, compare_with_entropy
from assets.reports.pairs import equivalence_classes, joined_pairs
from assets.reports.resampling import PairMatrices, draw_tasks, interval, source_correlations

RESAMPLES = 2000
BOOTSTRAP_SEED = 0

_ASSOCIATION = {
    "pearson_r": pl.Float64, "pearson_p": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64,
    "spearman_r": pl.Float64, "kendall_tau": pl.Float64, "undefined_because": pl.String,
    "weighted_tau": pl.Float64, "spearman_p": pl.Float64, "kendall_p": pl.Float64,
}  # fmt: skip

_Schema = dict[str, type[pl.DataType]]

TRANSFER_CORRELATION: _Schema = {
    "source": pl.String, "split": pl.String, "target_values": pl.Int64, "n_targets": pl.Int64, **_ASSOCIATION,
    "q_value": pl.Float64, "q_value_any_dependence": pl.Float64,
    "n_constant": pl.Int64, "n_equivalent": pl.Int64,
    "distinct_pearson_r": pl.Float64, "bootstrap_low": pl.Float64, "bootstrap_high": pl.Float64,
    "entropy_r": pl.Float64, "difference": pl.Float64,
    "difference_low": pl.Float64, "difference_high": pl.Float64,
    "williams_t": pl.Float64, "williams_p": pl.Float64, "partial_r": pl.Float64, "partial_p": pl.Float64,
    "information_r": pl.Float64, "information_p": pl.Float64, "slope": pl.Float64, "intercept": pl.Float64,
}  # fmt: skip

HARDNESS_CORRELATION: _Schema = {
    "split": pl.String, "task_values": pl.Int64, "n_tasks": pl.Int64, **_ASSOCIATION,
    "slope": pl.Float64, "intercept": pl.Float64,
}  # fmt: skip


def column(frame: pl.DataFrame, name: str) -> Array:
    """A column as float64 array (nulls become NaN)."""
    return frame[name].cast(pl.Float64).to_numpy()


def pair_matrices(group: pl.DataFrame, classes: dict[str, int]) -> PairMatrices:
    """The distinct usable pairs of one group (one split, targets of one number of values) as matrices.

    Args:
        group: rows of `joined_pairs`; pairs of a task with its own duplicate are left out of the mask.
        classes: task → class of equivalent tasks.
    """
    sources, targets = (group[name].unique(maintain_order=True).to_list() for name in ("source", "target"))
    rows = {name: i for i, name in enumerate(sources)}
    columns = {name: i for i, name in enumerate(targets)}
    distinct = group.filter(pl.col("usable") & ~pl.col("equivalent"))
    at = (
        np.array([rows[name] for name in distinct["source"]], dtype=np.intp),
        np.array([columns[name] for name in distinct["target"]], dtype=np.intp),
    )

    def matrix(values: Array) -> Array:
        filled = np.zeros((len(sources), len(targets)))
        filled[at] = values
        return filled

    return PairMatrices(
        mask=matrix(np.ones(len(distinct))),
        estimate=matrix(column(distinct, "conditional_entropy")),
        entropy=matrix(column(distinct, "target_entropy")),
        error=matrix(column(distinct, "test_error")),
        source_class=np.array([classes[name] for name in sources], dtype=np.intp),
        target_class=np.array([classes[name] for name in targets], dtype=np.intp),
    )


def _line(x: Array, y: Array, association: Association) -> dict[str, float | None]:
    """Slope and intercept of the least-squares line, where the correlation is defined."""
    if association.undefined_because is not None:
        return {"slope": None, "intercept": None}
    fit = stats.linregress(x, y)
    return {"slope": float(fit.slope), "intercept": float(fit.intercept)}


def _reason(group: pl.DataFrame, values: int) -> str | None:
    """Why a source has no correlation, said more plainly than by its numbers; None where it may have one."""
    if group.is_empty():
        return f"the source is in no pair with a target of {values} values"
    if group["test_error"].null_count() == len(group):
        reasons = group["not_measured_because"].drop_nulls().unique(maintain_order=True).to_list()
        return reasons[0] if len(reasons) == 1 else "no probe has been measured"
    if group["conditional_entropy"].null_count() == len(group):
        reasons = group["not_estimated_because"].drop_nulls().unique(maintain_order=True).to_list()
        return reasons[0] if len(reasons) == 1 else "no conditional entropy is defined for this source"
    usable = group.filter("usable")
    if len(usable) >= 3 and column(usable, "conditional_entropy").max() <= 1e-12:
        return "the source determines every target: conditional entropy is 0 for all of them"
    return None


def _information(usable: pl.DataFrame) -> dict[str, float | None]:
    """Correlation of I(Y;Z) with the error reduction over always guessing the majority value."""
    known = usable.filter(
        pl.col("error_reduction").is_not_null()
        & pl.col("mutual_information").is_not_null()
        & ~pl.col("equivalent")
    )
    x, y = column(known, "mutual_information"), column(known, "error_reduction")
    found = associate(x, y, x_name="I(Y;Z)", y_name="error reduction", points="targets")
    return {"information_r": found.pearson_r, "information_p": found.pearson_p}


def _source_row(group: pl.DataFrame, values: int) -> dict[str, object]:
    """All statistics of one source over one group of targets that need no other source."""
    usable = group.filter("usable")
    x, y = column(usable, "conditional_entropy"), column(usable, "test_error")
    reason = _reason(group, values)
    if reason is not None:
        found = Association(n=len(usable), undefined_because=reason)
    else:
        points = f"targets with {values} values that are not constant"
        found = associate(x, y, x_name="conditional entropy", y_name="test error", points=points)
    distinct = usable.filter(~pl.col("equivalent"))
    xs = [column(distinct, name) for name in ("conditional_entropy", "target_entropy", "test_error")]
    baseline = BaselineComparison() if found.undefined_because else compare_with_entropy(*xs)
    return {
        "n_targets": len(usable),
        **asdict(found),
        "n_constant": int(group["constant_target"].sum()),
        "n_equivalent": int(usable["equivalent"].sum()),
        **asdict(baseline),
        **(_information(usable) if found.undefined_because is None else {}),
        **_line(x, y, found),
    }


def _resampled(
    group: pl.DataFrame, sources: Sequence[str], classes: dict[str, int], *, resamples: int, seed: int
) -> dict[str, dict[str, float | None]]:
    """Bootstrap intervals over tasks, and r without duplicates, of every source of one group."""
    matrices = pair_matrices(group, classes)
    draws = draw_tasks(matrices, resamples=resamples, seed=seed)
    by_estimate = source_correlations(matrices.estimate, matrices.error, matrices.mask, draws)
    by_entropy = source_correlations(matrices.entropy, matrices.error, matrices.mask, draws)
    rows = {}
    for i, name in enumerate(group["source"].unique(maintain_order=True)):
        r, difference = interval(by_estimate[:, i]), interval(by_estimate[:, i] - by_entropy[:, i])
        counted = matrices.mask[i] > 0
        distinct = associate(
            matrices.estimate[i][counted], matrices.error[i][counted], x_name="", y_name="", points="targets"
        )
        rows[name] = {
            "distinct_pearson_r": distinct.pearson_r,
            "bootstrap_low": r.low, "bootstrap_high": r.high,
            "difference_low": difference.low, "difference_high": difference.high,
        }  # fmt: skip
    return {name: rows.get(name, {}) for name in sources}


def adjusted(frame: pl.DataFrame, groups: Sequence[str]) -> pl.DataFrame:
    """`frame` with `q_value` (Benjamini–Hochberg) and `q_value_any_dependence` (Benjamini–Yekutieli).

    The correction runs over all sources with a defined p within one group. Benjamini–Hochberg holds the false
    discovery rate for independent or positively dependent tests. The sources here share their targets, and a
    hard target is hard from everywhere, which makes positive dependence likely but not certain; the second
    column makes no such assumption and pays for it.
    """
    parts = []
    for _, part in frame.group_by(groups, maintain_order=True):
        known = part["pearson_p"].is_not_null()
        p = part["pearson_p"].drop_nulls().to_numpy()
        q, q_any = np.full(len(part), np.nan), np.full(len(part), np.nan)
        if known.any():
            q[known.to_numpy()] = stats.false_discovery_control(p, method="bh")
            q_any[known.to_numpy()] = stats.false_discovery_control(p, method="by")
        parts.append(
            part.with_columns(
                pl.Series("q_value", q).fill_nan(None),
                pl.Series("q_value_any_dependence", q_any).fill_nan(None),
            )
        )
    return pl.concat(parts) if parts else frame


def transfer_correlation(
    conditional_entropy: pl.DataFrame,
    transfer: pl.DataFrame,
    tasks: pl.DataFrame,
    *,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> pl.DataFrame:
    """For every source, the correlation of H(Y|Z) with the transfer error over the targets (Fig. 2 and 3).

    Targets with different numbers of values are separate groups; targets that are constant in train are left
    out. `pearson_r`, `pearson_p`, Fisher's `ci_low`/`ci_high`, the rank correlations and the regression line
    take all other targets, as the paper does, a duplicate or complement of the source included. Everything
    that goes beyond the paper leaves such pairs out, since they are the same task twice: `distinct_pearson_r`
    with its bootstrap interval over tasks, and the comparisons with H(Y) and with I(Y;Z).

    Args:
        conditional_entropy: the table of that name, any splits.
        transfer: the table of that name; sources without probes get a row with the reason.
        tasks: the table of that name.
        resamples: number of bootstrap resamples of tasks.
        seed: seed of the bootstrap.

    Returns:
        One row per (source, split, target_values), columns as in `TRANSFER_CORRELATION`. An undefined number
        is NULL; `undefined_because` says why `pearson_r` is.
    """
    pairs = joined_pairs(conditional_entropy, transfer, tasks)
    names = sorted({*pairs["source"], *pairs["target"]})
    rows: list[dict[str, object]] = []
    groups = pairs.select("split", "target_values").drop_nulls().unique(maintain_order=True).iter_rows()
    for split, values in groups:
        in_split = pairs.filter(split=split)
        group = in_split.filter(target_values=values)
        sources = in_split["source"].unique(maintain_order=True).to_list()
        classes = equivalence_classes(in_split, names)
        resampled = _resampled(group, sources, classes, resamples=resamples, seed=seed)
        parts = {name: part for (name,), part in group.group_by("source", maintain_order=True)}
        for source in sources:
            row = _source_row(parts.get(source, group.clear()), values)
            more = resampled[source] if row["undefined_because"] is None else {}
            rows.append({"source": source, "split": split, "target_values": values, **row, **more})
    complete = [{name: row.get(name) for name in TRANSFER_CORRELATION} for row in rows]
    return adjusted(pl.DataFrame(complete, schema=TRANSFER_CORRELATION), ["split", "target_values"])


def hardness_points(hardness: pl.DataFrame, source_models: pl.DataFrame, tasks: pl.DataFrame) -> pl.DataFrame:
    """Estimated and empirical hardness of every task that has both: Fig. 6's points.

    Args:
        hardness: the table of that name.
        source_models: the table of that name; a task whose test error is NULL has no point.
        tasks: the table of that name.

    Returns:
        `split`, `task`, `task_values`, `hardness` (nats), `test_error`.
    """
    values = tasks.select("task", pl.col("n_values").cast(pl.Int64).alias("task_values"))
    return (
        hardness.select("split", "task", "hardness")
        .join(source_models.select("task", "test_error"), on="task", how="inner", maintain_order="left")
        .join(values, on="task", how="inner", maintain_order="left")
        .filter(pl.col("hardness").is_not_null() & pl.col("test_error").is_not_null())
        .select("split", "task", "task_values", "hardness", "test_error")
    )


def hardness_correlation(
    hardness: pl.DataFrame, source_models: pl.DataFrame, tasks: pl.DataFrame
) -> pl.DataFrame:
    """Correlation of hardness H(Z) with the dedicated networks' test error over tasks (Fig. 6).

    Tasks with different numbers of values are separate groups.

    Args:
        hardness: the table of that name, any splits.
        source_models: the table of that name.
        tasks: the table of that name.

    Returns:
        One row per (split, task_values) of the tasks that have a model, columns as in `HARDNESS_CORRELATION`.
    """
    points = hardness_points(hardness, source_models, tasks)
    modelled = tasks.join(source_models.select("task"), on="task", how="semi", maintain_order="left")
    widths = modelled["n_values"].cast(pl.Int64).drop_nulls().unique(maintain_order=True).to_list()
    rows: list[dict[str, object]] = []
    for split, values in product(hardness["split"].unique(maintain_order=True).to_list(), sorted(widths)):
        group = points.filter(split=split, task_values=values)
        x, y = column(group, "hardness"), column(group, "test_error")
        named = f"tasks with {values} values and a measured test error"
        found = associate(x, y, x_name="hardness", y_name="test error", points=named)
        row = {
            "split": split,
            "task_values": values,
            "n_tasks": found.n,
            **asdict(found),
            **_line(x, y, found),
        }
        rows.append({name: row[name] for name in HARDNESS_CORRELATION})
    return pl.DataFrame(rows, schema=HARDNESS_CORRELATION)
