"""The embedding as a stack of row blocks, and the matrix products every linear probe is made of; no loss, no solver.

All targets share each pass: a product costs one walk over the rows, whatever the number of targets. Blocks keep the
working set in the cache on a CPU, and let the embedding stay in a memory-mapped file or on the host of a GPU.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

ArrayLike = NDArray[Any] | Tensor
"""A NumPy array (a memory map too) or a torch tensor."""

_PANEL = 129  # columns: four panels of the usual 513
_MOST_PANELS = 8
_BLOCK_VALUES = 1 << 20  # 4 MB of float32: fits beside its results in a third-level cache


def as_tensor(array: ArrayLike) -> Tensor:
    """The array as a torch tensor that shares its memory, read-only memory maps included."""
    if isinstance(array, Tensor):
        return array
    with warnings.catch_warnings():
        # torch warns that writing to a read-only map is undefined; nothing here writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def select_targets(values: Tensor, targets: Tensor) -> Tensor:
    """Columns of (n, T) values that lie target by target in memory, as all such values of the solver do."""
    return values.T[targets].T


def select_rows(values: Tensor, rows: Tensor) -> Tensor:
    """Rows of such values, lying target by target again."""
    return values.T[:, rows].T


def add_to_lower(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add leftᵀ right, which is symmetric, to the lower triangle of `total`; what lies above it has no meaning then.

    Panel by panel of columns, since no routine of torch makes half of a product; four panels save three eighths of it.

    Args:
        total: (d, d), changed in place.
        left: (k, d).
        right: (k, d).
    """
    d = len(total)
    width = max(_PANEL, -(-d // _MOST_PANELS))
    for start in range(0, d, width):
        panel = slice(start, min(start + width, d))
        total[start:, panel] += left[:, start:].T @ right[:, panel]


@dataclass
class Work:
    """Columns multiplied so far: a product of the whole embedding with one column counts 1."""

    columns: float = 0.0


class Rows:
    """The rows x of an embedding with a constant 1 behind them, x̃ = (x, 1).

    Weights are (d + 1, T) throughout, the intercept in the last row.

    Args:
        embedding: (n, d), float32; moved to `device` block by block if it lives elsewhere.
        device: where products are computed.
        dtype: precision of the products; sums over blocks are always float64.
        work: where products are counted; shared by rows made from these.
        share: what a product over these rows counts, as a share of one over all.
    """

    def __init__(
        self,
        embedding: Tensor,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        work: Work | None = None,
        share: float = 1.0,
    ) -> None:
        self.embedding, self.device, self.dtype = embedding, device, dtype
        self.work = Work() if work is None else work
        self.share = share
        self.n = int(embedding.shape[0])
        self.d = int(embedding.shape[1])
        self.block_rows = max(256, _BLOCK_VALUES // max(self.d, 1))

    def with_dtype(self, dtype: torch.dtype) -> "Rows":
        """The same rows, multiplied in another precision."""
        return Rows(self.embedding, self.device, dtype, self.work, self.share)

    def converted(self, dtype: torch.dtype) -> "Rows":
        """The same rows held in another precision, which few rows are worth."""
        return Rows(self.embedding.to(self.device, dtype), self.device, dtype, self.work, self.share)

    def part(self, rows: Tensor, share: float) -> "Rows":
        """Some of the rows, by number, ascending, copied; a product over them counts `share` of one over these."""
        held = self.embedding[rows.to(self.embedding.device)].to(self.device)
        return Rows(held, self.device, self.dtype, self.work, self.share * share)

    def count(self, columns: int) -> None:
        """Note that so many columns were multiplied with all rows."""
        self.work.columns += columns * self.share

    def slices(self) -> Iterator[slice]:
        """The row blocks, in order."""
        for start in range(0, self.n, self.block_rows):
            yield slice(start, min(start + self.block_rows, self.n))

    def block(self, rows: slice) -> Tensor:
        """(rows, d) on the device, in the precision of the products."""
        return self.embedding[rows].to(self.device, self.dtype)

    def take(self, rows: Tensor) -> Tensor:
        """(len(rows), d + 1): single rows x̃, in the precision of the products."""
        x = self.embedding[rows.to(self.embedding.device)].to(self.device, self.dtype)
        return torch.cat([x, x.new_ones(len(x), 1)], dim=1)

    def forward(self, x: Tensor, weights: Tensor, out: Tensor | None = None) -> Tensor:
        """X̃ W of one block, (rows, T), each target's values side by side in memory; into `out` where given."""
        into = None if out is None else out.T
        return torch.addmm(weights[-1, :, None], weights[:-1].T.contiguous(), x.T, out=into).T

    def backward(self, x: Tensor, values: Tensor, total: Tensor) -> None:
        """Add X̃ᵀ V of one block to `total`, (d + 1, T) float64."""
        total[:-1] += (values.T @ x).T  # twice as fast as x.T @ values where targets are few
        total[-1] += values.sum(0, dtype=torch.float64)

    def decide(self, weights: Tensor, out: Tensor | None = None) -> Tensor:
        """X̃ W over all rows, (n, T) target by target in memory, in the precision of the products.

        Args:
            weights: (d + 1, T).
            out: such values that are not needed any more, whose memory is taken.
        """
        if out is None:
            out = torch.empty(weights.shape[1], self.n, dtype=self.dtype, device=self.device).T
        low = weights.to(self.dtype)
        for rows in self.slices():
            self.forward(self.block(rows), low, out[rows])
        self.count(weights.shape[1])
        return out

    def curvature_product(self, vectors: Tensor, curvature: Tensor) -> Tensor:
        """X̃ᵀ (D ∘ X̃ V), (d + 1, T) float64; D is (n, T). Two products in one walk."""
        total = torch.zeros(self.d + 1, vectors.shape[1], dtype=torch.float64, device=self.device)
        low = vectors.to(self.dtype)
        for rows in self.slices():
            x = self.block(rows)
            self.backward(x, self.forward(x, low).mul_(curvature[rows]), total)
        self.count(2 * vectors.shape[1])
        return total
