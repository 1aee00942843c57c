"""The identities of conditional entropy as property tests, the paper's toy examples, and the float32 guard."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.statistics import label_statistics
from assets.statistics.counts import EXACT_IN_FLOAT32, gram
from assets.statistics.entropy import n_jackknife, n_log_n

LABEL = st.one_of(st.none(), st.integers(0, 3))
ROWS = st.lists(st.tuples(LABEL, LABEL, LABEL), min_size=1, max_size=60)


def ce_of(columns: dict[str, list], split: str = "all") -> dict[tuple[str, str], dict]:
    frame = pl.DataFrame({k: pl.Series(v, dtype=pl.Int64) for k, v in columns.items()})
    rows = label_statistics(frame).conditional_entropy.filter(pl.col("split") == split)
    return {(r["source"], r["target"]): r for r in rows.iter_rows(named=True)}


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_bounds_and_exchange_hold_on_the_rows_of_the_pair(rows: list[tuple]) -> None:
    ce = ce_of({"y": [r[0] for r in rows], "z": [r[1] for r in rows]})
    given_z, given_y = ce["z", "y"], ce["y", "z"]
    both = [(a, b) for a, b, _ in rows if a is not None and b is not None]
    assert given_z["n"] == given_y["n"] == len(both)
    if not both:
        assert given_z["conditional_entropy"] is None
        assert given_z["undefined_because"]
        return
    values = len({a for a, _ in both})
    assert 0 <= given_z["conditional_entropy"] <= given_z["target_entropy"] <= math.log(values) + 1e-12
    difference = given_z["conditional_entropy"] - given_y["conditional_entropy"]
    assert difference == pytest.approx(given_z["target_entropy"] - given_y["target_entropy"], abs=1e-12)
    chain = given_z["source_entropy"] + given_z["conditional_entropy"]
    assert given_z["joint_entropy"] == pytest.approx(chain, abs=1e-12)
    assert given_z["corrected"] >= given_z["conditional_entropy"] - 1e-12


@given(ROWS, st.permutations(range(4)), st.permutations(range(4)))
@settings(max_examples=40, deadline=None)
def test_relabelling_changes_nothing(rows: list[tuple], of_y: list[int], of_z: list[int]) -> None:
    plain = ce_of({"y": [r[0] for r in rows], "z": [r[1] for r in rows]})
    renamed = ce_of(
        {
            "y": [None if r[0] is None else of_y[r[0]] for r in rows],
            "z": [None if r[1] is None else of_z[r[1]] for r in rows],
        }
    )
    for pair, row in plain.items():
        for name in ("conditional_entropy", "target_entropy", "corrected"):
            assert renamed[pair][name] == pytest.approx(row[name], abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None)
def test_refining_the_source_never_raises_it_and_a_copy_says_everything(rows: list[tuple]) -> None:
    y, z, w = ([r[k] for r in rows] for k in range(3))
    fine = [a * 4 + b for a, b in zip(z, w, strict=True)]
    ce = ce_of({"y": y, "z": z, "fine": fine, "copy": [3 - v for v in y]})
    assert ce["fine", "y"]["conditional_entropy"] <= ce["z", "y"]["conditional_entropy"] + 1e-12
    assert ce["copy", "y"]["conditional_entropy"] == 0
    assert ce["copy", "y"]["corrected"] == 0
    assert ce["copy", "y"]["equivalent"]
    assert ce["fine", "z"]["conditional_entropy"] == 0


def test_the_source_is_the_condition() -> None:
    ce = ce_of({"fine": [0, 1, 2, 3], "coarse": [0, 0, 1, 1]})
    assert ce["fine", "coarse"]["conditional_entropy"] == 0
    assert ce["coarse", "fine"]["conditional_entropy"] == pytest.approx(math.log(2), abs=1e-15)
    assert not ce["fine", "coarse"]["equivalent"]


@pytest.mark.parametrize(
    ("name", "z", "y", "nats"),
    [
        # The paper prints H(Y|Z) = 4 log 2 for (a) and (b). No binary label can have that: H(Y|Z) <= H(Y) <= log 2,
        # and a constant source gives H(Y) itself, which is log 2 where both values are equally frequent.
        ("a: constant source, binary target", [0] * 8, [0, 0, 0, 0, 1, 1, 1, 1], math.log(2)),
        ("b: constant source, alternating target", [0] * 8, [0, 1, 0, 1, 0, 1, 0, 1], math.log(2)),
        ("c: one to one", [0, 0, 0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0, 0], 0.0),
        (
            "d: each source class holds both target classes",
            [0, 0, 0, 0, 1, 1, 1, 1],
            [0, 1, 0, 1, 0, 1, 0, 1],
            math.log(2),
        ),
        (
            "e: each source class holds two of four target classes",
            [0, 0, 0, 0, 1, 1, 1, 1],
            [0, 0, 1, 1, 2, 2, 3, 3],
            math.log(2),
        ),
    ],
)
def test_toy_examples_of_figure_1(name: str, z: list[int], y: list[int], nats: float) -> None:
    assert ce_of({"z": z, "y": y})["z", "y"]["conditional_entropy"] == pytest.approx(nats, abs=1e-15), name


def test_jackknife_equals_leaving_out_each_row() -> None:
    z = [0] * 7 + [1] * 5 + [2]
    y = [0, 0, 0, 1, 1, 2, 0, 1, 1, 1, 0, 0, 2]

    def entropy(labels: list[int]) -> float:
        n = len(labels)
        return -math.fsum(labels.count(v) / n * math.log(labels.count(v) / n) for v in set(labels))

    expected = 0.0
    for value in set(z):
        own = [b for a, b in zip(z, y, strict=True) if a == value]
        n = len(own)
        if n == 1:
            continue
        without = [entropy(own[:i] + own[i + 1 :]) for i in range(n)]
        expected += n / len(z) * (n * entropy(own) - (n - 1) * math.fsum(without) / n)
    assert ce_of({"z": z, "y": y})["z", "y"]["corrected"] == pytest.approx(expected, abs=1e-12)


def test_terms_agree_between_table_and_formula() -> None:
    small = np.array([0, 1, 2, 3, 10, 65_535])
    large = np.append(small, 70_000)
    for f in (n_log_n, n_jackknife):
        np.testing.assert_allclose(f(large)[:-1], f(small), rtol=1e-15, atol=0)
    assert n_log_n(small)[2] == pytest.approx(2 * math.log(2))


def test_counts_above_what_float32_can_hold_are_exact() -> None:
    n = EXACT_IN_FLOAT32 + 3
    ones = np.ones((1, n), np.float32)
    assert np.float32(EXACT_IN_FLOAT32) + np.float32(1) == EXACT_IN_FLOAT32  # what the guard is for
    assert gram(ones, ones)[0, 0] == n
    assert gram(ones, ones, rows=2**40)[0, 0] == n


def test_a_frame_longer_than_float32_counts_is_counted_exactly() -> None:
    n = EXACT_IN_FLOAT32 + 1001
    values = np.ones(n, np.int8)
    values[:7] = 0
    result = label_statistics(pl.DataFrame({"a": values, "b": values}))
    assert result.joint_counts.filter(pl.col("source") == "a")["n"].to_list() == [7, n - 7]
