"""The correlation tables: the paper's numbers over all targets, and what goes beyond them without twins."""

import warnings

import polars as pl
import pytest
from scipy import stats

from assets.reports.correlations import (
    HARDNESS_CORRELATION,
    TRANSFER_CORRELATION,
    hardness_correlation,
    transfer_correlation,
)
from assets.reports.derive import with_report_tables


@pytest.fixture(scope="module")
def table(digits_report):
    return digits_report["transfer_correlation"]


def one(frame, **where):
    return frame.filter(**where).row(0, named=True)


def tiny(errors, entropies, *, values=2, constant=()):
    """One source `z` and a target for every error."""
    names = [f"y{i}" for i in range(len(errors))]
    tasks = pl.DataFrame({"task": ["z", *names], "n_values": [2, *[values] * len(names)], "is_source": True,
                          "is_target": True})  # fmt: skip
    entropy = pl.DataFrame({
        "split": "train", "source": "z", "target": names, "conditional_entropy": entropies,
        "target_entropy": [0.6 + 0.01 * i for i in range(len(names))], "n": 100, "undefined_because": None,
    })  # fmt: skip
    transfer = pl.DataFrame({"source": "z", "target": names, "test_error": errors,
                             "constant_target": [name in constant for name in names]},
                            schema_overrides={"test_error": pl.Float64})  # fmt: skip
    return entropy, transfer, tasks


def test_equals_scipy_on_a_join_of_the_stored_tables(digits, table):
    pairs = (
        digits["conditional_entropy"].join(digits["transfer"], on=["source", "target"]).filter(split="train")
    )
    for source in ("is_2", "even", "segment_a"):
        part = pairs.filter(source=source)
        x, y = part["conditional_entropy"].to_numpy(), part["test_error"].to_numpy()
        row = one(table, source=source, split="train", target_values=2)
        assert row["n_targets"] == len(x) == 27
        assert (row["pearson_r"], row["pearson_p"]) == pytest.approx(tuple(stats.pearsonr(x, y)), rel=1e-10)
        assert row["spearman_r"] == pytest.approx(stats.spearmanr(x, y).statistic, rel=1e-10)
        assert row["kendall_tau"] == pytest.approx(stats.kendalltau(x, y).statistic, rel=1e-10)
        assert row["weighted_tau"] == pytest.approx(stats.weightedtau(-x, -y).statistic, rel=1e-10)
        assert (row["slope"], row["intercept"]) == pytest.approx(stats.linregress(x, y)[:2], rel=1e-10)


def test_duplicates_count_for_the_paper_and_not_for_the_rest(digits, table):
    row = one(table, source="is_2", split="train")
    assert row["n_equivalent"] == 1
    part = digits["conditional_entropy"].join(digits["transfer"], on=["source", "target"])
    part = part.filter((pl.col("source") == "is_2") & (pl.col("split") == "train") & ~pl.col("equivalent"))
    distinct = stats.pearsonr(part["conditional_entropy"].to_numpy(), part["test_error"].to_numpy()).statistic
    assert row["distinct_pearson_r"] == pytest.approx(distinct, rel=1e-9)
    assert row["distinct_pearson_r"] != pytest.approx(row["pearson_r"], abs=1e-4)
    assert row["difference"] == pytest.approx(row["distinct_pearson_r"] - row["entropy_r"], rel=1e-9)


def test_a_source_that_determines_everything_is_named_and_does_not_warn(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = transfer_correlation(
            digits["conditional_entropy"], digits["transfer"], digits["tasks"], resamples=50
        )
    row = one(found, source="digit", split="train")
    assert row["undefined_because"] == (
        "the source determines every target: conditional entropy is 0 for all of them"
    )
    numbers = [name for name, dtype in TRANSFER_CORRELATION.items() if dtype == pl.Float64]
    assert all(row[name] is None for name in numbers)


def test_no_nan_anywhere(digits_report):
    for name in (
        "transfer_correlation",
        "hardness_correlation",
        "overall_correlation",
        "target_ranking",
        "residuals",
    ):
        for column in digits_report[name].select(pl.selectors.float()):
            assert not column.is_nan().any(), (name, column.name)


def test_both_splits_and_all_sources_have_a_row(table, digits):
    assert len(table) == 2 * 29
    assert table.schema == TRANSFER_CORRELATION
    assert set(table["split"]) == {"train", "all"}


def test_benjamini_hochberg_by_its_definition(table):
    part = table.filter(split="train").drop_nulls("pearson_p").sort("pearson_p")
    p, m = part["pearson_p"].to_list(), len(part)
    expected = [min(p[j] * m / (j + 1) for j in range(i, m)) for i in range(m)]
    assert part["q_value"].to_list() == pytest.approx(expected, rel=1e-9)
    harmonic = sum(1 / (i + 1) for i in range(m))
    assert part["q_value_any_dependence"].to_list() == pytest.approx(
        [min(1.0, q * harmonic) for q in expected], rel=1e-9
    )


def test_intervals_contain_their_value(table):
    part = table.filter(pl.col("undefined_because").is_null())
    assert (part["ci_low"] < part["pearson_r"]).all()
    assert (part["pearson_r"] < part["ci_high"]).all()
    assert (part["bootstrap_low"] < part["distinct_pearson_r"]).all()
    assert (part["distinct_pearson_r"] < part["bootstrap_high"]).all()


def test_constant_targets_are_left_out_and_counted():
    errors, entropies = [0.1, 0.2, 0.25, 0.0], [0.1, 0.3, 0.4, 0.0]
    row = one(transfer_correlation(*tiny(errors, entropies, constant={"y3"}), resamples=50))
    assert (row["n_targets"], row["n_constant"]) == (3, 1)
    assert row["pearson_r"] == pytest.approx(stats.pearsonr(entropies[:3], errors[:3]).statistic)


def test_targets_with_other_numbers_of_values_are_another_group():
    entropy, transfer, tasks = tiny([0.1, 0.2, 0.3, 0.7, 0.8], [0.1, 0.2, 0.4, 1.5, 1.6])
    tasks = tasks.with_columns(
        pl.when(pl.col("task").is_in(["y3", "y4"])).then(10).otherwise(2).alias("n_values")
    )
    found = transfer_correlation(entropy, transfer, tasks, resamples=50)
    assert one(found, target_values=2)["n_targets"] == 3
    ten = one(found, target_values=10)
    assert ten["pearson_r"] is None
    assert "at least 3 targets with 10 values" in ten["undefined_because"]


@pytest.mark.parametrize(
    ("errors", "entropies", "reason"),
    [
        ([None, None, None], [0.1, 0.2, 0.3], "no probe has been measured"),
        ([0.2, 0.2, 0.2], [0.1, 0.2, 0.3], "test error is 0.2 for all 3"),
        ([0.1, 0.2, 0.3], [0.4, 0.4, 0.4], "conditional entropy is 0.4 for all 3"),
        ([0.1, 0.2, 0.3], [None, None, None], "no conditional entropy is defined"),
    ],
)
def test_other_undefined_cases_are_named(errors, entropies, reason):
    row = one(transfer_correlation(*tiny(errors, entropies), resamples=50))
    assert reason in row["undefined_because"]
    assert row["q_value"] is None


def test_without_any_transfer_every_source_says_so(digits):
    empty = digits["transfer"].clear()
    found = transfer_correlation(digits["conditional_entropy"], empty, digits["tasks"], resamples=50)
    assert set(found["undefined_because"]) == {"no probe has been measured"}


def test_hardness_equals_scipy_and_groups_by_values(digits, digits_report):
    found = digits_report["hardness_correlation"]
    assert found.schema == HARDNESS_CORRELATION
    points = digits["hardness"].join(digits["source_models"], on="task").filter(split="train", n_values=2)
    row = one(found, split="train", task_values=2)
    expected = stats.pearsonr(points["hardness"].to_numpy(), points["test_error"].to_numpy())
    assert (row["n_tasks"], row["pearson_r"]) == (28, pytest.approx(expected.statistic, rel=1e-10))
    ten = one(found, split="train", task_values=10)
    assert ten["undefined_because"] == (
        "a correlation needs at least 3 tasks with 10 values and a measured test error; there are 1"
    )


def test_hardness_leaves_out_sources_without_a_test_error(digits):
    models = digits["source_models"].with_columns(
        pl.when(pl.col("task") == "even").then(None).otherwise(pl.col("test_error")).alias("test_error")
    )
    found = hardness_correlation(digits["hardness"], models, digits["tasks"])
    assert one(found, split="train", task_values=2)["n_tasks"] == 27


def test_given_tables_are_not_computed_again(digits, table):
    marked = table.with_columns(pl.lit(0.123).alias("pearson_r"))
    kept = with_report_tables({**digits, "transfer_correlation": marked}, resamples=20)[
        "transfer_correlation"
    ]
    assert kept.equals(marked)
