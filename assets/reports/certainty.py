"""How far the estimates can be trusted, as cells: Theorem 1 for every source, and the uncertainty of H(Y|Z).

Both are read from the tables `bound` and `label_uncertainty`; nothing is estimated or drawn here.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from assets.reports.derive import Tables, main_split
from assets.reports.formatting import (
    MISSING,
    Cell,
    Column,
    PageTable,
    count,
    interval,
    note,
    number,
    p_value,
    text,
    value_cell,
)

Row = Mapping[str, Any]
FLOOR = pl.col("source_log_likelihood") - pl.col("conditional_entropy")
"""The right-hand side of Theorem 1: l_Z - H(Y|Z), nats."""


def defined_bounds(tables: Tables) -> pl.DataFrame:
    """The pairs for which Theorem 1 could be checked, with `floor`, its right-hand side; empty while none was."""
    bound = tables.get("bound")
    if bound is None or bound.is_empty():
        return pl.DataFrame()
    return _defined(bound)


def _defined(bound: pl.DataFrame) -> pl.DataFrame:
    return bound.filter(pl.col("slack").is_not_null()).with_columns(FLOOR.alias("floor"))


def bound_sentences(tables: Tables) -> list[str]:
    """What the check of Theorem 1 gave over all pairs, one sentence each; none while nothing was checked."""
    pairs = defined_bounds(tables)
    if pairs.is_empty():
        return []
    (least, middle, most) = (
        pairs.select(
            pl.col("slack").min().alias("least"),
            pl.col("slack").median().alias("middle"),
            pl.col("slack").max().alias("most"),
        )
    ).row(0)
    failed = int(pairs["n_violations"].fill_null(0).sum())
    verdict = "it holds on every row" if failed == 0 else f"it fails on {count(failed, 'row')}"
    sentences = [
        f"Checked for {count(len(pairs), 'pair')}, row by row: {verdict}. The slack, the left side less the right, "
        f"runs from {number(least, 3)} to {number(most, 3)} nats with a median of {number(middle, 3)}."
    ]
    probed = pairs.drop_nulls("probe_log_likelihood")
    if len(probed):
        above = probed.filter(pl.col("probe_log_likelihood") >= pl.col("floor"))
        sentences.append(
            f"A logistic probe fitted to the embedding lies above the bound for {len(above)} of "
            f"{count(len(probed), 'pair')}."
        )
    return sentences


def bound_table(tables: Tables) -> PageTable:
    """Theorem 1 source by source: violations, the slack's distribution, and the log-likelihoods it compares."""
    rows = []
    bound = tables.get("bound", pl.DataFrame())
    parts = bound.group_by("source", maintain_order=True) if len(bound) else ()
    for (source,), part in parts:
        defined = _defined(part)
        if defined.is_empty():
            reason = part["undefined_because"].drop_nulls()
            shown = reason[0] if len(reason) else MISSING
            rows.append([text(str(source)), Cell("0", 0), note(f"not defined: {shown}", span=8)])
            continue
        failed = int(defined["n_violations"].fill_null(0).sum())
        summary = defined.select(
            pl.col("slack").min().alias("least"),
            pl.col("slack").quantile(0.25, "linear").alias("low"),
            pl.col("slack").median().alias("middle"),
            pl.col("slack").quantile(0.75, "linear").alias("high"),
            pl.col("slack").max().alias("most"),
            pl.col("floor").mean(),
            pl.col("kbar_log_likelihood").mean().alias("kbar"),
            pl.col("probe_log_likelihood").mean().alias("probe"),
        ).row(0, named=True)
        rows.append([
            text(str(source)),
            Cell(f"{len(defined)}", len(defined)),
            Cell(f"{failed}", failed),
            *(Cell(number(summary[name], 3), summary[name]) for name in ("least", "middle", "most")),
            Cell(interval(summary["low"], summary["high"], 3), summary["low"]),
            *(Cell(number(summary[name], 3), summary[name]) for name in ("floor", "kbar")),
            value_cell(summary["probe"], number(summary["probe"], 3), "not measured"),
        ])  # fmt: skip
    columns = [
        Column("Source"),
        Column("Pairs", numeric=True),
        Column("Rows that violate it", numeric=True, help="training rows on which the inequality fails"),
        Column("Least slack", numeric=True, help="nats; never negative if the theorem holds"),
        Column("Median slack", numeric=True, help="over targets, nats"),
        Column("Largest slack", numeric=True),
        Column("Middle half", numeric=True, help="first to third quartile of the slack over targets"),
        Column("Bound l_Z − H(Y|Z)", numeric=True, help="right side of Theorem 1, mean over targets, nats"),
        Column(
            "l_Y of k̄",
            numeric=True,
            help="log-likelihood of the classifier of the proof (Eq. 9), mean over targets",
        ),
        Column(
            "l_Y of a probe", numeric=True, help="of a logistic probe on the embedding, mean over targets"
        ),
    ]
    return PageTable("bound", "Theorem 1, source by source", columns, rows, 10, "No bound has been computed.")


def uncertainty_sentence(tables: Tables) -> str | None:
    """How many pairs say more about each other than shuffled labels would; None without the table."""
    rows = _uncertain_pairs(tables)
    if rows.is_empty():
        return None
    beyond = rows.filter(pl.col("conditional_entropy") < pl.col("null_q05"))
    return (
        f"For {len(beyond):,} of {count(len(rows), 'pair')} H(Y|Z) lies below what 95 % of shuffles of the source's "
        "labels give; if no source told anything, about 5 % of pairs would."
    )


def uncertainty_table(tables: Tables) -> PageTable:
    """The recommended and the best wide source of each target, with interval and chance level of H(Y|Z)."""
    split = main_split(tables)
    first = (
        tables["best_sources"]
        .filter(pl.col("split") == split, ~pl.col("equivalent"), pl.col("rank") == 1)
        .select("target", "source", (pl.col("wide") | pl.col("near_unique")).alias("apart"))
    )
    pairs = _uncertain_pairs(tables)
    shown = (
        first.join(pairs, on=["source", "target"], how="inner", maintain_order="left")
        if len(pairs)
        else first.clear()
    )
    rows = [_uncertainty_row(row) for row in shown.iter_rows(named=True)]
    columns = [
        Column("Target"),
        Column("Source", help="the recommended one, and the best of the wide ones"),
        Column("H(Y|Z), counted", numeric=True, help="plug-in estimate from the counts, nats"),
        Column("Corrected", numeric=True, help="for the bias that many source values bring, nats"),
        Column("95 % interval", numeric=True, help="of the corrected value"),
        Column(
            "Shuffled, mean", numeric=True, help="counted H(Y|Z) when the source's labels are shuffled, nats"
        ),
        Column("Shuffled, 5 % to 95 %", numeric=True),
        Column("p", numeric=True, help="share of shuffles with as small an H(Y|Z)"),
        Column("Verdict"),
    ]
    return PageTable(
        "uncertainty", "How sure is H(Y|Z)? Recommended and best wide source of each target", columns, rows, 10,
        "The uncertainty has not been computed.",
    )  # fmt: skip


def _uncertain_pairs(tables: Tables) -> pl.DataFrame:
    uncertainty = tables.get("label_uncertainty")
    if uncertainty is None or uncertainty.is_empty():
        return pl.DataFrame()
    split = main_split(tables)
    counted = (
        tables["conditional_entropy"].filter(split=split).select("source", "target", "conditional_entropy")
    )
    return (
        uncertainty.filter(split=split)
        .drop_nulls(["corrected", "null_mean"])
        .join(counted, on=["source", "target"], how="inner", maintain_order="left")
    )


def _uncertainty_row(row: Row) -> list[Cell]:
    return [
        text(row["target"]),
        Cell(row["source"], row["source"], detail="wide" if row["apart"] else ""),
        *(Cell(number(row[name], 3), row[name]) for name in ("conditional_entropy", "corrected")),
        Cell(interval(row["ci_low"], row["ci_high"], 3), row["ci_low"]),
        Cell(number(row["null_mean"], 3), row["null_mean"]),
        Cell(interval(row["null_q05"], row["null_q95"], 3), row["null_q05"]),
        Cell(p_value(row["p_value"]), row["p_value"]),
        Cell("more than chance" if row["conditional_entropy"] < row["null_q05"] else "may be chance", ""),
    ]
