"""Exact Newton steps of squared-hinge SVMs over few rows, all targets at once; other targets keep another direction.

On a fixed support the squared hinge is a least-squares problem, whose minimum lies in the span of the support's rows
and takes one small Cholesky factor a target (Keerthi and DeCoste, JMLR 6, 2005; Chapelle, Neural Computation 19, 2007).
With few rows all their inner products are known, and targets with supports of about the same size are factorised in one
call.
"""

from dataclasses import replace

import torch
from torch import Tensor

from assets.probes.conjugate_gradients import ConjugateGradients
from assets.probes.problem import Point, Problem
from assets.probes.rows import Rows, add_to_lower

_ROWS_PER_DIMENSION = 4
_MOST_ROWS = 6_000  # their inner products take 290 MB
_SUPPORT_SHARE = 0.75  # of the dimensions: with more support rows, conjugate gradients are cheaper
_FAR = 0.1  # ½‖gradient‖² / objective: a target beyond it is well served by factors in float32
_PADDING = 1.15
_TOGETHER = 1 << 23  # values of the factors of one call, 64 MB


def are_few(n: int, d: int) -> bool:
    """Whether all inner products of n rows of d features are worth having."""
    return n <= min(_ROWS_PER_DIMENSION * (d + 1), _MOST_ROWS)


class ExactSteps:
    """The step to the minimum over the present support where that is small, else conjugate gradients in float32.

    Args:
        rows: the embedding, few rows, in float32.
        otherwise: what finds the direction of the targets with a large support.
    """

    def __init__(self, rows: Rows, otherwise: ConjugateGradients) -> None:
        self.rows = rows
        x = rows.with_dtype(torch.float64).take(torch.arange(rows.n, device=rows.device))
        x = torch.cat([x, x.new_zeros(1, x.shape[1])])  # the row that padding points to
        # Support rows are taken in ascending order and factors read the lower triangle alone, so that will do.
        kernel = x.new_zeros(len(x), len(x))
        add_to_lower(kernel, x.T, x.T)
        self.kernels, self.otherwise = (kernel.float(), kernel), otherwise
        self.rounding = torch.finfo(torch.float32).eps * float(kernel.trace())  # what a ridge must outweigh

    def find(self, problem: Problem, point: Point, weights: Tensor, targets: Tensor, tol: float) -> Tensor:
        """A Newton direction for each target, (d + 1, T) float64; see `Directions`."""
        support = point.curvature > 0
        sizes = support.sum(0)
        exact = sizes <= _SUPPORT_SHARE * problem.rows.d
        direction = torch.empty_like(weights)
        many = (~exact).nonzero()[:, 0]
        near = 0.5 * point.gradient.square().sum(0) <= _FAR * point.objective
        near |= 0.5 / problem.c < self.rounding
        for kernel, part in zip(self.kernels, (exact & ~near, exact & near), strict=True):
            few = part.nonzero()[:, 0]
            if len(few):
                minimum = _minimum(kernel, problem.select(few), support[:, few], sizes[few])
                direction[:, few] = minimum - weights[:, few]
        if len(many):
            there, at = replace(problem.select(many), rows=self.rows), point.select(many)
            at = replace(at, curvature=at.curvature.to(self.rows.dtype))
            direction[:, many] = self.otherwise.find(there, at, weights[:, many], targets[many], tol)
        return direction


def _minimum(kernel: Tensor, problem: Problem, support: Tensor, sizes: Tensor) -> Tensor:
    """The weights (d + 1, T) that minimise each target's objective over its support alone."""
    values = torch.zeros(len(kernel), len(sizes), dtype=torch.float64, device=kernel.device)
    for group in _of_like_size(sizes):
        rows, inside = _padded(support[:, group], int(sizes[group].max()))
        found = _coefficients(kernel, problem.select(group), rows, inside)
        values[:, group] = values[:, group].scatter(0, rows.T, found.T)
    total = torch.zeros(problem.rows.d + 1, len(sizes), dtype=torch.float64, device=kernel.device)
    for part in problem.rows.slices():
        problem.rows.backward(problem.rows.block(part), values[part], total)
    problem.rows.count(len(sizes))
    return total


def _coefficients(kernel: Tensor, problem: Problem, rows: Tensor, inside: Tensor) -> Tensor:
    """(k, s) float64: β = (K + I / 2C)⁻¹ y over the support rows of each target, 0 in the padding."""
    gram = kernel.take(rows[:, :, None] * len(kernel) + rows[:, None, :])
    ridge = (0.5 / problem.c).to(gram.dtype)
    gram.diagonal(dim1=1, dim2=2).add_(ridge[:, None])
    signs = problem.signs.T.gather(1, rows.clamp_max(len(problem.signs) - 1)) * inside
    lower, failed = torch.linalg.cholesky_ex(gram)
    if bool(failed.any()):  # the same row many times, or a C whose ridge drowns in rounding
        gram.diagonal(dim1=1, dim2=2).mul_(1 + 100 * torch.finfo(gram.dtype).eps * gram.shape[1])
        lower = torch.linalg.cholesky(gram)
    found: Tensor = torch.cholesky_solve(signs[:, :, None].to(gram.dtype), lower)[:, :, 0]
    return found.double() * inside


def _of_like_size(sizes: Tensor) -> list[Tensor]:
    """The targets in groups of supports that differ little, so that padding costs little."""
    order = sizes.argsort()
    ordered = sizes[order].tolist()
    groups, start = [], 0
    for end in range(1, len(ordered) + 1):
        most = ordered[end] if end < len(ordered) else None
        if most is None or most > _PADDING * ordered[start] + 8 or (end + 1 - start) * most**2 > _TOGETHER:
            groups.append(order[start:end])
            start = end
    return groups


def _padded(support: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(k, size): each target's support rows, ascending, then the row of zeros, and which of them are support rows."""
    inside = torch.arange(size, device=support.device) < support.sum(0)[:, None]
    rows = torch.full(inside.shape, len(support), device=support.device)
    rows[inside] = support.T.nonzero()[:, 1]
    return rows, inside
