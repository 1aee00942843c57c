"""Count tables of shuffled labels, drawn from their margins alone. What they mean: uncertainty.py."""

from typing import TYPE_CHECKING

import numpy as np

from assets.statistics.coding import MANY_VALUES
from assets.statistics.counts import Int64
from assets.statistics.entropy import Float64, n_log_n

if TYPE_CHECKING:
    from assets.statistics.uncertainty import PairMargins

_DRAWS = 2**20
"""Tables drawn at once: bounds the memory."""


def shuffled_joint_sums(
    m: "PairMargins", which: Int64, permutations: int, rng: np.random.Generator
) -> Float64:
    """Sums of n log n over the cells of shuffled tables.

    Args:
        m: Pairs with their margins.
        which: (P,) the pairs to shuffle, places in `m.pair`.
        permutations: Shuffles a pair.
        rng: Where the shuffles come from.

    Returns:
        (P, permutations) float64.
    """
    source_at = np.searchsorted(m.source_pair, np.arange(len(m.pair) + 1))
    target_at = np.searchsorted(m.target_pair, np.arange(len(m.pair) + 1))
    k_source, k_target = np.diff(source_at)[which], np.diff(target_at)[which]
    out = np.zeros((len(which), permutations))
    shape = k_source * (k_target.max(initial=0) + 1) + k_target
    for code in np.unique(shape):
        places = np.flatnonzero(shape == code)
        k_s, k_t = int(k_source[places[0]]), int(k_target[places[0]])
        for block in np.array_split(places, max(1, len(places) * permutations // _DRAWS)):
            rows = m.source[source_at[which[block], None] + np.arange(k_s)]
            columns = m.target[target_at[which[block], None] + np.arange(k_t)]
            out[block] = _joint_sums(rows, columns, permutations, rng)
    return out


def _joint_sums(rows: Int64, columns: Int64, permutations: int, rng: np.random.Generator) -> Float64:
    """The same for pairs of one shape: rows (P, K_z) and columns (P, K_y) are their margins."""
    if rows.shape[1] < columns.shape[1]:
        rows, columns = columns, rows  # the sum does not tell them apart, and fewer columns are fewer draws
    if rows.shape[1] <= MANY_VALUES:
        return _small_tables(rows, columns, permutations, rng)
    draw = _one_wide if columns.shape[1] <= MANY_VALUES else _two_wide
    return np.stack([draw(r, c, permutations, rng) for r, c in zip(rows, columns, strict=True)])


def _small_tables(rows: Int64, columns: Int64, permutations: int, rng: np.random.Generator) -> Float64:
    """Cell by cell, all pairs and shuffles at once: each cell is hypergeometric given those before it."""
    left = [np.repeat(c[:, None], permutations, axis=1) for c in columns.T]
    total = np.zeros((len(rows), permutations))
    for size in rows.T[:-1]:
        wanted = np.repeat(size[:, None], permutations, axis=1)
        others = np.sum(left, axis=0)
        for k in range(len(left) - 1):
            others = others - left[k]
            cell = rng.hypergeometric(left[k], others, wanted)
            total += n_log_n(cell)
            wanted = wanted - cell
            left[k] = left[k] - cell
        total += n_log_n(wanted)
        left[-1] = left[-1] - wanted
    for column in left:
        total += n_log_n(column)
    return total


def _one_wide(row: Int64, column: Int64, permutations: int, rng: np.random.Generator) -> Float64:
    """A wide task (K_z,) against a narrow one (K_y,): whole columns at a time."""
    total = np.zeros(permutations)
    some = max(1, _DRAWS // len(row))
    for start in range(0, permutations, some):
        stop = min(start + some, permutations)
        left = np.broadcast_to(row, (stop - start, len(row)))
        for place, size in enumerate(column[:-1]):
            if place == 0:
                cells = rng.multivariate_hypergeometric(row, size, size=stop - start, method="marginals")
            else:
                cells = np.stack([rng.multivariate_hypergeometric(r, size, method="marginals") for r in left])
            total[start:stop] += n_log_n(cells).sum(axis=1)
            left = left - cells
        total[start:stop] += n_log_n(left).sum(axis=1)
    return total


def _two_wide(row: Int64, column: Int64, permutations: int, rng: np.random.Generator) -> Float64:
    """Two wide tasks: the labels themselves are shuffled, their table is sparse."""
    first = np.repeat(np.arange(len(row)) * len(column), row)
    second = np.repeat(np.arange(len(column)), column)
    total = np.empty(permutations)
    for i in range(permutations):
        keys = np.sort(first + rng.permutation(second))
        cells = np.diff(np.flatnonzero(np.diff(keys, prepend=-1, append=-1)))
        total[i] = n_log_n(cells).sum()
    return total
