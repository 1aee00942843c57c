"""The tables of the page as cells: which columns a reader sees, in which words and units."""

from collections.abc import Sequence

import polars as pl

from assets.reports.derive import Row, Tables, constant_tasks, main_split, rows_of_split
from assets.reports.formatting import (
    MISSING,
    Cell,
    Column,
    PageTable,
    interval,
    note,
    number,
    percent,
    signed,
    text,
    value_cell,
)
from assets.reports.summary import points
from assets.reports.table_one import published_table

NOT_MEASURED = "not measured"
CONSTANT = "constant: one value in all labelled images of the split, so there is nothing to predict"
SHOWN_SOURCES = 3
ACCURACIES = ["dedicated_accuracy", "transferred_accuracy", "difference"]


def _source_cell(row: Row | None) -> Cell:
    """A source with its estimate and, where measured, its test error."""
    if row is None:
        return note("no such source")
    score = row["corrected_normalised"]
    parts = [
        f"H(Y|Z) {number(row['conditional_entropy'])}"
        if score is None
        else f"{percent(min(score, 1.0), 0)} left",
        *([] if row["test_error"] is None else [f"error {percent(row['test_error'])}"]),
        *(["near-unique"] if row["near_unique"] else []),
    ]
    return Cell(row["source"], row["source"], detail=", ".join(parts))


def _error_cell(source: str, error: float) -> Cell:
    return Cell(source, source, detail=f"error {percent(error)}")


def sources_table(tables: Tables) -> PageTable:
    """For every target: the sources that the labels recommend and, once measured, what they and the best gave."""
    split = main_split(tables)
    ranked = tables["best_sources"].filter(pl.col("split") == split)
    measured = bool(ranked["test_error"].is_not_null().any())
    modelled = bool(ranked["dedicated_error"].is_not_null().any())
    rankings = {row["target"]: row for row in rows_of_split(tables["target_ranking"], split)}
    rows = []
    for target, part in (
        (str(name), part) for (name,), part in ranked.group_by("target", maintain_order=True)
    ):
        fair = list(
            part.filter(~pl.col("wide") & ~pl.col("near_unique") & ~pl.col("equivalent")).iter_rows(
                named=True
            )
        )
        apart = list(part.filter(pl.col("wide") | pl.col("near_unique")).iter_rows(named=True))
        same = part.filter("equivalent")["source"].to_list()
        ranking = rankings.get(target, {})
        best = ranking.get("best_source")
        dedicated = part["dedicated_error"][0]
        rows.append([
            Cell(target, target, detail=f"same as {', '.join(same)}" if same else ""),
            *(_source_cell(fair[i] if i < len(fair) else None) for i in range(SHOWN_SOURCES)),
            *([
                note(NOT_MEASURED) if best is None else _error_cell(best, ranking["best_error"]),
                value_cell(ranking.get("regret"), points(ranking.get("regret") or 0.0), NOT_MEASURED),
            ] if measured else []),
            *([value_cell(dedicated, percent(dedicated), NOT_MEASURED)] if modelled else []),
            _source_cell(apart[0]) if apart else Cell("none", ""),
        ])  # fmt: skip
    columns = _source_columns(measured=measured, modelled=modelled)
    rows += [
        [text(target), note(reason, span=len(columns) - 1)]
        for target, reason in _without_sources(tables, set(ranked["target"]))
    ]
    return PageTable(
        "sources", "Best sources for each target", columns, rows, limit=12, empty="There are no targets."
    )


def _source_columns(*, measured: bool, modelled: bool) -> list[Column]:
    """The headings of the table of sources; without measurements, the estimate's alone."""
    of_measurement = [
        Column("Best as measured", help="the source with the least test error, of the same sources"),
        Column(
            "Cost of following",
            numeric=True,
            help="test error of the recommended source less that of the best",
        ),
    ]
    of_models = [
        Column(
            "Dedicated error", numeric=True, help="test error of the network trained for the target itself"
        )
    ]
    return [
        Column("Target"),
        Column(
            "Recommended source",
            help="ranked by bias-corrected H(Y|Z)/H(Y): the share of the target's entropy left",
        ),
        Column("Second"),
        Column("Third"),
        *(of_measurement if measured else []),
        *(of_models if modelled else []),
        Column(
            "Best wide source",
            help="sources with more values than the target say much by their width: set apart",
        ),
    ]


def _without_sources(tables: Tables, ranked: set[str]) -> list[tuple[str, str]]:
    """The targets for which no source could be ranked, each with the reason."""
    constant = constant_tasks(tables)
    targets = tables["tasks"].filter("is_target")["task"].to_list()
    return [
        (target, CONSTANT if target in constant else "no source has a defined estimate for it")
        for target in targets
        if target not in ranked
    ]


def hardness_table(tables: Tables) -> PageTable:
    """The tasks from the hardest to the easiest, with the dedicated network's error once any was trained."""
    split = main_split(tables)
    constant = constant_tasks(tables)
    models = {row["task"]: row for row in tables["source_models"].iter_rows(named=True)}
    order = (
        tables["hardness"].filter(pl.col("split") == split).sort("hardness", descending=True, nulls_last=True)
    )
    rows = []
    for row in order.iter_rows(named=True):
        model = models.get(row["task"], {})
        error = model.get("test_error")
        reason = model.get("undefined_because") or NOT_MEASURED
        rows.append([
            Cell(row["task"], row["task"], detail="constant" if row["task"] in constant else ""),
            Cell(f"{row['n_values']:,}", row["n_values"]),
            _labelled_cell(row),
            value_cell(row["hardness"], number(row["hardness"], 3), "not defined"),
            *([value_cell(error, percent(error), reason)] if models else []),
        ])  # fmt: skip
    columns = [
        Column("Task"),
        Column("Values", numeric=True),
        Column("Labelled images", numeric=True),
        Column("Hardness H(Z), nats", numeric=True, help="entropy of the task's own labels"),
        *(
            [Column("Test error", numeric=True, help="of the network trained for this task")]
            if models
            else []
        ),
    ]
    return PageTable("hardness", "Tasks from hard to easy", columns, rows)


def _labelled_cell(row: Row) -> Cell:
    """The labelled rows of a task; where some images could not be read, of how many."""
    n, labels = row["n"], row.get("n_labels")
    return Cell(f"{n:,}", n, detail="" if labels in {None, n} else f"of {labels:,} labelled")


def residual_table(tables: Tables, *, top: int = 40) -> PageTable:
    """The pairs that lie farthest from their source's line."""
    part = tables["residuals"].filter(pl.col("split") == main_split(tables)).head(top)
    rows = [
        [
            text(row["source"]),
            text(row["target"]),
            Cell(number(row["conditional_entropy"], 3), row["conditional_entropy"]),
            Cell(percent(row["fitted"]), row["fitted"]),
            Cell(percent(row["test_error"]), row["test_error"]),
            Cell(signed(100 * row["residual"], 1) + " points", row["residual"]),
            Cell("worse than expected" if row["residual"] > 0 else "better than expected", row["residual"]),
        ]
        for row in part.iter_rows(named=True)
    ]
    columns = [
        Column("Source"),
        Column("Target"),
        Column("H(Y|Z), nats", numeric=True),
        Column("Expected error", numeric=True, help="from the source's regression line"),
        Column("Measured error", numeric=True),
        Column("Residual", numeric=True),
        Column("Transfer was"),
    ]
    return PageTable(
        "residuals", "Pairs that the estimate misses most", columns, rows, 10, "No transfer was measured."
    )


def first_table(rows: pl.DataFrame, source: str, *, number_of: int = 1, ends: bool = False) -> PageTable:
    """Table 1 for one source: every target, the average last.

    Args:
        rows: what `table_one` returned.
        source: the source.
        number_of: which of the page's wide sources it is, from 1.
        ends: only the five most and the five least transferable targets, and the average.
    """
    measured = rows.select(pl.any_horizontal(pl.col(ACCURACIES).is_not_null().any())).item()
    accuracies = ACCURACIES if measured else []
    if not measured:
        rows = rows.drop_nulls("target")  # the averages are those of accuracies
    if ends:
        targets = len(rows) - 1 if measured else len(rows)
        rows = pl.concat([rows.head(5), rows.slice(targets - 5)])
    cells = [
        [
            text(row["target"] or "average of all"),
            value_cell(row["conditional_entropy"], number(row["conditional_entropy"], 3), ""),
            *(
                value_cell(
                    row[name], (signed if name == "difference" else number)(row[name], 3), NOT_MEASURED
                )
                for name in accuracies
            ),
        ]
        for row in rows.iter_rows(named=True)
    ]
    columns = [
        Column("Target"),
        Column("CE over all images, nats", numeric=True),
        *(Column(name.replace("_", " ").capitalize(), numeric=True) for name in accuracies),
    ]
    key = "table-1" if number_of == 1 else f"table-1-{number_of}"
    if ends:
        caption = f"Table 1, its ends: the five most and the five least transferable targets of {source}"
        return PageTable(f"{key}-ends", caption, columns, cells, limit=len(cells))
    return PageTable(
        key, f"Table 1: from {source} to every target, most transferable first", columns, cells, 10
    )


def published_page_table(rows: pl.DataFrame) -> PageTable:
    """The paper's Table 1 with this study's rows below it."""
    frame = published_table(rows)
    columns = [Column("Row"), *(Column(name, numeric=True) for name in frame.columns[1:])]
    cells = [
        [
            text(row["row"]),
            *(value_cell(row[name], number(row[name], 3), MISSING) for name in frame.columns[1:]),
        ]
        for row in frame.iter_rows(named=True)
    ]
    return PageTable("published", "Table 1 as published, and this study", columns, cells, limit=len(cells))


def benchmark_table(studies: Sequence[tuple[str, Tables]]) -> PageTable:
    """One line a study and number of target values: `overall_correlation` and the hardness correlation."""
    rows = []
    for title, tables in studies:
        hardness = {
            row["task_values"]: row
            for row in rows_of_split(tables["hardness_correlation"], main_split(tables))
        }
        for row in rows_of_split(tables["overall_correlation"], main_split(tables)):
            hard = hardness.get(row["target_values"], {}).get("pearson_r")
            first = [text(title), Cell(f"{row['target_values']}", row["target_values"])]
            last = value_cell(hard, number(hard), NOT_MEASURED)
            if row["median_r"] is None:
                rows.append(
                    [*first, note(f"not defined: {row['undefined_because'] or MISSING}", span=8), last]
                )
                continue
            rows.append([
                *first,
                Cell(f"{row['n_defined']}", row["n_defined"]),
                Cell(f"{row['n_targets']}", row["n_targets"]),
                Cell(number(row["median_r"]), row["median_r"],
                     detail=interval(row["median_r_low"], row["median_r_high"])),
                Cell(interval(row["min_r"], row["max_r"]), row["min_r"]),
                Cell(percent(row["share_significant"], 0), row["share_significant"]),
                Cell(number(row["median_entropy_r"]), row["median_entropy_r"]),
                Cell(signed(row["median_difference"]), row["median_difference"],
                     detail=interval(row["median_difference_low"], row["median_difference_high"])),
                Cell(number(row["within_target_r"]), row["within_target_r"],
                     detail=interval(row["within_target_r_low"], row["within_target_r_high"])),
                last,
            ])  # fmt: skip
    columns = [
        Column("Study"),
        Column("Target values", numeric=True),
        Column("Sources", numeric=True, help="with a defined correlation"),
        Column("Targets", numeric=True),
        Column("Median r", numeric=True, help="of H(Y|Z) with the transfer error; 95 % interval over tasks"),
        Column("Range", numeric=True),
        Column("Significant", numeric=True, help="sources with r > 0 and q < 0.05"),
        Column("r of H(Y) alone", numeric=True, help="median over sources"),
        Column("Lead", numeric=True, help="median over sources, with its 95 % interval over tasks"),
        Column("r within targets", numeric=True, help="each target's mean taken out: do the sources rank?"),
        Column("Hardness r", numeric=True, help="of H(Z) with the dedicated test error"),
    ]
    return PageTable(
        "overall", "Transfer and hardness, study by study", columns, rows, 50, "There are no studies."
    )
