"""Newton's method on all targets at once, each stopping by its own gradient; no finding of directions."""

from collections import deque
from typing import Protocol

import torch
from torch import Tensor

from assets.probes.line_search import line_search
from assets.probes.problem import Point, Problem, decisions_at, point_at
from assets.probes.rows import select_targets

MAX_NEWTON = 60
_PATIENCE = 2  # steps without progress at which rounding is to blame


class Directions(Protocol):
    """What finds Newton directions."""

    def find(self, problem: Problem, point: Point, weights: Tensor, targets: Tensor, tol: float) -> Tensor:
        """(d + 1, T) float64: a Newton direction for each target, which are named as this knows them."""
        ...


def newton(
    problem: Problem, start: Tensor, tol: float, directions: Directions, names: Tensor, *, memory: int = 1
) -> tuple[Tensor, int]:
    """Newton's method from `start`.

    Args:
        problem: rows, signs, C and loss.
        start: (d + 1, T) float64 weights.
        tol: as in `minimise`.
        directions: what finds them.
        names: the targets, as `directions` knows them.
        memory: a step may lead as high as the highest of so many last objectives. Above 1 it lets exact steps go
            through to the end over a kink, for which they take a third fewer steps (Grippo, Lampariello and Lucidi,
            SIAM Journal on Numerical Analysis 23, 1986).

    Returns:
        (d + 1, T) weights and the number of steps.
    """
    result = start.clone()
    targets = torch.arange(start.shape[1], device=start.device)
    weights, here = start.clone(), problem
    decisions = decisions_at(problem, weights)
    stall = _Stall(start.shape[1], start.device, _PATIENCE + memory - 1)
    heights: deque[Tensor] = deque(maxlen=memory)
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
            here, point = here.select(keep), point.select(keep)
            heights = deque((height[keep] for height in heights), memory)
        heights.append(point.objective)
        direction = directions.find(here, point, weights, names[targets], tol)
        along = here.rows.decide(direction)
        highest = torch.stack(tuple(heights)).amax(0)
        length = line_search(here, point, weights, direction, decisions, along, highest)
        weights = weights + length * direction
        decisions.addcmul_(along, length.to(along.dtype))
    result[:, targets] = weights
    return result, MAX_NEWTON


class _Stall:
    """Tells the targets that rounding keeps from coming closer."""

    def __init__(self, n_targets: int, device: torch.device, patience: int) -> None:
        self.patience = patience
        self.objective = torch.full((n_targets,), torch.inf, dtype=torch.float64, device=device)
        self.gap = self.objective.clone()
        self.count = torch.zeros(n_targets, dtype=torch.int64, device=device)

    def update(self, targets: Tensor, objective: Tensor, gap: Tensor) -> Tensor:
        before, best = self.objective[targets], self.gap[targets]
        idle = (objective > before * (1 - 1e-8)) & (gap > 0.5 * best)
        self.count[targets] = torch.where(idle, self.count[targets] + 1, 0)
        self.objective[targets] = torch.minimum(objective, before)
        self.gap[targets] = torch.minimum(gap, best)
        return self.count[targets] >= self.patience
