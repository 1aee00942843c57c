"""The data of the page's charts: matrices and captions, nothing that the script would have to compute."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from assets.reports.association import Array
from assets.reports.clustering import Clustering, cluster_tasks, map_tasks, task_distances
from assets.reports.correlations import column, hardness_points
from assets.reports.derive import Tables, main_group, main_split
from assets.reports.formatting import interval, number, p_value
from assets.reports.pairs import joined_pairs
from assets.reports.regression import regression_band

Json = dict[str, Any]
BAND_POINTS = 13


def packed(values: Array) -> str:
    """A matrix as base64 of its little-endian float64 values, row by row; NaN stands for "no such number".

    In full precision, because the page's downloads are made from it.
    """
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode("ascii")


def pair_matrix(pairs: pl.DataFrame, names: list[str], value: str) -> Array:
    """One column of the pairs as (T, T) matrix, row = source, NaN where there is no number."""
    place = {name: i for i, name in enumerate(names)}
    matrix = np.full((len(names), len(names)), np.nan)
    s = np.array([place[name] for name in pairs["source"]], dtype=np.intp)
    t = np.array([place[name] for name in pairs["target"]], dtype=np.intp)
    matrix[s, t] = column(pairs, value)
    return matrix


def _rounded(values: Array) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def _line(x: Array, y: Array) -> Json | None:
    """Regression line and band as lists."""
    band = regression_band(x, y, points=BAND_POINTS)
    if band is None:
        return None
    return {name: _rounded(getattr(band, name)) for name in ("x", "mean", "low", "high")}


def caption(row: Mapping[str, Any], size: str) -> str:
    """What is printed beside a scatter: r with its interval, p and n, or why there is none."""
    if row["undefined_because"] is not None:
        return f"No correlation: {row['undefined_because']}."
    parts = [f"r = {number(row['pearson_r'], 3)}"]
    if row["ci_low"] is not None and row["ci_high"] is not None:
        parts.append(f"95 % interval {interval(row['ci_low'], row['ci_high'])}")
    p = p_value(row["pearson_p"])
    parts.append(f"p {p}" if p.startswith("<") else f"p = {p}")
    if row.get("q_value") is not None:
        q = p_value(row["q_value"])
        parts.append(f"q {q}" if q.startswith("<") else f"q = {q}")
    return ", ".join([*parts, f"n = {row[size]}"])


def _panels(tables: Tables, pairs: pl.DataFrame, names: list[str]) -> list[Json]:
    """One entry per source and number of target values: caption, points (by task number), line."""
    place = {name: i for i, name in enumerate(names)}
    keys = ["source", "target_values"]
    usable = pairs.filter("usable")
    parts = dict(usable.group_by(keys, maintain_order=True))
    correlations = tables["transfer_correlation"].filter(pl.col("split") == main_split(tables))
    panels = []
    for row in correlations.iter_rows(named=True):
        part = parts.get((row["source"], row["target_values"]), usable.clear())
        x, y = column(part, "conditional_entropy"), column(part, "test_error")
        panels.append({
            "source": place[row["source"]],
            "values": row["target_values"],
            "caption": caption(row, "n_targets"),
            "targets": [place[name] for name in part["target"]],
            "line": _line(x, y) if row["undefined_because"] is None else None,
        })  # fmt: skip
    return panels


def _first_panel(tables: Tables, values: int) -> int:
    """The number of the panel that the page opens with: the source whose r is the (lower) median of the main group."""
    rows = (
        tables["transfer_correlation"].filter(pl.col("split") == main_split(tables)).with_row_index("number")
    )
    defined = rows.filter(target_values=values).drop_nulls("pearson_r").sort("pearson_r", "source")
    return int(defined["number"][(len(defined) - 1) // 2]) if len(defined) else 0


def hardness_panel(tables: Tables, values: int) -> Json:
    """Fig. 6's points and line for the tasks with one number of values."""
    split = main_split(tables)
    points = hardness_points(tables["hardness"], tables["source_models"], tables["tasks"]).filter(
        (pl.col("split") == split) & (pl.col("task_values") == values)
    )
    row = tables["hardness_correlation"].filter(
        (pl.col("split") == split) & (pl.col("task_values") == values)
    )
    x, y = column(points, "hardness"), column(points, "test_error")
    found = row.row(0, named=True) if len(row) else {"undefined_because": "no task has been measured"}
    return {
        "values": values,
        "names": points["task"].to_list(),
        "x": _rounded(x),
        "y": _rounded(y),
        "caption": caption(found, "n_tasks"),
        "line": _line(x, y) if found["undefined_because"] is None else None,
    }


def clustered(tables: Tables) -> tuple[Clustering, Array]:
    """The tasks in dendrogram order and their matrix of H(Y|Z)/H(Y), bias-corrected where known."""
    split = main_split(tables)
    names, distances = task_distances(tables["conditional_entropy"], split)
    clustering = cluster_tasks(names, distances)
    pairs = joined_pairs(tables["conditional_entropy"], tables["transfer"], tables["tasks"])
    pairs = pairs.filter(pl.col("split") == split).with_columns(
        pl.coalesce("corrected_normalised", "normalised").alias("share")
    )
    return clustering, pair_matrix(pairs, clustering.names, "share")


def chart_data(tables: Tables) -> Json:
    """Everything that the script of a study's page draws.

    Args:
        tables: what `with_report_tables` returned.

    Returns:
        A JSON-ready dictionary; tasks are numbered in the order of the dendrogram.
    """
    split = main_split(tables)
    clustering, share = clustered(tables)
    names = clustering.names
    pairs = joined_pairs(tables["conditional_entropy"], tables["transfer"], tables["tasks"])
    pairs = pairs.filter(pl.col("split") == split)
    place = {name: i for i, name in enumerate(names)}
    same = pairs.filter("equivalent").select("source", "target").iter_rows()
    widths = tables["hardness_correlation"].filter(pl.col("split") == split)["task_values"].to_list()
    plane = map_tasks(*task_distances(tables["conditional_entropy"], split))
    hardness = dict(
        tables["hardness"].filter(pl.col("split") == split).select("task", "hardness").iter_rows()
    )
    return {
        "tasks": names,
        "segments": [[_rounded(link[:, 0]), _rounded(link[:, 1])] for link in clustering.segments],
        "share": packed(share),
        "entropy": packed(pair_matrix(pairs, names, "conditional_entropy")),
        "error": packed(pair_matrix(pairs, names, "test_error")),
        "measured": bool(pairs["test_error"].is_not_null().any()),
        "same": [[place[s], place[t]] for s, t in same],
        "panels": _panels(tables, pairs, names),
        "first": _first_panel(tables, main_group(tables)),
        "hardnessPanels": [hardness_panel(tables, values) for values in widths],
        "map": plane and {
            "names": plane.names,
            "x": _rounded(plane.points[:, 0]),
            "y": _rounded(plane.points[:, 1]),
            "hardness": [hardness.get(name) for name in plane.names],
        },
    }  # fmt: skip
