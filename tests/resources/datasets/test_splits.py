"""Seeded splits: shares, stability under appended rows, groups kept together."""

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from resources.datasets.splits import growing_stratified_split, hash_split, key_hashes, stratified_split

KEYS = [f"images/{i:05d}.png" for i in range(2000)]


def test_hashes_are_blake2b_so_that_splits_last() -> None:
    expected = hashlib.blake2b(b"a.png", digest_size=8, key=(7).to_bytes(8, "little")).digest()
    assert int(key_hashes(["a.png"], 7)[0]) == int.from_bytes(expected, "little")


def test_shares_are_near_the_fraction_and_depend_on_the_seed() -> None:
    first, second = hash_split(KEYS, 0.3, 0), hash_split(KEYS, 0.3, 1)
    assert 0.26 < (first == "test").mean() < 0.34
    assert 0.2 < (first != second).mean() < 0.6
    assert (hash_split(KEYS, 0.0, 0) == "train").all()


@given(st.lists(st.text(max_size=8), unique=True, max_size=60), st.data())
def test_appending_and_reordering_move_no_row(keys: list[str], data: st.DataObject) -> None:
    kept = data.draw(st.permutations(keys)) if keys else []
    some = kept[: len(kept) // 2]
    whole = dict(zip(keys, hash_split(keys, 0.4, 3), strict=True))
    assert hash_split(some, 0.4, 3).to_list() == [whole[key] for key in some]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.floats(0, 0.99), st.integers(0, 99))
def test_stratified_shares_are_exact_to_half_a_row(strata: list[int], fraction: float, seed: int) -> None:
    codes = np.array(strata)
    split = stratified_split((str(i) for i in range(len(codes))), codes, fraction, seed).to_numpy()
    for stratum in np.unique(codes):
        inside = codes == stratum
        assert abs((split[inside] == "test").sum() - inside.sum() * fraction) <= 0.5 + 1e-9


def test_a_row_appended_to_a_stratum_moves_at_most_one_of_it_and_none_elsewhere() -> None:
    codes = np.arange(200) % 4
    before = stratified_split(KEYS[:200], codes, 0.3, 0)
    for stratum in range(4):
        after = stratified_split(KEYS[:201], np.append(codes, stratum), 0.3, 0)
        moved = np.flatnonzero((before != after[:200]).to_numpy())
        assert len(moved) <= 1
        assert set(codes[moved]) <= {stratum}


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=80), st.floats(0, 0.99), st.integers(0, 99), st.data()
)
def test_a_growing_stratified_split_keeps_shares_and_moves_no_row(
    strata: list[int], fraction: float, seed: int, data: st.DataObject
) -> None:
    codes, n = np.array(strata), data.draw(st.integers(0, len(strata)))
    split = growing_stratified_split(KEYS[: len(codes)], codes, fraction, seed)
    assert growing_stratified_split(KEYS[:n], codes[:n], fraction, seed).equals(split[:n])
    for stratum in np.unique(codes):
        inside = codes == stratum
        assert abs((split.to_numpy()[inside] == "test").sum() - inside.sum() * fraction) < 1 + 1e-6


def test_every_row_of_a_growing_split_is_as_likely_to_be_test() -> None:
    codes = np.zeros(12, dtype=int)
    test = np.mean(
        [growing_stratified_split(KEYS[:12], codes, 0.3, seed).to_numpy() == "test" for seed in range(4000)],
        axis=0,
    )
    assert np.abs(test - 0.3).max() < 0.03  # four standard errors
