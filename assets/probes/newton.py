"""Newton's method on all targets at once, each stopping by its own gradient; no finding of directions."""

from typing import Protocol

import torch
from torch import Tensor

from assets.probes.line_search import line_search
from assets.probes.problem import Point, Problem, decisions_at, point_at
from assets.probes.rows import select_targets

MAX_NEWTON = 60


class Directions(Protocol):
    """What finds Newton directions."""

    def find(self, problem: Problem, point: Point, weights: Tensor, targets: Tensor, tol: float) -> Tensor:
        """(d + 1, T) float64: a Newton direction for each target, which are named as this knows them."""
        ...


def newton(
    problem: Problem, start: Tensor, tol: float, directions: Directions, names: Tensor
) -> tuple[Tensor, int]:
    """Newton's method from `start`, the targets named as `directions` knows them; (d + 1, T) weights, steps."""
    result = start.clone()
    targets = torch.arange(start.shape[1], device=start.device)
    weights, here = start.clone(), problem
    decisions = decisions_at(problem, weights)
    stall = _Stall(start.shape[1], start.device)
    for step in range(MAX_NEWTON):
        point = point_at(here, weights, decisions)
        result[:, targets] = weights
        gap = 0.5 * point.gradient.square().sum(0)
        open_ = (gap > tol * point.objective) & ~stall.update(targets, point.objective, gap)
        if not open_.any():
            return result, step
        if not open_.all():
            keep = open_.nonzero()[:, 0]
            targets, weights, decisions = targets[keep], weights[:, keep], select_targets(decisions, keep)
            here = here.select(keep)
            point = point.select(keep)
        direction = directions.find(here, point, weights, names[targets], tol)
        along = here.rows.decide(direction)
        length = line_search(here, point, weights, direction, decisions, along)
        weights = weights + length * direction
        decisions.addcmul_(along, length.to(along.dtype))
    result[:, targets] = weights
    return result, MAX_NEWTON


class _Stall:
    """Tells the targets that rounding keeps from coming closer."""

    def __init__(self, n_targets: int, device: torch.device) -> None:
        self.objective = torch.full((n_targets,), torch.inf, dtype=torch.float64, device=device)
        self.gap = self.objective.clone()
        self.count = torch.zeros(n_targets, dtype=torch.int64, device=device)

    def update(self, targets: Tensor, objective: Tensor, gap: Tensor) -> Tensor:
        before, best = self.objective[targets], self.gap[targets]
        idle = (objective > before * (1 - 1e-8)) & (gap > 0.5 * best)
        self.count[targets] = torch.where(idle, self.count[targets] + 1, 0)
        self.objective[targets] = torch.minimum(objective, before)
        self.gap[targets] = torch.minimum(gap, best)
        return self.count[targets] >= 2
