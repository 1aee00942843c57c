"""The interval covers the truth, wide sources included; the null is that of shuffled labels; seeds repeat."""

import numpy as np
import polars as pl
import pytest

from assets.statistics.from_labels import count_labels
from assets.statistics.uncertainty import label_uncertainty


def binary_entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(p) + (1 - p) * np.log(1 - p))


def draw(rng: np.random.Generator, weights: np.ndarray, p: np.ndarray, rows: int) -> pl.DataFrame:
    z = rng.choice(len(weights), rows, p=weights)
    return pl.DataFrame({"z": z, "y": (rng.random(rows) < p[z]).astype(np.int8)})


@pytest.mark.parametrize(
    ("name", "values", "rows", "least"),
    [
        ("two values", 2, 500, 0.90),
        ("ten values", 10, 1_800, 0.90),
        ("wide, shuffled: 20 rows a value", 1_000, 20_000, 0.93),
        ("wide, shuffled: 5 rows a value", 1_000, 5_000, 0.93),
        ("wide, informative: 20 rows a value", 1_000, 20_000, 0.93),
    ],
)
def test_interval_covers_the_truth(name: str, values: int, rows: int, least: float) -> None:
    rng = np.random.default_rng(20)
    weights = rng.dirichlet(np.full(values, 5.0))
    p = np.full(values, 0.2) if "shuffled" in name else rng.beta(0.5, 1.5, values).clip(0.01, 0.99)
    truth = float((weights * binary_entropy(p)).sum())
    trials, covered, plug_in_misses = 100, 0, 0
    for _ in range(trials):
        table = label_uncertainty(draw(rng, weights, p, rows), sources=["z"], permutations=1)
        row = table.row(0, named=True)
        covered += row["ci_low"] <= truth <= row["ci_high"]
        plug_in_misses += row["conditional_entropy"] < row["ci_low"]
        assert row["ci_low"] <= row["corrected"] <= row["ci_high"]
    assert covered / trials >= least, name
    if "wide" in name:
        assert (
            plug_in_misses == trials
        )  # the plain value is outside its own interval: that is what the correction is for


def test_shuffled_identity_of_celeba_size_is_not_taken_for_information() -> None:
    rng = np.random.default_rng(0)
    rows, values = 202_599, 10_177
    table = pl.DataFrame(
        {"identity": rng.integers(0, values, rows), "y": (rng.random(rows) < 0.2).astype(np.int8)}
    )
    row = label_uncertainty(table, sources=["identity"], permutations=20).row(0, named=True)
    truth = float(binary_entropy(np.array(0.2)))
    assert row["conditional_entropy"] == pytest.approx(0.473, abs=0.004)
    assert row["ci_low"] <= truth <= row["ci_high"]
    assert row["ci_high"] - row["ci_low"] < 0.012
    assert row["corrected"] == pytest.approx(truth, abs=0.006)
    assert row["null_mean"] == pytest.approx(row["conditional_entropy"], abs=0.002)
    assert row["p_value"] > 0.01


def test_a_source_of_single_rows_says_nothing() -> None:
    rng = np.random.default_rng(1)
    table = pl.DataFrame({"name": np.arange(500), "y": rng.integers(0, 2, 500)})
    row = label_uncertainty(table, sources=["name"], permutations=5).row(0, named=True)
    assert row["ci_low"] == 0
    assert row["ci_high"] == pytest.approx(np.log(2), abs=0.01)
    assert row["p_value"] == 1


@pytest.mark.parametrize(("k_z", "k_y"), [(2, 2), (3, 5), (90, 2), (90, 3), (90, 80)])
def test_null_is_that_of_permuted_rows(k_z: int, k_y: int) -> None:
    rng = np.random.default_rng(2)
    rows, shuffles = 600, 300
    z, y = rng.integers(0, k_z, rows), rng.integers(0, k_y, rows)
    missing = rng.random(rows) < 0.3
    table = pl.DataFrame({"z": z, "y": y, "known": ~missing}).select(
        "z", pl.when("known").then("y").alias("y")
    )
    row = label_uncertainty(table, sources=["z"], permutations=shuffles).row(0, named=True)
    known_z, known_y = z[~missing], y[~missing]

    def conditional_entropy(labels: np.ndarray) -> float:
        joint = np.zeros((k_z, k_y))
        np.add.at(joint, (known_z, labels), 1)
        margin = joint.sum(axis=1, keepdims=True)
        ratio = np.divide(margin, joint, out=np.ones_like(joint), where=joint > 0)
        return float((joint * np.log(ratio)).sum() / len(labels))

    null = np.array([conditional_entropy(rng.permutation(known_y)) for _ in range(shuffles)])
    close = 6 * null.std() / np.sqrt(shuffles)
    assert row["n"] == len(known_y)
    assert row["null_mean"] == pytest.approx(null.mean(), abs=close)
    assert row["null_q05"] == pytest.approx(np.quantile(null, 0.05), abs=2.5 * close)
    assert row["null_q95"] == pytest.approx(np.quantile(null, 0.95), abs=2.5 * close)


def test_same_seed_same_table_and_undefined_pairs_are_null() -> None:
    rng = np.random.default_rng(3)
    half = [0, 1] * 50
    table = pl.DataFrame(
        {
            "a": half + [None] * 100,
            "b": [None] * 100 + half,
            "c": rng.integers(0, 3, 200),
            "split": ["train", "test"] * 100,
        }
    )
    first = label_uncertainty(table, split_column="split", permutations=30, seed=4)
    assert first.equals(label_uncertainty(count_labels(table, split_column="split"), permutations=30, seed=4))
    assert not first.equals(label_uncertainty(table, split_column="split", permutations=30, seed=5))
    keys = [(s, z, y) for s in ("train", "test", "all") for z in "abc" for y in "abc" if z != y]
    assert list(first.select("split", "source", "target").iter_rows()) == keys
    apart = first.filter(pl.col("n") == 0)
    assert set(apart.select("source", "target").iter_rows()) == {("a", "b"), ("b", "a")}
    assert apart["undefined_because"].null_count() == 0
    assert apart["ci_low"].null_count() == apart["null_mean"].null_count() == len(apart)
    assert first.filter(pl.col("n") > 0)["undefined_because"].null_count() == 18 - len(apart)


def test_permutations_must_be_positive() -> None:
    with pytest.raises(ValueError, match="permutations"):
        label_uncertainty(pl.DataFrame({"a": [0, 1], "b": [0, 1]}), permutations=0)
