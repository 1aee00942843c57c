"""How far to go along a direction, for every target at once; no products with the embedding."""

from dataclasses import dataclass

import torch
from torch import Tensor

from assets.probes.problem import Gradient, Point, Problem

_STEPS = 12
_EXACT_STEPS = 60


def line_search(
    problem: Problem,
    point: Point | Gradient,
    weights: Tensor,
    direction: Tensor,
    decisions: Tensor,
    along: Tensor,
    highest: Tensor | None = None,
) -> Tensor:
    """Step lengths (T,) from the point: 1 wherever that lowers the objective, else near the minimum.

    With `highest` (T,), not below the point's objective, 1 wherever that stays below it.
    """
    line = _Line(problem, weights, direction, decisions, along)
    begin = (point.objective, (point.gradient * direction).sum(0))
    return _search(line, begin, take_whole=True, highest=highest)


def least_along(
    problem: Problem, point: Point, weights: Tensor, direction: Tensor, decisions: Tensor, along: Tensor
) -> Tensor:
    """Step lengths (T,) from the point to the minimum along the direction, to a thousandth."""
    line = _Line(problem, weights, direction, decisions, along)
    begin = (point.objective, (point.gradient * direction).sum(0))
    return _search(line, begin, take_whole=False, precision=1e-3, most=_EXACT_STEPS)


def best_multiple(problem: Problem, weights: Tensor) -> Tensor:
    """Near the multiple (T,) of the weights that has the least objective."""
    origin = torch.zeros_like(weights)
    along = problem.rows.decide(weights)
    line = _Line(problem, origin, weights, torch.zeros_like(along), along)
    return _search(line, line.at(torch.zeros_like(problem.c))[:2], take_whole=False)


def _search(
    line: "_Line",
    begin: tuple[Tensor, Tensor],
    *,
    take_whole: bool,
    highest: Tensor | None = None,
    precision: float = 0.05,
    most: int = _STEPS,
) -> Tensor:
    """Bracketed Newton steps from 1, loosely where a whole step will do, else to a share of the length.

    `begin` is the objective and its slope where the line begins; a whole step may lead up to `highest`, or to that
    objective.
    """
    problem = line.problem
    low, length = torch.zeros_like(problem.c), torch.ones_like(problem.c)
    high = torch.full_like(problem.c, torch.inf)
    value, first = begin
    limit = value if highest is None else highest
    whole = torch.zeros_like(low, dtype=torch.bool)
    for step in range(most):
        reached, slope, bend = line.at(length)
        newton = length - slope / bend.clamp_min(1e-300)
        if not take_whole:
            done = (newton - length).abs() <= precision * length
        else:
            whole = reached <= limit + 1e-4 * first if step == 0 else whole
            done = whole | (slope.abs() <= 0.1 * first.abs())
        if done.all():
            break
        low, high = torch.where(slope < 0, length, low), torch.where(slope > 0, length, high)
        middle = torch.where(high.isinf(), 2 * length, 0.5 * (low + high))
        inside = (newton > low) & (newton < high) & newton.isfinite()
        length = torch.where(done, length, torch.where(inside, newton, middle))
    return length


@dataclass(frozen=True)
class _Line:
    """The objective along one direction a target; evaluating it takes no product."""

    problem: Problem
    weights: Tensor
    direction: Tensor
    decisions: Tensor
    along: Tensor

    def at(self, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Objective, first and second derivative at the step lengths, (T,) each."""
        loss, slope, bend = (torch.zeros_like(self.problem.c) for _ in range(3))
        low = length.to(self.decisions.dtype)
        for part in self.problem.rows.slices():
            way = self.along[part]
            signs = self.problem.signs[part].to(way.dtype)
            found = self.problem.loss(signs, torch.addcmul(self.decisions[part], way, low))
            loss += found.loss.sum(0, dtype=torch.float64)
            slope += (found.slope * way).sum(0, dtype=torch.float64)
            bend += (found.curvature * way.square()).sum(0, dtype=torch.float64)
        moved = self.problem.penalised(self.direction)
        place = self.problem.penalised(self.weights) + length * moved
        c = self.problem.c
        return (
            0.5 * place.square().sum(0) + c * loss,
            (place * moved).sum(0) + c * slope,
            moved.square().sum(0) + c * bend,
        )
