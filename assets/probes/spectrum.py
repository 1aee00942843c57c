"""The second moments of an embedding's rows, which all targets share, and their eigenvectors; no target, no solver."""

from dataclasses import dataclass

import torch
from torch import Tensor

from assets.probes.rows import Rows, add_to_lower

_ROWS_PER_DIMENSION = 64  # all rows of most studies: then the first step from zero is exact


@dataclass(frozen=True)
class Spectrum:
    """Mean second moments of the rows x̃, decomposed.

    Attributes:
        eigenvalues: (d + 1,) float64, ascending, not negative.
        basis: (d + 1, d + 1) eigenvectors in columns, in the precision of the rows' products.
        moments: X̃ᵀX̃, (d + 1, d + 1) float64, its lower triangle, where it is of all rows; else None.
    """

    eigenvalues: Tensor
    basis: Tensor
    moments: Tensor | None

    def solve(self, vectors: Tensor, scale: Tensor) -> Tensor:
        """(I + scale · mean second moments)⁻¹ V for vectors (d + 1, k) and scales (k,)."""
        shrunk = (1 + scale * self.eigenvalues[:, None]).to(self.basis.dtype)
        turned = self.basis.T @ vectors.to(self.basis.dtype)
        found: Tensor = self.basis @ (turned / shrunk)
        return found.to(vectors.dtype)


def spectrum_of(rows: Rows) -> Spectrum:
    """The spectrum from all rows, or from 64 rows a dimension at equal distances where there are more."""
    size = min(rows.n, _ROWS_PER_DIMENSION * (rows.d + 1))
    moments = second_moments(rows, size)
    eigenvalues, basis = torch.linalg.eigh(moments / max(size, 1), UPLO="L")
    return Spectrum(eigenvalues.clamp_min(0), basis.to(rows.dtype), moments if size == rows.n else None)


def second_moments(rows: Rows, size: int) -> Tensor:
    """X̃ᵀX̃ of so many rows at equal distances, (d + 1, d + 1) float64, its lower triangle."""
    d = rows.d
    every = None
    if size < rows.n:
        every = torch.linspace(0, rows.n - 1, size, dtype=torch.float64, device=rows.device).round().long()
    moments = torch.zeros(d + 1, d + 1, dtype=torch.float64, device=rows.device)
    for start in range(0, size, rows.block_rows):
        part = slice(start, min(start + rows.block_rows, size))
        x = rows.block(part) if every is None else rows.take(every[part])[:, :-1]
        add_to_lower(moments[:d, :d], x, x)
        moments[d, :d] += x.sum(0, dtype=torch.float64)
    moments[d, d] = size
    return moments
