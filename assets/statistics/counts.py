"""Count tables of label pairs (Eq. 6 and 8) over the rows where both labels are known, in bounded memory.

Tasks with few values go through one Gram product of 0/1 indicators; tasks with very many (an identity)
through a sparse product, so that they never stand as a dense one-hot. Entropies of the counts live in
entropy.py.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from assets.statistics.coding import TaskCoding
from resources.compute import processor_count
from resources.errors import DataError

EXACT_IN_FLOAT32 = 2**24
"""Adding 1 to this number is lost in float32, so no single product may run over more rows."""

MOST_CELLS = 2**28
"""Most cells (2 GB) that the counts of one task against all others may have."""

_GRAM_ROWS = 16_384
_TURNED_ROWS = 65_536
_PIECE_BYTES = 64 * 2**20

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


def gram(a: Float32, b: Float32, rows: int = _GRAM_ROWS) -> Int64:
    """Exact integer product a @ b.T of 0/1 matrices.

    Args:
        a: (A, n) zeros and ones.
        b: (B, n) zeros and ones; the same object as `a` for the symmetric product, which costs half.
        rows: Rows summed in float32 before they are added up in integers; at most 2**24, where float32 stops
            counting.

    Returns:
        (A, B) int64.
    """
    processors = processor_count()
    rows = min(rows, EXACT_IN_FLOAT32, max(1024, -(-a.shape[1] // processors)))

    def product(start: int) -> Float32:
        left = a[:, start : start + rows]
        block: Float32 = left @ (left if a is b else b[:, start : start + rows]).T
        return block

    starts = range(0, a.shape[1], rows)
    total = np.zeros((a.shape[0], b.shape[0]), np.int64)
    # BLAS threads spin while they wait for one another: on a busy machine a product may take ten times as long.
    # Blocks on threads of their own do not wait for one another and share the processors as well.
    with _blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(processors) as pool:
        for block in pool.map(product, starts):
            total += block.astype(np.int64)
    return total


@cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of this process."""
    return ThreadpoolController()


def _row_sums(x: Float32) -> Int64:
    """Exact sums of the rows of a 0/1 matrix of at most 2**24 columns."""
    sums: Int64 = (x @ np.ones(x.shape[1], np.float32)).astype(np.int64)
    return sums


@dataclass(frozen=True)
class Indicators:
    """The 0/1 rows that stand for a list of tasks.

    A task has one row of validity where labels are missing, then one row a value but the first, whose counts
    follow by subtraction.

    Attributes:
        codings: The T tasks.
        offsets: (T + 1,) where the values of each task begin among all C values (a task without any keeps one
            empty place).
        n_rows: F, the number of indicator rows.
    """

    codings: Sequence[TaskCoding]
    offsets: Int64 = field(init=False)
    n_rows: int = field(init=False)

    def __post_init__(self) -> None:
        sizes = [max(c.n_values, 1) for c in self.codings]
        object.__setattr__(self, "offsets", np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))
        object.__setattr__(self, "n_rows", sum(self._rows(c) for c in self.codings))

    @staticmethod
    def _rows(coding: TaskCoding) -> int:
        return max(coding.n_values - 1, 0) + coding.has_missing

    def fill(self, piece: pl.DataFrame) -> Float32:
        """(F, rows) float32 indicators of one piece of the table of places (`TaskCoding.places`)."""
        out = np.empty((self.n_rows, piece.height), np.float32)
        row = 0
        for coding in self.codings:
            places = piece.get_column(coding.task).to_numpy()
            if coding.has_missing:
                np.greater_equal(places, 0, out=out[row])
                row += 1
            elif coding.n_values == 2:
                out[row] = places
                row += 1
                continue
            for place in range(1, coding.n_values):
                np.equal(places, place, out=out[row])
                row += 1
        return out

    def expansion(self) -> sp.csr_array:
        """(1 + F, C) matrix E: counts with [all rows, indicators] times E are counts with every value."""
        rows: list[int] = []
        cols: list[int] = []
        signs: list[int] = []
        row = 1
        for coding, first in zip(self.codings, self.offsets[:-1].tolist(), strict=True):
            rows.append(row if coding.has_missing else 0)
            cols.append(first)
            signs.append(1)
            row += coding.has_missing
            for value in range(1, coding.n_values):
                rows += [row, row]
                cols += [first + value, first]
                signs += [1, -1]
                row += 1
        shape = (1 + self.n_rows, int(self.offsets[-1]))
        return sp.csr_array((np.array(signs, np.int64), (rows, cols)), shape=shape)


@dataclass(frozen=True)
class PairCounts:
    """All counts of a label table by group of rows: the splits in order, or `all` of them together.

    Tasks are meant by their position in `codings`.

    Attributes:
        codings: The tasks.
        narrow_tasks: Positions of the tasks counted by the Gram product.
        wide_tasks: Positions of the tasks with more than `MANY_VALUES` values.
        offsets: (len(narrow_tasks) + 1,) where the values of each narrow task begin among all C of them.
        rows: (S,) rows a group.
        narrow: (S, C, C) counts of pairs of values of the narrow tasks.
        marginals: For each task (S, K), its values on all its known rows.
        wide_narrow: For each wide task (S, K, C), its values against those of all narrow tasks.
        wide_wide: For two wide tasks, the first before the second, the non-zero cells (4, cells): group,
            value of the first, value of the second, n.
    """

    codings: list[TaskCoding]
    narrow_tasks: list[int]
    wide_tasks: list[int]
    offsets: Int64
    rows: Int64
    narrow: Int64
    marginals: list[Int64]
    wide_narrow: dict[int, Int64]
    wide_wide: dict[tuple[int, int], Int64]


class PairCounter:
    """Adds up the counts of a label table piece by piece; memory does not grow with the rows.

    Args:
        codings: The tasks to count against one another.
        wide_pairs: Pairs of positions (first < second) of wide tasks that are to be counted.
        n_groups: Number of groups of rows.

    Raises:
        DataError: A task with more values than memory should be spent on.
    """

    def __init__(
        self, codings: list[TaskCoding], wide_pairs: Sequence[tuple[int, int]], n_groups: int
    ) -> None:
        self._codings = codings
        self._n_groups = n_groups
        self._narrow = [i for i, c in enumerate(codings) if not c.is_wide]
        self._wide = [i for i, c in enumerate(codings) if c.is_wide]
        self._indicators = Indicators([codings[i] for i in self._narrow])
        f = self._indicators.n_rows
        for w in self._wide:
            if n_groups * codings[w].n_values * f > MOST_CELLS:
                task, values = codings[w].task, codings[w].n_values
                raise DataError(
                    f"column '{task}' has {values:,} values, too many to count: leave it out of the tasks"
                )
        self._rows = np.zeros(n_groups, np.int64)
        self._sums = np.zeros((n_groups, f), np.int64)
        self._gram = np.zeros((n_groups, f, f), np.int64)
        self._wide_sums = {w: np.zeros(n_groups * codings[w].n_values, np.int64) for w in self._wide}
        self._wide_narrow = {w: np.zeros((n_groups * codings[w].n_values, f), np.int64) for w in self._wide}
        self._cells: dict[tuple[int, int], tuple[Int64, Int64]] = {
            pair: (np.empty(0, np.int64), np.empty(0, np.int64)) for pair in wide_pairs
        }

    @property
    def piece_rows(self) -> int:
        """How many rows of the label table to hand over at once."""
        return int(np.clip(_PIECE_BYTES // (4 * max(self._indicators.n_rows, 8)), 1024, EXACT_IN_FLOAT32))

    def add(self, piece: pl.DataFrame, groups: NDArray[np.integer] | None = None) -> None:
        """Count one piece.

        Args:
            piece: The places of the labels (`TaskCoding.places`), at most 2**24 rows.
            groups: (rows,) group of every row; None where there is one group only.
        """
        x = self._indicators.fill(piece)
        counts = np.array([piece.height]) if groups is None else np.bincount(groups, minlength=self._n_groups)
        self._rows += counts
        self._add_narrow(x, groups, counts)
        wide = {w: piece.get_column(self._codings[w].task).to_numpy().astype(np.int64) for w in self._wide}
        for w, values in wide.items():
            self._add_wide(w, values, x, groups)
        for first, second in self._cells:
            self._add_cells(first, second, wide[first], wide[second], groups)

    def _add_narrow(self, x: Float32, groups: NDArray[np.integer] | None, counts: Int64) -> None:
        """The Gram product of each group; that of the largest is what remains of the whole."""
        whole, sums = gram(x, x), _row_sums(x)
        largest = int(counts.argmax())
        self._gram[largest] += whole
        self._sums[largest] += sums
        for g in np.flatnonzero(counts).tolist():
            if g != largest and groups is not None:
                part = np.take(x, np.flatnonzero(groups == g), axis=1)
                product, part_sums = gram(part, part), _row_sums(part)
                self._gram[g] += product
                self._gram[largest] -= product
                self._sums[g] += part_sums
                self._sums[largest] -= part_sums

    def _add_wide(self, w: int, values: Int64, x: Float32, groups: NDArray[np.integer] | None) -> None:
        """One sparse product: the rows of each value of a wide task summed over all indicators."""
        n_keys = len(self._wide_sums[w])
        known = values >= 0
        keys = values if groups is None else values + groups * self._codings[w].n_values
        self._wide_sums[w] += np.bincount(keys[known], minlength=n_keys)
        if len(x):
            ends = np.concatenate([[0], np.cumsum(known)])
            ones = np.ones(int(ends[-1]), np.float32)
            labelled = keys[known]
            # In blocks, since turning all of x at once runs out of the caches and takes longer than the product.
            for start in range(0, len(values), _TURNED_ROWS):
                block = ends[start : start + _TURNED_ROWS + 1]
                part, inside = slice(int(block[0]), int(block[-1])), block - block[0]
                one_hot = sp.csc_array((ones[part], labelled[part], inside), shape=(n_keys, len(block) - 1))
                turned = np.ascontiguousarray(x[:, start : start + _TURNED_ROWS].T)
                self._wide_narrow[w] += (one_hot @ turned).astype(np.int64)

    def _add_cells(
        self, first: int, second: int, a: Int64, b: Int64, groups: NDArray[np.integer] | None
    ) -> None:
        """The non-zero cells of two wide tasks, merged with those of the pieces before."""
        known = (a >= 0) & (b >= 0)
        k_a, k_b = self._codings[first].n_values, self._codings[second].n_values
        group = np.zeros(1, np.int64) if groups is None else groups[known].astype(np.int64)
        keys, n = np.unique((group * k_a + a[known]) * k_b + b[known], return_counts=True)
        before, n_before = self._cells[first, second]
        merged, places = np.unique(np.concatenate([before, keys]), return_inverse=True)
        total = np.bincount(places, weights=np.concatenate([n_before, n]), minlength=len(merged))
        self._cells[first, second] = (merged, total.astype(np.int64))

    def result(self) -> PairCounts:
        """The counts of all pieces so far, with every value of every task."""
        expand = self._indicators.expansion()
        f = self._indicators.n_rows
        bordered = np.empty((self._n_groups, 1 + f, 1 + f), np.int64)
        bordered[:, 0, 0] = self._rows
        bordered[:, 0, 1:] = bordered[:, 1:, 0] = self._sums
        bordered[:, 1:, 1:] = self._gram
        narrow = np.stack([expand.T @ (b @ expand) for b in bordered])
        sums = np.concatenate([self._rows[:, None], self._sums], axis=1) @ expand
        offsets = self._indicators.offsets
        marginals: list[Int64] = [np.zeros((self._n_groups, 0), np.int64)] * len(self._codings)
        for place, i in enumerate(self._narrow):
            marginals[i] = sums[:, offsets[place] : offsets[place] + self._codings[i].n_values]
        for w, flat in self._wide_sums.items():
            marginals[w] = flat.reshape(self._n_groups, -1)
        return PairCounts(
            codings=self._codings,
            narrow_tasks=self._narrow,
            wide_tasks=self._wide,
            offsets=offsets,
            rows=self._rows,
            narrow=narrow,
            marginals=marginals,
            wide_narrow={w: self._expanded_wide(w, expand) for w in self._wide},
            wide_wide={pair: self._expanded_cells(pair) for pair in self._cells},
        )

    def _expanded_wide(self, w: int, expand: sp.csr_array) -> Int64:
        bordered = np.concatenate([self._wide_sums[w][:, None], self._wide_narrow[w]], axis=1)
        full: Int64 = (bordered @ expand).reshape(self._n_groups, self._codings[w].n_values, -1)
        return full

    def _expanded_cells(self, pair: tuple[int, int]) -> Int64:
        keys, n = self._cells[pair]
        rest, second = np.divmod(keys, self._codings[pair[1]].n_values)
        group, first = np.divmod(rest, self._codings[pair[0]].n_values)
        return np.stack([group, first, second, n])


def with_all(counts: PairCounts, n_splits: int) -> PairCounts:
    """The counts of the first `n_splits` groups and, after them, of all groups together.

    With no split at all the single group is `all` itself.
    """
    if n_splits == 0:
        return counts

    def add(a: Int64) -> Int64:
        return np.concatenate([a[:n_splits], a.sum(axis=0, keepdims=True)])

    def add_cells(cells: Int64, k_first: int, k_second: int) -> Int64:
        keys, places = np.unique(cells[1] * k_second + cells[2], return_inverse=True)
        n = np.bincount(places, weights=cells[3], minlength=len(keys)).astype(np.int64)
        whole = np.stack([np.full(len(keys), n_splits), *np.divmod(keys, k_second), n])
        return np.concatenate([cells[:, cells[0] < n_splits], whole], axis=1)

    return PairCounts(
        codings=counts.codings,
        narrow_tasks=counts.narrow_tasks,
        wide_tasks=counts.wide_tasks,
        offsets=counts.offsets,
        rows=add(counts.rows),
        narrow=add(counts.narrow),
        marginals=[add(m) for m in counts.marginals],
        wide_narrow={w: add(a) for w, a in counts.wide_narrow.items()},
        wide_wide={
            (a, b): add_cells(c, counts.codings[a].n_values, counts.codings[b].n_values)
            for (a, b), c in counts.wide_wide.items()
        },
    )
