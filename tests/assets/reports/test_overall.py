"""What is said of all sources together, and the honest comparison with the target's own entropy."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from assets.reports.correlations import transfer_correlation
from assets.reports.overall import OVERALL_CORRELATION, overall_correlation
from assets.reports.pairs import equivalence_classes, joined_pairs


@pytest.fixture(scope="module")
def row(digits_report):
    return digits_report["overall_correlation"].filter(split="train").row(0, named=True)


def distinct_pairs(tables):
    pairs = joined_pairs(tables["conditional_entropy"], tables["transfer"], tables["tasks"])
    return pairs.filter((pl.col("split") == "train") & pl.col("usable") & ~pl.col("equivalent"))


def test_counts(row, digits_report):
    assert digits_report["overall_correlation"].schema == OVERALL_CORRELATION
    assert (row["n_sources"], row["n_defined"], row["n_targets"]) == (29, 28, 28)
    # is_2 and segment c, curved strokes and segment d: each pair in both directions.
    assert row["n_equivalent"] == 4
    assert row["n_pairs"] == 28 * 28 - 4
    rows = digits_report["transfer_correlation"].filter(split="train")
    assert row["n_significant"] == len(rows.filter((pl.col("q_value") < 0.05) & (pl.col("pearson_r") > 0)))


def test_median_and_pooled_against_scipy(row, digits_report):
    pairs = distinct_pairs(digits_report)
    rs = []
    for _, part in pairs.group_by("source"):
        x, y = part["conditional_entropy"].to_numpy(), part["test_error"].to_numpy()
        if np.ptp(x) > 0:
            rs.append(stats.pearsonr(x, y).statistic)
    assert row["median_r"] == pytest.approx(np.median(rs), rel=1e-9)
    pooled = stats.pearsonr(pairs["conditional_entropy"].to_numpy(), pairs["test_error"].to_numpy()).statistic
    assert row["pooled_r"] == pytest.approx(pooled, rel=1e-9)


def test_within_target_is_the_pooled_correlation_of_what_targets_do_not_explain(row, digits_report):
    pairs = distinct_pairs(digits_report).with_columns(
        (pl.col(name) - pl.col(name).mean().over("target")).alias(name)
        for name in ("conditional_entropy", "test_error")
    )
    expected = np.corrcoef(pairs["conditional_entropy"], pairs["test_error"])[0, 1]
    assert row["within_target_r"] == pytest.approx(expected, rel=1e-9)


def test_intervals_enclose_their_statistic(row):
    for name in ("median_r", "median_entropy_r", "pooled_r", "within_target_r"):
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]


def study(rng, n, *, use_source):
    """n tasks whose errors follow H(Y|Z), or the target's entropy alone."""
    names = [f"t{i}" for i in range(n)]
    h = rng.uniform(0.2, 0.69, n)
    left = rng.uniform(0.3, 1, (n, n))
    rows, errors = [], []
    for s in range(n):
        for t in range(n):
            if s != t:
                ce = h[t] * left[s, t]
                rows.append(("train", names[s], names[t], ce, h[t], 100, None))
                value = (ce if use_source else h[t]) / 2 + 0.02 * rng.normal()
                errors.append((names[s], names[t], value))
    entropy = pl.DataFrame(rows, orient="row", schema={
        "split": pl.String, "source": pl.String, "target": pl.String, "conditional_entropy": pl.Float64,
        "target_entropy": pl.Float64, "n": pl.Int64, "undefined_because": pl.String,
    })  # fmt: skip
    transfer = pl.DataFrame(errors, orient="row", schema=["source", "target", "test_error"])
    tasks = pl.DataFrame({"task": names, "n_values": 2, "is_source": True, "is_target": True})
    return entropy, transfer, tasks


@pytest.mark.parametrize("use_source", [True, False])
def test_the_baseline_is_beaten_where_the_source_matters_and_not_where_it_does_not(use_source):
    entropy, transfer, tasks = study(np.random.default_rng(2), 14, use_source=use_source)
    by_source = transfer_correlation(entropy, transfer, tasks, resamples=200)
    row = overall_correlation(by_source, entropy, transfer, tasks, resamples=300).row(0, named=True)
    if use_source:
        assert row["median_difference_low"] > 0
        assert row["within_target_r_low"] > 0.5
        assert row["n_better_than_entropy"] > row["n_worse_than_entropy"]
    else:
        assert row["median_difference_high"] < 0
        assert row["within_target_r_low"] < 0 < row["within_target_r_high"]
        assert row["n_better_than_entropy"] == 0


def test_undefined_for_all_sources_is_named(digits):
    only = digits["transfer"].filter(source="digit")
    entropy = digits["conditional_entropy"].filter(source="digit")
    by_source = transfer_correlation(entropy, only, digits["tasks"], resamples=20)
    row = overall_correlation(by_source, entropy, only, digits["tasks"], resamples=20).row(0, named=True)
    assert row["median_r"] is None
    assert row["undefined_because"].startswith("the source determines every target")


def test_equivalence_classes_join_chains():
    pairs = pl.DataFrame(
        {"source": ["a", "b", "d"], "target": ["b", "c", "e"], "equivalent": [True, True, False]}
    )
    assert equivalence_classes(pairs, ["a", "b", "c", "d", "e"]) == {"a": 0, "b": 0, "c": 0, "d": 1, "e": 2}
