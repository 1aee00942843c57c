"""Lists of best sources: informative before uninformative, wide and near-unique sources apart."""

import numpy as np
import polars as pl
import pytest

from assets.statistics import label_statistics
from assets.statistics.ranking import best_sources, best_sources_of_all
from resources.errors import DataError


@pytest.fixture(scope="module")
def conditional_entropy() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    n = 4_000
    y = rng.integers(0, 2, n)
    flip = rng.random(n)
    table = pl.DataFrame(
        {
            "y": y,
            "opposite": 1 - y,
            "close": np.where(flip < 0.05, 1 - y, y),
            "far": np.where(flip < 0.4, 1 - y, y),
            "shuffled_identity": rng.integers(0, 400, n),
            "file": np.arange(n),
            "constant": np.zeros(n, np.int64),
            "never": pl.Series([None] * n, dtype=pl.Int64),
            "split": np.where(np.arange(n) % 4 == 0, "test", "train"),
        }
    )
    return label_statistics(table, split_column="split").conditional_entropy


def test_order_and_kinds(conditional_entropy: pl.DataFrame) -> None:
    best = best_sources(conditional_entropy, "y")
    kinds = {kind: group["source"].to_list() for (kind,), group in best.group_by("kind", maintain_order=True)}
    assert kinds == {
        "ordinary": ["opposite", "close", "far"],
        "wide": ["shuffled_identity"],
        "near-unique": ["file"],
    }
    assert list(kinds) == ["ordinary", "wide", "near-unique"]
    row = best.row(0, named=True)
    assert row["equivalent"]
    assert row["corrected_normalised"] == 0
    shuffled = best.filter(pl.col("source") == "shuffled_identity").row(0, named=True)
    assert shuffled["normalised"] < 0.92
    assert shuffled["corrected_normalised"] == pytest.approx(1, abs=0.03)


def test_a_source_that_is_constant_in_train_is_ranked_nowhere() -> None:
    table = pl.DataFrame({
        "y": [0, 1, 0, 1, 0, 1], "informative": [0, 1, 0, 1, 1, 1], "late": [1, 1, 1, 1, 0, 1],
        "split": ["train"] * 4 + ["test"] * 2,
    })  # fmt: skip
    frame = label_statistics(table, split_column="split").conditional_entropy
    assert frame.filter(split="all", source="late", target="y")["n_source_values"].item() == 2
    for split in ("train", "test", "all"):
        assert "late" not in best_sources(frame, "y", split=split)["source"], split
    assert best_sources(frame, "y", split="all")["source"].to_list() == ["informative"]


def test_k_counts_per_kind_and_theorem_order_is_joint_entropy(conditional_entropy: pl.DataFrame) -> None:
    assert best_sources(conditional_entropy, "y", k=1)["source"].to_list() == [
        "opposite",
        "shuffled_identity",
        "file",
    ]
    best = best_sources(conditional_entropy, "y", k=None, split="test")
    ordinary = best.filter(pl.col("kind") == "ordinary").sort("theorem_rank")
    assert ordinary["theorem_bound"].is_sorted(descending=True)
    one = conditional_entropy.filter(
        pl.col("split") == "test", pl.col("source") == "far", pl.col("target") == "y"
    ).row(0, named=True)
    bound = ordinary.filter(pl.col("source") == "far")["theorem_bound"].item()
    assert bound == pytest.approx(-one["source_entropy"] - one["conditional_entropy"], abs=1e-12)


def test_all_targets_at_once_equal_one_at_a_time(conditional_entropy: pl.DataFrame) -> None:
    together = best_sources_of_all(conditional_entropy, k=2)
    targets = together["target"].unique(maintain_order=True).to_list()
    assert {"constant", "never"}.isdisjoint(targets)
    assert together.equals(pl.concat([best_sources(conditional_entropy, t, k=2) for t in targets]))


def test_unknown_names_are_refused(conditional_entropy: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="'nothing'"):
        best_sources(conditional_entropy, "nothing")
    with pytest.raises(DataError, match="'val'"):
        best_sources(conditional_entropy, "y", split="val")
