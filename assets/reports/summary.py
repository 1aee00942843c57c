"""The answer in words: how well labels predict transfer and hardness, as strongly as the intervals allow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from assets.reports.derive import CERTAIN, Tables, main_group, main_split
from assets.reports.formatting import count, interval, number, p_value, percent, signed
from assets.reports.table_one import wide_sources

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Card:
    """One figure of the headline: the number, what it is, and what it should be read against."""

    value: str
    label: str
    detail: str


@dataclass(frozen=True)
class Summary:
    """The headline of a study: one sentence, cards, and further sentences, each complete in itself."""

    headline: str
    cards: list[Card]
    sentences: list[str]


def first_row(frame: pl.DataFrame, **where: object) -> Row | None:
    """The first row that matches, by column name."""
    found = frame.filter(*[pl.col(name) == value for name, value in where.items()])
    return None if found.is_empty() else found.row(0, named=True)


def _strength(r: float) -> str:
    return "strongly" if r >= 0.8 else "clearly" if r >= 0.5 else "weakly" if r > 0 else "not"


def _within(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" (95 % interval {interval(low, high)})"


def points(share: float) -> str:
    """A difference of error rates in percentage points."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}points"


def _headline(row: Row) -> str:
    r, low = row["median_r"], row["median_r_low"]
    if r is None:
        return f"No correlation is defined here: {row['undefined_because']}."
    if low is not None and low <= 0:
        return "Whether label statistics predict the transfer error cannot be told from these tasks."
    if r <= 0:
        return "Label statistics do not predict the transfer error here."
    sentence = f"Label statistics, without any model, {_strength(r)} predict the transfer error here"
    lead = row["median_difference_low"]
    if lead is not None and lead <= 0:
        return f"{sentence}; across targets, the source's labels add little to the target's own entropy."
    return f"{sentence}."


def _baseline_sentence(row: Row) -> str | None:
    difference, low, high = (row[f"median_difference{end}"] for end in ("", "_low", "_high"))
    if difference is None:
        return None
    ends = f"{signed(difference)}{_within(low, high)}"
    if low is not None and low > 0:
        verdict = f"Knowing the source adds to it: the lead of H(Y|Z) is {ends}."
    elif high is not None and high < 0:
        verdict = f"That is better than H(Y|Z): its lead is {ends}."
    else:
        verdict = (
            f"The lead of H(Y|Z), {ends}, cannot be told from nothing: across targets, most of the "
            "prediction is how uneven the target itself is."
        )
    return (
        f"The simplest guess, the target's own entropy H(Y) without looking at any source, already reaches a "
        f"median r = {number(row['median_entropy_r'])}. {verdict}"
    )


def _within_sentence(row: Row, ranking: pl.DataFrame) -> str | None:
    r, low, high = (row[f"within_target_r{end}"] for end in ("", "_low", "_high"))
    if r is None:
        return None
    shown = low is not None and low > 0
    what = (
        "does tell better from worse sources" if shown else "is not shown to tell better from worse sources"
    )
    sentence = (
        f"For a given target, where H(Y) is the same for all sources, the estimate {what}: r = {number(r)} "
        f"within targets{_within(low, high)}."
    )
    known = ranking.drop_nulls(["regret", "random_regret"])
    if known.is_empty():
        return sentence
    regret, random = (float(known[name].to_numpy().mean()) for name in ("regret", "random_regret"))
    return (
        f"{sentence} Taking the source it ranks first costs {points(regret)} more test error than the best "
        f"source, on average over {count(len(known), 'target')}; a random source costs {points(random)}."
    )


def _hardness_sentence(row: Row | None) -> str | None:
    if row is None:
        return None
    if row["pearson_r"] is None:
        return (
            f"Hardness against dedicated networks' test error: no correlation ({row['undefined_because']})."
        )
    return (
        f"Estimated hardness H(Z) and the test error of dedicated networks go together with r = "
        f"{number(row['pearson_r'])}{_within(row['ci_low'], row['ci_high'])} over "
        f"{count(row['n_tasks'], 'task')} with {row['task_values']} values (p {p_value(row['pearson_p'])})."
    )


def _cards(row: Row, hardness: Row | None, regrets: pl.DataFrame) -> list[Card]:
    cards = [
        Card(
            number(row["median_r"]),
            "median correlation of H(Y|Z) with test error, over sources",
            f"95 % interval over tasks {interval(row['median_r_low'], row['median_r_high'])}; "
            f"single sources {interval(row['min_r'], row['max_r'])}",
        ),
        Card(
            f"{row['n_significant']} of {row['n_defined']}",
            "sources with a significant positive correlation",
            "5 % false discovery rate, Benjamini–Hochberg",
        ),
        Card(
            signed(row["median_difference"]),
            "lead in r over the target's own entropy H(Y)",
            f"95 % interval {interval(row['median_difference_low'], row['median_difference_high'])}; "
            f"H(Y) alone: {number(row['median_entropy_r'])}",
        ),
    ]
    if hardness is not None and hardness["pearson_r"] is not None:
        detail = f"95 % interval {interval(hardness['ci_low'], hardness['ci_high'])}"
        cards.append(
            Card(number(hardness["pearson_r"]), "correlation of hardness with dedicated test error", detail)
        )
    known = regrets.drop_nulls(["regret", "random_regret"])
    if len(known):
        cards.append(
            Card(
                points(float(known["regret"].to_numpy().mean())),
                "extra test error when following the estimate to a source",
                f"a random source: {points(float(known['random_regret'].to_numpy().mean()))}",
            )
        )
    return cards


def missing_stages(tables: Tables) -> list[str]:
    """What has not been measured yet, one sentence a stage, with what the page shows in its place."""
    sentences = []
    if tables["source_models"]["test_error"].null_count() == len(tables["source_models"]):
        sentences.append(
            "No source models have been trained: hardness is estimated from the labels and not yet compared "
            "with errors."
        )
    if tables["transfer"]["test_error"].null_count() == len(tables["transfer"]):
        sentences.append(
            "No transfer has been measured: sources are ranked by the estimate alone, and it is not yet "
            "known how far that can be trusted for this data set."
        )
    return sentences


def _unconverged_sentence(tables: Tables) -> str | None:
    """How many probes are not the optima that they stand for; None where all are."""
    transfer = tables["transfer"]
    if "converged" not in transfer.columns:
        return None
    short = transfer.filter(~pl.col("converged"))
    if short.is_empty():
        return None
    source, target = short.row(0, named=True)["source"], short.row(0, named=True)["target"]
    return (
        f"{len(short)} of {count(int(transfer['converged'].count()), 'probe')} stopped short of the tolerance that was "
        f"asked for, the first being {source} → {target}: their errors are not quite those of the optimum (column "
        "converged of the table transfer)."
    )


def _label_sentences(tables: Tables) -> list[str]:
    """What the label statistics alone say: the hardest and easiest tasks."""
    split = main_split(tables)
    values = main_group(tables)
    order = tables["hardness"].filter(split=split, n_values=values).drop_nulls("hardness").sort("hardness")
    if order.is_empty():
        return []
    easy, hard = order.row(0, named=True), order.row(-1, named=True)
    return [
        f"By the labels, {hard['task']} is the hardest of {count(len(order), 'task')} "
        f"with {values} values (H = {number(hard['hardness'])} nats) and {easy['task']} the easiest "
        f"(H = {number(easy['hardness'])} nats)."
    ]


def _best_pair_sentences(tables: Tables) -> list[str]:
    """Which pairs the labels recommend most and least, and the sources that are too wide to be ranked."""
    split = main_split(tables)
    ranked = (
        tables["best_sources"]
        .filter(pl.col("split") == split)
        .join(
            tables["tasks"].filter(pl.col("n_values") == main_group(tables)).select(target="task"),
            on="target",
        )
    )
    fair = ~pl.col("wide") & ~pl.col("near_unique") & ~pl.col("equivalent")
    best = (
        ranked.filter(fair, pl.col("rank") == 1)
        .drop_nulls("corrected_normalised")
        .sort("corrected_normalised", "target")
    )
    sentences = []
    if len(best) > 1:
        most, least = best.row(0, named=True), best.row(-1, named=True)
        sentences.append(
            f"Of sources no wider than their target, {most['source']} tells most about {most['target']}, of whose "
            f"entropy it leaves {percent(most['corrected_normalised'], 0)}; {least['target']} is served worst: even "
            f"its best source, {least['source']}, leaves {percent(least['corrected_normalised'], 0)}."
        )
    widths = dict(tables["tasks"].select("task", "n_values").iter_rows())
    for source in wide_sources(tables["tasks"]):
        pairs = ranked.filter(pl.col("source") == source)
        known = pairs.filter(pl.col("conditional_entropy").abs() < CERTAIN)
        if len(known):
            part = "all" if len(known) == len(pairs) else f"{len(known)} of"
            sentences.append(
                f"{source}, with {widths[source]:,} values, determines {part} {count(len(pairs), 'target')} "
                "(H(Y|Z) = 0); the labels cannot say which of those it serves better."
            )
    return sentences


def summarise(tables: Tables) -> Summary:
    """The headline of a study from the complete tables of `with_report_tables`.

    Args:
        tables: the study's tables.

    Returns:
        Headline, cards and sentences; without measured transfer, what the label statistics alone say.
    """
    split = main_split(tables)
    hardness = first_row(tables["hardness_correlation"], split=split, task_values=main_group(tables))
    labels = _label_sentences(tables)
    measured = tables["transfer"]["test_error"].drop_nulls()
    row = first_row(tables["overall_correlation"], split=split, target_values=main_group(tables))
    if row is None or measured.is_empty():
        pairs = _best_pair_sentences(tables)
        sentences = [*pairs, *labels, *filter(None, [_hardness_sentence(hardness)])]
        return Summary("Estimated from labels alone; no transfer has been measured yet.", [], sentences)
    ranking = tables["target_ranking"].filter(pl.col("split") == split)
    median = (
        f"Over {count(row['n_defined'], 'source')} and {count(row['n_targets'], 'target')} with "
        f"{row['target_values']} values, the correlation of H(Y|Z) with the test error of a linear probe "
        f"has a median of {number(row['median_r'])} and runs from {number(row['min_r'])} to "
        f"{number(row['max_r'])}; it is significant for {row['n_significant']} of {row['n_defined']}."
    )
    every: list[str | None] = [
        median if row["median_r"] is not None else None,
        _baseline_sentence(row),
        _within_sentence(row, ranking),
        _hardness_sentence(hardness),
        *labels,
        _unconverged_sentence(tables),
    ]
    cards = _cards(row, hardness, ranking) if row["median_r"] is not None else []
    return Summary(_headline(row), cards, [sentence for sentence in every if sentence])
