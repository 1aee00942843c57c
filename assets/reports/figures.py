"""The paper's figures as matplotlib figures, drawn from the report's tables; nothing is written to disk here.

Every function returns a `Figure` of its own: pyplot's list of open figures is never touched.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from assets.reports.association import Array
from assets.reports.clustering import Clustering
from assets.reports.correlations import column
from assets.reports.regression import regression_band

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#767676"
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

STYLE = {
    **sns.axes_style("whitegrid"), "axes.edgecolor": "#444444", "grid.color": "#e4e4e4", "font.size": 9,
    "axes.titlesize": 9, "axes.labelsize": 9, "legend.frameon": False,
    "text.parse_math": False,
}  # fmt: skip

Row = Mapping[str, object]


def correlation_caption(row: Row) -> str:
    """`r = 0.84, p < 0.001, n = 27`, or why there is no correlation."""
    if row["undefined_because"] is not None:
        return f"no correlation: {row['undefined_because']}"
    p = float(str(row["pearson_p"]))
    size = row.get("n_targets", row.get("n_tasks"))
    return f"r = {row['pearson_r']:.2f}, {'p < 0.001' if p < 0.001 else f'p = {p:.3f}'}, n = {size}"


def _wrap(text: str, width: int) -> str:
    lines = [""]
    for word in text.split(" "):
        lines = (
            [*lines[:-1], f"{lines[-1]} {word}".strip()]
            if len(lines[-1]) + len(word) < width
            else [*lines, word]
        )
    return "\n".join(lines)


def _scatter(ax: Axes, x: Array, y: Array, *, size: float = 16) -> None:
    """Points, regression line and 95 % confidence band."""
    band = regression_band(x, y)
    if band is not None:
        ax.fill_between(band.x, band.low, band.high, color=BLUE, alpha=0.18, linewidth=0)
        ax.plot(band.x, band.mean, color=BLUE, linewidth=1.4)
    sns.scatterplot(x=x, y=y, ax=ax, s=size, color=ORANGE, edgecolor="white", linewidth=0.4, legend=False)
    ax.set_ylim(bottom=0.0)


def transfer_scatter(pairs: pl.DataFrame, correlations: Sequence[Row], *, columns: int = 5) -> Figure:
    """Fig. 2: for each source a panel of H(Y|Z) against the transfer error of its targets.

    Args:
        pairs: usable rows of `joined_pairs` of one split and one number of target values.
        correlations: the rows of `transfer_correlation` to draw, in order; one panel each.
        columns: panels a line.
    """
    columns = min(columns, len(correlations))
    lines = math.ceil(len(correlations) / columns)
    parts = {name: part for (name,), part in pairs.group_by("source", maintain_order=True)}
    with rc_context(STYLE):
        width, height = max(4.2, 2.4 * columns), max(3.4, 2.4 * lines)
        # Fixed margins in inches: a constrained layout of thirty panels takes seconds.
        figure = Figure(figsize=(width, height))
        figure.subplots_adjust(
            left=0.75 / width, right=1 - 0.15 / width, bottom=0.6 / height, top=1 - 0.55 / height,
            wspace=0.32, hspace=0.5,
        )  # fmt: skip
        axes = np.atleast_1d(np.asarray(figure.subplots(lines, columns, squeeze=False))).ravel()
        for ax, row in zip(axes, correlations, strict=False):
            part = parts.get(row["source"], pairs.clear())
            _scatter(ax, column(part, "conditional_entropy"), column(part, "test_error"))
            ax.set_title(
                _wrap(f"{row['source']}", 34) + "\n" + _wrap(correlation_caption(row), 40), fontsize=8
            )
        for ax in axes[len(correlations) :]:
            ax.set_visible(False)
        figure.supxlabel(
            "conditional entropy H(Y|Z) of the target given the source, nats", fontsize=9, y=0.08 / height
        )
        figure.supylabel("transfer error on test", fontsize=9, x=0.12 / width)
    return figure


def accuracy_differences(rows: pl.DataFrame, source: str) -> Figure:
    """Fig. 4: transferred minus dedicated accuracy per target, from the most to the least transferable.

    Args:
        rows: columns `target`, `difference`, in order of falling transferability.
        source: the source's name, for the title.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(max(4.5, 0.17 * len(rows) + 1.5), 3.4), layout="constrained")
        ax = figure.subplots()
        values = column(rows, "difference")
        ax.bar(np.arange(len(rows)), values, color=np.where(values >= 0, BLUE, ORANGE), width=0.75)
        ax.axhline(0, color="#222222", linewidth=0.8)
        ax.set_xticks(np.arange(len(rows)), rows["target"].to_list(), rotation=90, fontsize=7)
        ax.margins(x=0.01)
        ax.set_title(f"Transferred from {source} − dedicated")
        ax.set_ylabel("difference in test accuracy")
        ax.set_xlabel("target, falling transferability →")
    return figure


def sample_efficiency_curves(sample_efficiency: pl.DataFrame) -> Figure:
    """Fig. 5: test accuracy against the size of the training set, dedicated and transferred.

    Args:
        sample_efficiency: the table of that name; the band spans mean ± standard error over seeds.
    """
    targets = sample_efficiency["target"].unique(maintain_order=True).to_list()
    with rc_context(STYLE):
        figure = Figure(figsize=(3.4 * max(1, len(targets)), 3.1), layout="constrained")
        for ax, target in zip(
            np.ravel(figure.subplots(1, max(1, len(targets)), squeeze=False)), targets, strict=True
        ):
            part = sample_efficiency.filter(pl.col("target") == target)
            for (source,), curve in part.group_by("source", maintain_order=True):
                means = (
                    curve.group_by("n_train")
                    .agg(
                        pl.col("test_accuracy").mean().alias("mean"),
                        pl.col("test_accuracy").std().alias("std"),
                        pl.len().alias("seeds"),
                    )
                    .sort("n_train")
                )
                mean = column(means, "mean")
                error = np.nan_to_num(column(means, "std")) / np.sqrt(column(means, "seeds"))
                colour, label = (BLUE, "dedicated") if source is None else (ORANGE, f"from {source}")
                style = "-" if source is None else "--"
                ax.plot(means["n_train"], mean, style, marker="o", markersize=3, color=colour, label=label)
                ax.fill_between(
                    means["n_train"], mean - error, mean + error, color=colour, alpha=0.2, linewidth=0
                )
            ax.set_xscale("log")
            ax.set_title(target)
            ax.set_xlabel("training images")
            ax.set_ylabel("test accuracy")
            ax.legend(fontsize=7)
    return figure


def hardness_scatter(panels: Sequence[tuple[str, pl.DataFrame, Row]]) -> Figure:
    """Fig. 6: estimated hardness H(Z) against the dedicated networks' test error, one panel a study.

    Args:
        panels: title, the rows of `hardness_points` of one split and number of values, and its row of
            `hardness_correlation`.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(3.4 * max(1, len(panels)), 3.2), layout="constrained")
        axes = np.ravel(figure.subplots(1, max(1, len(panels)), squeeze=False))
        for ax, (title, points, row) in zip(axes, panels, strict=False):
            _scatter(ax, column(points, "hardness"), column(points, "test_error"), size=20)
            ax.set_title(f"{title}\n{_wrap(correlation_caption(row), 48)}")
            ax.set_xlabel("hardness H(Z), nats")
            ax.set_ylabel("test error, dedicated network")
    return figure


def bound_scatter(pairs: pl.DataFrame) -> Figure:
    """Theorem 1: the log-likelihoods of k̄ and of a probe against the bound l_Z - H(Y|Z); points are pairs.

    Args:
        pairs: the rows of the table `bound` with a defined slack, with `floor`, the bound (nats).
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 4.2), layout="constrained")
        ax = figure.subplots()
        floor = column(pairs, "floor")
        heights = {"kbar_log_likelihood": (ORANGE, "k̄, the classifier of the proof", "o")}
        if pairs["probe_log_likelihood"].is_not_null().any():
            heights["probe_log_likelihood"] = (BLUE, "a logistic probe", "^")
        lowest = float(floor.min())
        for name, (colour, label, marker) in heights.items():
            values = column(pairs, name)
            # Points become one picture in the SVG and PDF: there may be 97,000.
            ax.scatter(floor, values, s=12, color=colour, marker=marker, alpha=0.6, linewidths=0, label=label,
                       rasterized=True)  # fmt: skip
            lowest = min(lowest, float(np.nanmin(values)))
        ax.plot([lowest, 0], [lowest, 0], color=GREY, linewidth=1.2, label="the bound itself")
        ax.set_xlabel("bound: l_Z − H(Y|Z), nats")
        ax.set_ylabel("log-likelihood l_Y of the target, nats")
        ax.legend(fontsize=8, loc="lower right")
    return figure


def entropy_heat_map(matrix: Array, clustering: Clustering) -> Figure:
    """Clustered heat map of H(Y|Z)/H(Y) with the dendrogram of the tasks.

    Args:
        matrix: (T, T), row = source, column = target, in the clustering's order; NaN where there is no pair.
        clustering: the tasks' order and dendrogram.
    """
    n = len(clustering.names)
    size = float(np.clip(0.17 * n + 2.2, 4.5, 14))
    with rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(size, size + 0.7), layout="constrained")
        top, ax = figure.subplots(2, 1, height_ratios=[1, 7])
        for link in clustering.segments:
            top.plot(link[:, 0], link[:, 1], color=GREY, linewidth=0.7)
        top.set_xlim(-0.5, n - 0.5)
        top.set_axis_off()
        image = ax.imshow(matrix, cmap="cividis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        if n <= 100:
            ax.set_xticks(np.arange(n), clustering.names, rotation=90, fontsize=6)
            ax.set_yticks(np.arange(n), clustering.names, fontsize=6)
        else:
            ax.set_xticks([])
            ax.set_yticks([])
        ax.set_xlabel("target")
        ax.set_ylabel("source")
        figure.colorbar(
            image, ax=ax, label="H(Y|Z) / H(Y), bias-corrected: 0 = determined, 1 = no help", shrink=0.7
        )
    return figure
