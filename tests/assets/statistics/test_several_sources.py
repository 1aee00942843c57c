"""H(Y | Z1, …, Zk) against the same sources written as one column, and against pairwise values."""

import math

import numpy as np
import polars as pl
import pytest

from assets.statistics import label_statistics
from assets.statistics.several_sources import joint_conditional_entropy
from resources.errors import DataError


def test_exclusive_or_needs_both() -> None:
    table = pl.DataFrame({"a": [0, 0, 1, 1], "b": [0, 1, 0, 1], "xor": [0, 1, 1, 0]})
    one = joint_conditional_entropy(table, "xor", ["a"])
    both = joint_conditional_entropy(table, "xor", ["a", "b"])
    assert one.conditional_entropy == pytest.approx(math.log(2), abs=1e-15)
    assert (both.conditional_entropy, both.n_source_values) == (0.0, 4)


def test_equals_the_product_task_on_the_rows_where_all_are_known() -> None:
    rng = np.random.default_rng(0)
    table = pl.DataFrame({c: rng.integers(0, 3, 500) for c in "yab"}).with_columns(
        [pl.when(pl.Series(rng.random(500) < 0.8)).then(pl.col(c)).alias(c) for c in "yab"]
    )
    found = joint_conditional_entropy(table.lazy(), "y", ["a", "b"])
    known = table.drop_nulls().select("y", ab=pl.col("a") * 3 + pl.col("b"))
    expected = label_statistics(known, sources=["ab"], targets=["y"]).conditional_entropy.row(0, named=True)
    assert found.n == expected["n"] == len(known)
    assert found.conditional_entropy == pytest.approx(expected["conditional_entropy"], abs=1e-12)
    assert found.corrected == pytest.approx(expected["corrected"], abs=1e-12)
    assert found.target_entropy == pytest.approx(expected["target_entropy"], abs=1e-12)
    single = joint_conditional_entropy(known, "y", ["ab"])
    assert single.conditional_entropy == pytest.approx(expected["conditional_entropy"], abs=1e-12)
    none = joint_conditional_entropy(known, "y", [])
    assert none.conditional_entropy == pytest.approx(expected["target_entropy"], abs=1e-12)


def test_never_together_and_wrong_names() -> None:
    table = pl.DataFrame({"y": [0, None], "a": [None, 1], "b": [0, 1]})
    found = joint_conditional_entropy(table, "y", ["a", "b"])
    assert found.conditional_entropy is None
    assert found.undefined_because is not None
    with pytest.raises(DataError, match="'c'"):
        joint_conditional_entropy(table, "y", ["c"])
    with pytest.raises(DataError, match="twice"):
        joint_conditional_entropy(table, "y", ["y"])
