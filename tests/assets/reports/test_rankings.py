"""Best sources, what following them costs, residuals, and Table 1."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from assets.reports.published import CELEBA_ATTRIBUTES
from assets.reports.rankings import best_sources, target_ranking
from assets.reports.table_one import published_table, table_one, wide_sources


def test_best_sources_rank_by_corrected_share_and_set_wide_and_duplicates_apart(digits_report):
    part = digits_report["best_sources"].filter(split="train", target="is_2")
    fair = part.filter(~pl.col("wide") & ~pl.col("equivalent"))
    assert fair["rank"].to_list() == list(range(1, len(fair) + 1))
    assert fair["corrected_normalised"].is_sorted()
    assert fair["source"][0] == "three_letters"
    assert part.filter("wide")["source"].to_list() == ["digit"]
    assert part.filter("equivalent")["source"].to_list() == ["segment_c"]
    assert part.filter("wide")["rank"].to_list() == [1]


def test_constant_targets_and_undefined_pairs_have_no_best_source(digits):
    entropy = digits["conditional_entropy"].with_columns(
        pl.when(pl.col("target") == "even")
        .then(0.0)
        .otherwise(pl.col("target_entropy"))
        .alias("target_entropy")
    )
    found = best_sources(entropy, digits["transfer"], digits["source_models"], digits["tasks"])
    assert "even" not in found["target"]


def test_a_constant_source_has_no_rank_in_any_split(digits):
    names = ("transfer", "source_models", "tasks")
    entropy = digits["conditional_entropy"]
    constant = (pl.col("source") == "even").alias("constant")
    here = entropy.with_columns(
        pl.when(constant).then(1).otherwise("n_source_values").alias("n_source_values")
    )
    found = best_sources(here, *(digits[name] for name in names))
    assert "even" not in found["source"]
    assert "prime" in found["source"]
    tasks = digits["tasks"].with_columns(constant_in_train=pl.col("task") == "even")
    found = best_sources(entropy, digits["transfer"], digits["source_models"], tasks)
    assert "even" not in found["source"]
    assert "even" in found["target"]


def test_following_the_estimate_costs_what_the_table_of_errors_says(digits, digits_report):
    row = digits_report["target_ranking"].filter(split="train", target="prime").row(0, named=True)
    errors = dict(
        digits["transfer"].filter(pl.col("target") == "prime", pl.col("source") != "digit")
        .select("source", "test_error").iter_rows()
    )  # fmt: skip
    assert row["n_sources"] == len(errors) == 27
    assert row["best_error"] == min(errors.values())
    assert row["regret"] == pytest.approx(errors[row["chosen_source"]] - min(errors.values()))
    assert row["random_regret"] == pytest.approx(np.mean(list(errors.values())) - min(errors.values()))


def test_without_measurement_the_ranking_says_so(digits, digits_report):
    bare = digits_report["best_sources"].with_columns(pl.lit(None, pl.Float64).alias("test_error"))
    found = target_ranking(bare, digits["tasks"])
    assert set(found["undefined_because"]) == {"no probe for this target has been measured"}
    assert found["regret"].null_count() == len(found)


def test_residuals_are_those_of_the_regression(digits, digits_report):
    part = digits_report["residuals"].filter(split="train", source="even")
    fit = stats.linregress(part["conditional_entropy"].to_numpy(), part["test_error"].to_numpy())
    expected = part["test_error"] - fit.intercept - fit.slope * part["conditional_entropy"]
    assert part["residual"].to_list() == pytest.approx(expected.to_list(), abs=1e-12)
    assert part["residual"].sum() == pytest.approx(0, abs=1e-9)
    every = digits_report["residuals"]["residual"].abs()
    assert every.is_sorted(descending=True)
    assert "digit" not in digits_report["residuals"]["source"]


def test_table_one_is_sorted_and_averages_what_has_both(digits):
    assert wide_sources(digits["tasks"]) == ["digit"]
    names = ("conditional_entropy", "transfer", "source_models", "tasks")
    rows = table_one(*(digits[name] for name in names), source="even", split="all")
    body, last = rows.filter(pl.col("target").is_not_null()), rows.row(-1, named=True)
    assert body["conditional_entropy"].is_sorted()
    assert last["target"] is None
    assert last["difference"] == pytest.approx(body["difference"].mean())
    errors = digits["transfer"].filter(source="even", target=body["target"][0])["test_error"][0]
    assert body["transferred_accuracy"][0] == pytest.approx(1 - errors)


def test_published_rows_stand_beside_ones_own():
    names = [*CELEBA_ATTRIBUTES, None]
    own = pl.DataFrame({
        "target": names, "conditional_entropy": [0.01 * i for i in range(10)] + [None],
        "dedicated_accuracy": [0.9] * 11, "transferred_accuracy": [0.8] * 11,
    })  # fmt: skip
    table = published_table(own)
    assert len(table) == 8 + 3 + 3
    dmtl = table.filter(row="DMTL 2018").row(0, named=True)
    assert (dmtl["Male"], dmtl["average"]) == (0.980, 0.926)
    mine = table.filter(row="transferred (this study)").row(0, named=True)
    assert (mine["Smiling"], mine["average"]) == (0.8, 0.8)
    paper = table.filter(row="CE, nats (paper)").row(0, named=True)
    assert [paper[name] for name in CELEBA_ATTRIBUTES] == sorted(paper[name] for name in CELEBA_ATTRIBUTES)
