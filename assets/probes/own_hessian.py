"""One target's own Hessian, factorised and kept up to date as rows enter and leave its support; one at a time."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from assets.probes.rows import Rows, add_to_lower

SAMPLES_PER_DIMENSION = 400
"""Most rows multiplied for one Hessian, per dimension.

An exact Hessian can be followed as rows enter and leave the support, for the price of those rows. A sampled one is made
anew, and where features are correlated it leaves many times the steps: 493 products with 20 rows a dimension, 124 with
all of them, at 180,000 × 512 on random features of digits images.
"""

_DUAL_SHARE = 0.6  # below this many support rows a dimension, their Gram matrix is the smaller system
_FEW_ROWS = 6  # as many steps of conjugate gradients make up for them, for less than a new factor costs
_ROUNDING = 1e-6  # of float32 products: what they lose must not look like negative curvature


class Factor(Protocol):
    """Something that solves P s = v."""

    def solve(self, vector: Tensor) -> Tensor:
        """P⁻¹ v, (d + 1,)."""
        ...


@dataclass
class PrimalFactor:
    """Cholesky factor of I + C·X̃ᵀDX̃, with what is needed to follow a change of D.

    Attributes:
        hessian: (d + 1, d + 1) float64, its lower triangle.
        curvature: (n,) the D behind it; None when the rows were a sample, which cannot be followed.
        lower: the factor in the precision of the products.
        support: number of rows with curvature.
    """

    hessian: Tensor
    curvature: Tensor | None
    lower: Tensor
    support: int

    def solve(self, vector: Tensor) -> Tensor:
        """See `Factor`."""
        return torch.cholesky_solve(vector[:, None].to(self.lower.dtype), self.lower)[:, 0].to(vector.dtype)


@dataclass
class DualFactor:
    """The same inverse for few support rows A = √(C·D)·X̃, by I - Aᵀ(I + AAᵀ)⁻¹A, in float64."""

    support: Tensor
    lower: Tensor
    curvature: Tensor

    def solve(self, vector: Tensor) -> Tensor:
        """See `Factor`."""
        v = vector.double()
        inner = torch.cholesky_solve((self.support @ v)[:, None], self.lower)[:, 0]
        return (v - self.support.T @ inner).to(vector.dtype)


def spread_sample(weight: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """At most `size` rows that stand for all rows of positive weight, without randomness.

    Args:
        weight: (n,), not negative.
        size: the greatest number of rows.

    Returns:
        Row numbers and their weights: the rows of positive weight themselves if they are few enough, else rows at
        equal distances along the cumulated weight, each with the same weight.
    """
    rows = weight.nonzero()[:, 0]
    if len(rows) <= size:
        return rows, weight[rows].double()
    cumulated = weight[rows].cumsum(0, dtype=torch.float64)
    marks = (torch.arange(size, device=weight.device, dtype=torch.float64) + 0.5) * (cumulated[-1] / size)
    chosen = rows[torch.searchsorted(cumulated, marks).clamp_max_(len(rows) - 1)]
    return chosen, (cumulated[-1] / size).expand(size)


def factorise(
    rows: Rows, curvature: Tensor, c: float, before: Factor | None, moments: Tensor | None
) -> Factor:
    """The factor of a target's Hessian at its present curvature, from as few rows as will do.

    Args:
        rows: the embedding.
        curvature: (n,) D, not negative.
        c: the target's C.
        before: its factor so far; where few rows have changed since, only those are multiplied.
        moments: X̃ᵀX̃ over all rows, (d + 1, d + 1) float64, its lower triangle; with it, the rows outside the
            support will do, too.
    """
    size = SAMPLES_PER_DIMENSION * (rows.d + 1)
    support = int((curvature > 0).sum())
    if isinstance(before, DualFactor) and int((curvature != before.curvature).sum()) <= _FEW_ROWS:
        return before
    if support <= _DUAL_SHARE * rows.d:
        return _dual(rows, curvature, c)
    best, base = support, torch.zeros_like(curvature)
    hessian = torch.eye(rows.d + 1, dtype=torch.float64, device=rows.device)
    if isinstance(before, PrimalFactor) and before.curvature is not None:
        changed = int((curvature != before.curvature).sum())
        if changed <= _FEW_ROWS:
            return before
        if changed < best:
            best, base, hessian = changed, before.curvature, before.hessian
    top = float(curvature.max())
    outside = int((curvature != top).sum())
    if moments is not None and outside < best:
        best, base, hessian = outside, torch.full_like(curvature, top), c * top * moments
        hessian.diagonal().add_(1)
    if best > size:
        chosen, weight = spread_sample(curvature, size)
        return _primal(rows, _add_moments(rows, hessian, chosen, c * weight), None, support)
    difference = curvature - base
    chosen = difference.nonzero()[:, 0]
    return _primal(
        rows, _add_moments(rows, hessian, chosen, c * difference[chosen].double()), curvature.clone(), support
    )


def _dual(rows: Rows, curvature: Tensor, c: float) -> DualFactor:
    chosen = curvature.nonzero()[:, 0]
    root = (c * curvature[chosen].double()).sqrt()
    support = rows.take(chosen).double() * root[:, None]
    gram = support @ support.T
    gram.diagonal().mul_(1 + _ROUNDING).add_(1)
    lower, failed = torch.linalg.cholesky_ex(gram)
    if bool(failed):
        lower = torch.diag(gram.abs().sum(1).sqrt())
    return DualFactor(support, lower, curvature.clone())


def _add_moments(rows: Rows, hessian: Tensor, chosen: Tensor, weight: Tensor) -> Tensor:
    """Add Σ weight·x̃x̃ᵀ over the chosen rows, in place; weights may be negative."""
    for start in range(0, len(chosen), rows.block_rows):
        x = rows.take(chosen[start : start + rows.block_rows])
        add_to_lower(hessian, x * weight[start : start + rows.block_rows, None].to(x.dtype), x)
    return hessian


def _primal(rows: Rows, hessian: Tensor, curvature: Tensor | None, support: int) -> PrimalFactor:
    for dtype in (rows.dtype, torch.float64):
        raised = hessian.to(dtype, copy=True)
        raised.diagonal().mul_(1 + _ROUNDING)
        lower, failed = torch.linalg.cholesky_ex(raised)
        if not bool(failed):
            return PrimalFactor(hessian, curvature, lower.to(rows.dtype), support)
    return PrimalFactor(
        hessian, curvature, torch.diag(hessian.diagonal().clamp_min(1).sqrt()).to(rows.dtype), support
    )
