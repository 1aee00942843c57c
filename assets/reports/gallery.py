"""Which figures a study has: the paper's Fig. 2 to 6 and the heat map, with file names and captions."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
from matplotlib.figure import Figure

from assets.reports.certainty import defined_bounds
from assets.reports.charts import clustered
from assets.reports.correlations import hardness_points
from assets.reports.derive import Tables, main_group, main_split
from assets.reports.figures import (
    accuracy_differences,
    bound_scatter,
    entropy_heat_map,
    hardness_scatter,
    sample_efficiency_curves,
    transfer_scatter,
)
from assets.reports.pairs import joined_pairs
from assets.reports.summary import first_row
from assets.reports.table_one import table_one, wide_sources

PANELS_A_FIGURE = 30


@dataclass(frozen=True)
class NamedFigure:
    """A figure with the stem of its files, the words that stand for it, and whether the page shows it so.

    The page has interactive forms of the others. `section` is where on the page it stands.
    """

    name: str
    figure: Figure
    caption: str
    in_page: bool = False
    section: str = "figures"


def _transfer_figures(tables: Tables) -> Iterator[NamedFigure]:
    """Fig. 2 for every source, thirty panels a figure, and Fig. 3 for every source wider than all targets."""
    split, values = main_split(tables), main_group(tables)
    pairs = joined_pairs(tables["conditional_entropy"], tables["transfer"], tables["tasks"]).filter(
        "usable", split=split, target_values=values
    )
    rows = list(
        tables["transfer_correlation"].filter(split=split, target_values=values).iter_rows(named=True)
    )
    wide = wide_sources(tables["tasks"])
    narrow = [row for row in rows if row["source"] not in wide]
    for start in range(0, len(narrow), PANELS_A_FIGURE):
        number = start // PANELS_A_FIGURE + 1
        name = "figure-2" if len(narrow) <= PANELS_A_FIGURE else f"figure-2-{number:02d}"
        figure = transfer_scatter(pairs, narrow[start : start + PANELS_A_FIGURE])
        caption = (
            "Fig. 2: conditional entropy against transfer error; titles name the source, points are targets."
        )
        yield NamedFigure(name, figure, caption)
    for i, row in enumerate(row for row in rows if row["source"] in wide):
        name = "figure-3" if i == 0 else f"figure-3-{i + 1:02d}"
        caption = f"Fig. 3: conditional entropy against transfer error from {row['source']}."
        yield NamedFigure(name, transfer_scatter(pairs, [row]), caption)


def _difference_figures(tables: Tables) -> Iterator[NamedFigure]:
    """Fig. 4 for every source wider than all targets."""
    stages = [tables[name] for name in ("conditional_entropy", "transfer", "source_models", "tasks")]
    for i, source in enumerate(wide_sources(tables["tasks"])):
        rows = table_one(*stages, source=source, split=main_split(tables)).drop_nulls(
            ["target", "difference"]
        )
        if len(rows):
            name = "figure-4" if i == 0 else f"figure-4-{i + 1:02d}"
            caption = (
                f"Fig. 4: accuracy of the representation of {source} less that of the dedicated network, by "
                "target; targets in order of falling transferability."
            )
            yield NamedFigure(name, accuracy_differences(rows, source), caption, in_page=True)


def study_figures(tables: Tables) -> list[NamedFigure]:
    """All figures that the tables allow; a stage that has not run leaves its figures out.

    Args:
        tables: what `with_report_tables` returned.
    """
    figures = []
    if tables["transfer"]["test_error"].is_not_null().any():
        figures += [*_transfer_figures(tables), *_difference_figures(tables)]
    efficiency = tables.get("sample_efficiency")
    if efficiency is not None and len(efficiency):
        caption = "Fig. 5: test accuracy against the number of training images, dedicated and transferred."
        figures.append(NamedFigure("figure-5", sample_efficiency_curves(efficiency), caption, in_page=True))
    panel = hardness_panel_of(tables, title="")
    if panel is not None:
        caption = "Fig. 6: estimated hardness against the test error of dedicated networks; points are tasks."
        figures.append(NamedFigure("figure-6", hardness_scatter([panel]), caption))
    bounds = defined_bounds(tables)
    if len(bounds):
        caption = (
            "Theorem 1: no point of k̄ lies below the line. Each pair of tasks is two points: the classifier of the "
            "proof and a probe, by their log-likelihood on the training rows."
        )
        figures.append(NamedFigure("bound", bound_scatter(bounds), caption, in_page=True, section="bound"))
    clustering, matrix = clustered(tables)
    if len(clustering.names) > 1:
        caption = "Share of the target's entropy that the source leaves, tasks clustered by their labels."
        figures.append(NamedFigure("heat-map", entropy_heat_map(matrix, clustering), caption))
    return figures


def hardness_panel_of(tables: Tables, *, title: str) -> tuple[str, pl.DataFrame, dict[str, object]] | None:
    """A study's panel of Fig. 6: title, points, correlation; None while nothing has been trained."""
    split, values = main_split(tables), main_group(tables)
    points = hardness_points(tables["hardness"], tables["source_models"], tables["tasks"]).filter(
        split=split, task_values=values
    )
    row = first_row(tables["hardness_correlation"], split=split, task_values=values)
    return None if row is None or points.is_empty() else (title, points, dict(row))
