"""Seeded train/test splits: the same on every machine, library version and row order.

They depend on keys, a seed and a fraction alone. Splits that a data set publishes are read by its reader.
"""

import hashlib
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

    Exact shares cannot also be fixed for ever: a row appended to a stratum may move at most one other row
    across the boundary of that stratum, and never touches another stratum.
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


def _named(is_test: npt.NDArray[np.bool_]) -> pl.Series:
    return pl.Series("split", np.where(is_test, "test", "train"), dtype=pl.String)
