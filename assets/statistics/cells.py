"""The non-zero cells of every pair's count table as flat arrays, in the order of the frames.

There is no loop over pairs here (but over those of wide tasks), and no text: frames.py names what the cells
count.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from assets.statistics.counts import Int64, PairCounts

Cells = tuple[Int64, Int64, Int64, Int64]
"""Pair (source · tasks + target), place of the source's and the target's value, n; sorted in that order."""


class CellTable:
    """The cells of the pairs that are asked for.

    Args:
        counts: The counts.
        sources: Positions of the sources.
        targets: Positions of the targets; a task is never paired with itself.
    """

    def __init__(self, counts: PairCounts, sources: list[int], targets: list[int]) -> None:
        self._counts = counts
        size = len(counts.codings)
        self._asked = np.zeros((size, size), bool)
        self._asked[np.ix_(sources, targets)] = True
        np.fill_diagonal(self._asked, val=False)
        self._order, self._pair, self._source_value, self._target_value = self._narrow_order()

    def pairs(self) -> pl.DataFrame:
        """(pair, source, target): every pair asked for, with a cell or not, in order."""
        names = pl.Series([c.task for c in self._counts.codings], dtype=pl.String)
        s, t = np.nonzero(self._asked)
        return pl.DataFrame(
            {"pair": s * len(names) + t, "source": names.gather(s), "target": names.gather(t)}
        )

    def cells(self, group: int) -> Cells:
        """The non-zero cells of one split."""
        counts = self._counts
        n = counts.narrow[group].ravel()[self._order]
        keep = n > 0
        narrow = (self._pair[keep], self._source_value[keep], self._target_value[keep], n[keep])
        if not counts.wide_tasks:
            return narrow
        return _merged(narrow, [*self._wide_narrow(group), *self._wide_wide(group)])

    def _narrow_order(self) -> Cells:
        """Of the flattened (C, C) table of narrow tasks, the cells that are asked for, in order.

        Returns:
            Where each stands in the table, its pair, and the places of its two values.
        """
        offsets = self._counts.offsets
        sizes, starts, size = np.diff(offsets), offsets[:-1], int(offsets[-1])
        task = np.repeat(np.arange(len(sizes)), sizes)
        value = np.arange(size) - starts[task]
        row_task, row_value, column_task, column_value = (
            task[:, None],
            value[:, None],
            task[None],
            value[None],
        )
        first_of_pair = starts[row_task] * size + sizes[row_task] * starts[column_task]
        position = first_of_pair + row_value * sizes[column_task] + column_value
        order = np.empty(size * size, np.int64)
        order[position.ravel()] = np.arange(size * size)
        row, column = np.divmod(order, max(size, 1))
        tasks = np.asarray(self._counts.narrow_tasks, np.int64)[task]
        pair = tasks[row] * len(self._counts.codings) + tasks[column]
        keep = self._asked.ravel()[pair]
        return order[keep], pair[keep], value[row[keep]], value[column[keep]]

    def _wide_narrow(self, group: int) -> list[Cells]:
        """Blocks of cells of a wide and a narrow task, one block a pair and direction."""
        counts, size = self._counts, len(self._counts.codings)
        found: list[Cells] = []
        for w, tables in counts.wide_narrow.items():
            for place, i in enumerate(counts.narrow_tasks):
                table = tables[group][:, counts.offsets[place] : counts.offsets[place + 1]]
                for s, t, cells in ((w, i, table), (i, w, table.T)):
                    if self._asked[s, t]:
                        # Flat, since NumPy finds what is not zero in one dimension several times faster.
                        flat = np.ascontiguousarray(cells).ravel()
                        at = np.flatnonzero(flat > 0)
                        a, b = np.divmod(at, cells.shape[1])
                        found.append((np.full(len(a), s * size + t), a, b, flat[at]))
        return found

    def _wide_wide(self, group: int) -> list[Cells]:
        """Blocks of cells of two wide tasks."""
        size = len(self._counts.codings)
        found: list[Cells] = []
        for (i, j), cells in self._counts.wide_wide.items():
            _, a, b, n = cells[:, cells[0] == group]
            if self._asked[i, j]:
                found.append((np.full(len(a), i * size + j), a, b, n))
            if self._asked[j, i]:
                swap = np.lexsort((a, b))
                found.append((np.full(len(a), j * size + i), b[swap], a[swap], n[swap]))
        return found


def _merged(cells: Cells, blocks: Sequence[Cells]) -> Cells:
    """Cells sorted by pair, with the blocks, each of one other pair, put in at their places without sorting cells."""
    ordered = sorted((block for block in blocks if len(block[0])), key=lambda block: int(block[0][0]))
    cuts = np.searchsorted(cells[0], [block[0][0] for block in ordered])
    columns: list[Int64] = []
    for k, column in enumerate(cells):
        pieces = np.split(column, cuts)
        between = [part for piece, block in zip(pieces, ordered, strict=False) for part in (piece, block[k])]
        columns.append(np.concatenate([*between, pieces[-1]]))
    pair, s_value, t_value, n = columns
    return pair, s_value, t_value, n
