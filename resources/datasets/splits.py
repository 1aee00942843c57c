"""Seeded train/test splits: the same on every machine and library version.

They depend on keys, a seed and a fraction; `growing_stratified_split` also on the rows before. Splits that a data set
publishes are read by its reader.
"""

import hashlib
import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl


def key_hashes(keys: Iterable[str], seed: int) -> npt.NDArray[np.uint64]:
    """One 64-bit hash a key (BLAKE2b under the seed), (n,)."""
    salt = int(seed).to_bytes(8, "little", signed=True)
    digests = (hashlib.blake2b(key.encode(), digest_size=8, key=salt).digest() for key in keys)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def hash_split(keys: Iterable[str], test_fraction: float, seed: int) -> pl.Series:
    """Each key goes to test with probability ``test_fraction``, by its own hash alone.

    Rows that are appended, removed or reordered move no other row. Equal keys go to the same side, so the
    keys of a grouped split are the groups.
    """
    is_test = key_hashes(keys, seed).astype(np.float64) / 2.0**64 < test_fraction
    return _named(is_test)


def stratified_split(
    keys: Iterable[str], strata: npt.NDArray[np.integer], test_fraction: float, seed: int
) -> pl.Series:
    """In each stratum the round(n · fraction) keys with the smallest hashes are test (half rounds up).

    For data sets that do not grow: the order of the rows does not matter, but a row that is added to a stratum
    may move one other across the boundary.
    """
    hashes = key_hashes(keys, seed)
    order = np.lexsort((hashes, strata))
    ordered = strata[order]
    starts = (
        np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.array([], dtype=int)
    )
    sizes = np.diff(np.r_[starts, len(ordered)])
    rank = np.arange(len(ordered)) - np.repeat(starts, sizes)
    quota = np.floor(sizes * test_fraction + 0.5).astype(np.int64)
    is_test = np.zeros(len(ordered), dtype=bool)
    is_test[order] = rank < np.repeat(quota, sizes)
    return _named(is_test)


def growing_stratified_split(
    keys: Iterable[str], strata: npt.NDArray[np.integer], test_fraction: float, seed: int
) -> pl.Series:
    """Shares within one row of n · fraction in each stratum, for tables that grow at their end.

    Each row is decided once, by its own hash and by the shares of its stratum so far, so that appended rows move
    none; every row is test with probability ``test_fraction``. Exact shares need that order: rows that are removed,
    or put between others, may move those after them in the same stratum.
    """
    counts: dict[int, tuple[int, int]] = {}  # by stratum: rows so far, and test rows among them
    is_test = []
    chances = key_hashes(keys, seed).astype(np.float64) / 2.0**64
    for chance, stratum in zip(chances.tolist(), strata.tolist(), strict=True):
        rows, taken = counts.get(stratum, (0, 0))
        is_test.append(chance < _needed(rows, taken, test_fraction))
        counts[stratum] = rows + 1, taken + is_test[-1]
    return _named(np.array(is_test, dtype=bool))


def _needed(rows: int, taken: int, fraction: float) -> float:
    """The probability of test for the next row that keeps `taken` at ⌊rows · fraction⌋ or one more.

    The larger one is held with probability frac(rows · fraction) before and after, so that on average `taken` is
    rows · fraction.
    """
    low, low_next = (math.floor(n * fraction + 1e-9) for n in (rows, rows + 1))
    above = max(rows * fraction - low, 0.0)
    if low_next == low:
        return fraction / (1.0 - above) if taken == low else 0.0
    return 1.0 if taken == low else (above + fraction - 1.0) / max(above, 1e-9)


def _named(is_test: npt.NDArray[np.bool_]) -> pl.Series:
    return pl.Series("split", np.where(is_test, "test", "train"), dtype=pl.String)
