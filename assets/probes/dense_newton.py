"""Newton's method with each target's whole Hessian in float64: slow, the last resort, one target at a time.

With about twice as many rows as features and a large C the support keeps changing by a few rows a step and the Hessian
is close to singular, so that neither shared steps nor float32 factors arrive. Such problems are small: here the Hessian
follows the rows whose curvature changes, and the line search is exact.
"""

import torch
from torch import Tensor

from assets.probes.line_search import least_along
from assets.probes.problem import Point, Problem, decisions_at, point_at
from assets.probes.rows import add_to_lower

_MOST_STEPS = 400
_MOST_WORK = (
    4e11  # floating-point operations a target, some seconds; beyond them it is said not to have converged
)
_MOST_DIMENSIONS = 4096  # a Hessian of 134 MB
_AFRESH = 0.7  # of the rows with curvature: when more have changed, their sum is made anew
_NO_GAIN = 1e-13


def dense_newton(problem: Problem, start: Tensor, tol: float) -> tuple[Tensor, int]:
    """Minimise from `start` (d + 1, T) until ½‖∇‖² ≤ tol · objective or the work is spent; weights and most steps.

    Embeddings of more than 4,096 dimensions come back as they are.
    """
    if start.shape[0] > _MOST_DIMENSIONS:
        return start, 0
    found, most = start.clone(), 0
    for target in range(start.shape[1]):
        name = torch.tensor([target], device=start.device)
        found[:, name], steps = _minimise(problem.select(name), start[:, name], tol)
        most = max(most, steps)
    return found, most


def _minimise(problem: Problem, weights: Tensor, tol: float) -> tuple[Tensor, int]:
    hessian = _Hessian(problem)
    for step in range(_MOST_STEPS):
        decisions = decisions_at(problem, weights)
        point = point_at(problem, weights, decisions)
        if 0.5 * float(point.gradient.square().sum()) <= tol * float(point.objective):
            return weights, step
        direction = hessian.direction(point)
        if direction is None:
            return weights, step
        along = problem.rows.decide(direction)
        length = least_along(problem, point, weights, direction, decisions, along)
        gain = -float(length * (point.gradient * direction).sum())
        if not gain > _NO_GAIN * float(point.objective):
            return weights + length * direction, step + 1
        weights = weights + length * direction
    return weights, _MOST_STEPS


class _Hessian:
    """I + C·X̃ᵀDX̃ of one target, kept while D changes; without the 1 where the intercept is not penalised."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        d, n = problem.rows.d + 1, problem.rows.n
        place = problem.rows.device
        self.data = torch.zeros(d, d, dtype=torch.float64, device=place)
        self.curvature = torch.zeros(n, dtype=torch.float64, device=place)
        self.penalty = problem.penalised(torch.ones(d, 1, dtype=torch.float64, device=place))[:, 0]
        self.work = 0.0

    def direction(self, point: Point) -> Tensor | None:
        """-H⁻¹∇, (d + 1, 1), or None when the work is spent or rounding has eaten the Hessian."""
        if self.work > _MOST_WORK:
            return None
        self._follow(point.curvature[:, 0].double())
        hessian = self.problem.c * self.data
        hessian.diagonal().add_(self.penalty)
        lower, failed = torch.linalg.cholesky_ex(hessian)
        if bool(failed):
            hessian.diagonal().mul_(1 + 100 * torch.finfo(torch.float64).eps * len(hessian))
            lower, failed = torch.linalg.cholesky_ex(hessian)
        self.work += len(hessian) ** 3 / 3
        return None if bool(failed) else torch.cholesky_solve(-point.gradient, lower)

    def _follow(self, curvature: Tensor) -> None:
        changed = (curvature != self.curvature).nonzero()[:, 0]
        if len(changed) > _AFRESH * int((curvature > 0).sum()):
            self.data.zero_()
            self.curvature.zero_()
            changed = (curvature > 0).nonzero()[:, 0]
        difference = (curvature - self.curvature)[changed]
        size = self.problem.rows.block_rows
        for start in range(0, len(changed), size):
            rows, weight = changed[start : start + size], difference[start : start + size]
            x = self.problem.rows.take(rows)
            add_to_lower(self.data, x * weight[:, None], x)
        self.curvature = curvature
        self.work += 2.0 * len(changed) * len(self.data) ** 2
