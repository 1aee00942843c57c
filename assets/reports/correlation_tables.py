"""The page's tables of correlations: source by source, all sources together, and target by target."""

from collections.abc import Iterator
from dataclasses import dataclass

from assets.reports.derive import Row, Tables, main_split, rows_of_split
from assets.reports.formatting import (
    Cell,
    Column,
    PageTable,
    count,
    interval,
    note,
    number,
    p_value,
    percent,
    signed,
    text,
    value_cell,
)
from assets.reports.summary import points


def _with_p(r: float | None, p: float | None) -> Cell:
    """A correlation with its p-value."""
    if r is None or p is None:
        return value_cell(r, number(r))
    shown = p_value(p)
    return Cell(f"{number(r)}, p {shown if shown.startswith('<') else f'= {shown}'}", r)


def correlation_table(tables: Tables) -> PageTable:
    """Every source's correlation with all that qualifies it."""
    rows = []
    for row in rows_of_split(tables["transfer_correlation"], main_split(tables)):
        reason = row["undefined_because"]
        left_out = row["n_constant"] or 0
        first = [text(row["source"]), Cell(f"{row['target_values']}", row["target_values"]),
                 Cell(f"{row['n_targets']}", row["n_targets"],
                      detail=f"{left_out} constant left out" if left_out else "")]  # fmt: skip
        if reason is not None:
            rows.append([*first, note(f"not defined: {reason}", span=12)])
            continue
        rows.append([
            *first,
            Cell(number(row["pearson_r"], 3), row["pearson_r"]),
            Cell(interval(row["ci_low"], row["ci_high"]), row["ci_low"]),
            Cell(interval(row["bootstrap_low"], row["bootstrap_high"]), row["bootstrap_low"]),
            Cell(p_value(row["pearson_p"]), row["pearson_p"]),
            Cell(p_value(row["q_value"]), row["q_value"]),
            Cell(number(row["spearman_r"]), row["spearman_r"]),
            Cell(number(row["kendall_tau"]), row["kendall_tau"]),
            Cell(number(row["weighted_tau"]), row["weighted_tau"]),
            Cell(signed(row["difference"]), row["difference"]),
            Cell(p_value(row["williams_p"]), row["williams_p"]),
            _with_p(row["partial_r"], row["partial_p"]),
            _with_p(row["information_r"], row["information_p"]),
        ])  # fmt: skip
    columns = [
        Column("Source"),
        Column("Target values", numeric=True, help="targets with this number of values form the group"),
        Column("Targets", numeric=True),
        Column("Pearson r", numeric=True, help="of H(Y|Z) with test error, over targets"),
        Column("95 % (Fisher)", numeric=True, help="interval of r as if the targets were independent"),
        Column("95 % (tasks)", numeric=True, help="bootstrap over tasks, duplicates left out"),
        Column("p", numeric=True, help="of r; two-sided"),
        Column("q", numeric=True, help="p after Benjamini–Hochberg over sources"),
        Column("Spearman", numeric=True, help="rank correlation of H(Y|Z) with test error"),
        Column("Kendall τ", numeric=True, help="pairs of targets in the same order less pairs in the other"),
        Column(
            "Weighted τ",
            numeric=True,
            help="Kendall's τ in which the most transferable targets weigh most",
        ),
        Column("Lead over H(Y)", numeric=True, help="r of H(Y|Z) less r of the target's own entropy"),
        Column("p of lead", numeric=True, help="Williams' test of two dependent correlations"),
        Column(
            "r given H(Y)",
            numeric=True,
            help="partial correlation of H(Y|Z) with test error: what is left once the target's own entropy is known",
        ),
        Column(
            "r of information",
            numeric=True,
            help="of I(Y;Z) = H(Y) − H(Y|Z) with the reduction of the error below that of the majority guess",
        ),
    ]
    return PageTable("correlations", "Correlation for every source", columns, rows)


@dataclass(frozen=True)
class _Statistic:
    """A line of the overall table: a column of `overall_correlation` in words."""

    name: str
    label: str
    meaning: str
    interval: bool = False


_OVERALL = (
    _Statistic("median_r", "Median r", "of H(Y|Z) with transfer error, median over sources", interval=True),
    _Statistic("min_r", "Smallest r", "of a source"),
    _Statistic("max_r", "Largest r", "of a source"),
    _Statistic(
        "median_entropy_r",
        "Median r of H(Y) alone",
        "the target's own entropy as the estimate",
        interval=True,
    ),
    _Statistic(
        "median_difference",
        "Median lead over H(Y)",
        "r of H(Y|Z) less r of H(Y) alone, by source",
        interval=True,
    ),
    _Statistic(
        "median_partial_r", "Median r given H(Y)", "partial correlation once H(Y) is known, by source"
    ),
    _Statistic(
        "median_information_r",
        "Median r of information",
        "I(Y;Z) with the reduction of the error below the majority guess's, by source",
    ),
    _Statistic("median_spearman_r", "Median Spearman", "rank correlation, by source"),
    _Statistic("median_kendall_tau", "Median Kendall τ", "agreement in order, by source"),
    _Statistic(
        "median_weighted_tau",
        "Median weighted τ",
        "the same with most weight on the most transferable targets",
    ),
    _Statistic("pooled_r", "r over all pairs", "sources and targets together", interval=True),
    _Statistic(
        "pooled_entropy_r",
        "r of H(Y) over all pairs",
        "the target's own entropy as the estimate",
        interval=True,
    ),
    _Statistic(
        "within_target_r",
        "r within targets",
        "each target's mean taken out: do the sources of a target rank as estimated?",
        interval=True,
    ),
)


def _overall_rows(row: Row) -> Iterator[list[Cell]]:
    values = Cell(f"{row['target_values']}", row["target_values"])
    for line in _OVERALL:
        value = row[line.name]
        shown = signed(value) if line.name == "median_difference" else number(value)
        low, high = (row.get(f"{line.name}_{end}") for end in ("low", "high"))
        known = line.interval and value is not None
        yield [
            Cell(line.label, line.label, detail=line.meaning),
            value_cell(value, shown),
            Cell(interval(low, high), low) if known else text(""),
            values,
        ]
    counted = (
        ("Significant sources", "n_significant", f"of {row['n_defined']}: r > 0 and q < 0.05"),
        ("Better than H(Y)", "n_better_than_entropy", "sources whose lead is positive, Williams' p < 0.05"),
        ("Worse than H(Y)", "n_worse_than_entropy", "sources whose lead is negative, Williams' p < 0.05"),
        ("Pairs", "n_pairs", f"over {count(row['n_targets'], 'target')}, without duplicates and complements"),
        ("Duplicate pairs", "n_equivalent", "left out: the same task twice"),
    )
    for label, name, meaning in counted:
        value = row[name]
        first = Cell(label, label, detail=meaning)
        yield [first, value_cell(value, f"{value or 0:,}"), text(""), values]


def overall_table(tables: Tables) -> PageTable:
    """All sources together, a line a statistic, for each number of target values."""
    rows: list[list[Cell]] = []
    for row in rows_of_split(tables["overall_correlation"], main_split(tables)):
        if row["median_r"] is None:
            reason = row["undefined_because"] or "no source has a correlation"
            values = Cell(f"{row['target_values']}", row["target_values"])
            rows.append([text("Median r"), note(f"not defined: {reason}", span=2), values])
            continue
        rows.extend(_overall_rows(row))
    columns = [
        Column("Statistic"),
        Column("Value", numeric=True),
        Column("95 % interval", numeric=True, help="bootstrap over tasks, duplicates drawn together"),
        Column("Target values", numeric=True, help="targets with this number of values form the group"),
    ]
    return PageTable("overall", "All sources together", columns, rows, limit=18)


def ranking_table(tables: Tables) -> PageTable:
    """For every target: do its sources rank as estimated, and what does it cost to follow the estimate?"""
    rows = []
    for row in rows_of_split(tables["target_ranking"], main_split(tables)):
        first = [text(row["target"]), Cell(f"{row['target_values']}", row["target_values"]),
                 Cell(f"{row['n_sources']}", row["n_sources"])]  # fmt: skip
        reason = row["undefined_because"]
        ranks = ("spearman_r", "spearman_p", "kendall_tau", "weighted_tau")
        if row["best_source"] is None:
            rows.append([*first, note(f"not defined: {reason}", span=8)])
            continue
        rows.append([
            *first,
            *([note(f"not defined: {reason}", span=4)] if reason is not None else [
                value_cell(row[name], (p_value if name == "spearman_p" else number)(row[name])) for name in ranks
            ]),
            Cell(row["chosen_source"], row["chosen_source"], detail=f"error {percent(row['chosen_error'])}"),
            Cell(row["best_source"], row["best_source"], detail=f"error {percent(row['best_error'])}"),
            Cell(points(row["regret"]), row["regret"]),
            Cell(points(row["random_regret"]), row["random_regret"]),
        ])  # fmt: skip
    columns = [
        Column("Target"),
        Column("Values", numeric=True),
        Column(
            "Sources",
            numeric=True,
            help="compared: neither wider than the target, near-unique nor duplicates",
        ),
        Column("Spearman", numeric=True, help="rank correlation of H(Y|Z) with test error over the sources"),
        Column(
            "p", numeric=True, help="of Spearman's correlation; sources are not independent, so it is a guide"
        ),
        Column("Kendall τ", numeric=True, help="pairs of sources in the same order less pairs in the other"),
        Column("Weighted τ", numeric=True, help="Kendall's τ in which the best sources weigh most"),
        Column("Estimated best", help="the source that the labels rank first, and its test error"),
        Column("Measured best", help="the source with the least test error"),
        Column("Cost of following", numeric=True, help="test error of the first less that of the second"),
        Column("Cost of a random source", numeric=True, help="mean test error of the sources less the least"),
    ]
    return PageTable("ranking", "How the sources of each target rank", columns, rows, limit=12)
