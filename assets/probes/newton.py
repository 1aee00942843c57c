"""The solver behind every linear probe: truncated Newton with conjugate gradients, all targets at once.

It minimises ½‖w‖² + C·Σ loss(y, w·x + b), with or without ½b², for T targets over the same rows. No scikit-learn
conventions and no standardising here: those are the callers'.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Protocol

import torch
from torch import Tensor

from assets.probes.conjugate_gradients import ConjugateGradients
from assets.probes.exact_steps import ExactSteps, are_few
from assets.probes.leading_directions import LeadingDirections
from assets.probes.line_search import best_multiple, line_search
from assets.probes.preconditioner import Preconditioner
from assets.probes.problem import Point, Problem, evaluate, point_at
from assets.probes.rows import Rows

MAX_NEWTON = 60
_SHORTER = 0.7
_WARM_START_SHARE = 8
_WARM_START_FROM = 40  # rows a dimension that the subset must have: a smaller one would overfit and mislead


@dataclass(frozen=True)
class Minimum:
    """Where the solver stopped: weights (d + 1, T), objective, norm of the gradient (T,), all float64."""

    weights: Tensor
    objective: Tensor
    gradient_norm: Tensor
    iterations: int


class Directions(Protocol):
    """What finds Newton directions."""

    def find(self, problem: Problem, point: Point, weights: Tensor, targets: Tensor, tol: float) -> Tensor:
        """(d + 1, T) float64: a Newton direction for each target, which are named as this knows them."""
        ...


def _passes(problem: Problem, *, exact: bool) -> tuple[tuple[torch.dtype, Callable[[], Directions]], ...]:
    """The precisions to try one after the other, and what makes the directions when it comes to that."""
    gradients = cache(partial(_conjugate_gradients, problem))
    if exact:
        return (torch.float64, lambda: ExactSteps(problem.rows, gradients())), (torch.float64, gradients)
    return (torch.float32, gradients), (torch.float64, gradients)


def _conjugate_gradients(problem: Problem) -> ConjugateGradients:
    kind = Preconditioner if problem.loss.curvature_is_sparse else LeadingDirections
    return ConjugateGradients(kind(problem.rows, len(problem.c)))


def minimise(problem: Problem, *, tol: float, start: Tensor | None = None) -> Minimum:
    """Minimise until ½‖∇‖² ≤ tol · objective, in float32 and, for the targets that this does not bring there, float64.

    Few rows under a squared hinge are in float64 from the beginning, by exact steps.

    Args:
        problem: rows, signs, C and loss.
        tol: certified relative distance from the optimum.
        start: (d + 1, T) weights to start from; None starts from a subset of the rows, or from zero.

    Returns:
        The minimum with objective and gradient in float64, whatever precision found it.
    """
    warm, few = (
        start is not None,
        problem.loss.curvature_is_sparse and are_few(problem.rows.n, problem.rows.d),
    )
    passes = _passes(problem, exact=few)
    if few:
        problem = replace(problem, rows=problem.rows.converted(torch.float64))
    weights = _start(problem, tol) if start is None else start.double()
    if warm and few:
        weights = _within_reach(problem, weights)
    found = Minimum(weights, *evaluate(problem, weights), 0) if warm else None
    iterations = 0
    for dtype, directions in passes:
        open_ = _open(found, tol, weights.shape[1], weights.device)
        if not len(open_):
            break
        part = problem.select(open_).with_dtype(dtype)
        solved, steps = _newton(part, weights[:, open_], 0.5 * tol, directions(), open_)
        iterations += steps
        objective, norm = evaluate(part, solved)
        if found is None:
            found = Minimum(solved, objective, norm, iterations)
        else:
            found = _better(found, open_, solved, objective, norm, iterations)
        weights = found.weights
    if found is None:
        found = Minimum(weights, *evaluate(problem, weights), 0)
    return found


def _open(found: Minimum | None, tol: float, n_targets: int, device: torch.device) -> Tensor:
    if found is None:
        return torch.arange(n_targets, device=device)
    return (0.5 * found.gradient_norm.square() > tol * found.objective).nonzero()[:, 0]


def _better(
    found: Minimum, targets: Tensor, weights: Tensor, objective: Tensor, norm: Tensor, iterations: int
) -> Minimum:
    """Take the later solution where its objective is not worse."""
    keep = (objective <= found.objective[targets] * (1 + 1e-12)) | (norm < found.gradient_norm[targets])
    chosen = targets[keep]
    merged = replace(
        found,
        weights=found.weights.clone(),
        objective=found.objective.clone(),
        gradient_norm=found.gradient_norm.clone(),
        iterations=iterations,
    )
    merged.weights[:, chosen] = weights[:, keep]
    merged.objective[chosen] = objective[keep]
    merged.gradient_norm[chosen] = norm[keep]
    return merged


def _start(problem: Problem, tol: float) -> Tensor:
    """Zero, or for many rows the minimum over an eighth of them, with C raised to match."""
    rows, n_targets = problem.rows, problem.signs.shape[1]
    zero = torch.zeros(rows.d + 1, n_targets, dtype=torch.float64, device=rows.device)
    size = rows.n // _WARM_START_SHARE
    if size < _WARM_START_FROM * rows.d:
        return zero
    generator = torch.Generator().manual_seed(rows.n)
    chosen = torch.randperm(rows.n, generator=generator)[:size].sort().values
    signs = problem.signs[chosen.to(problem.signs.device)]
    known = problem.signs.abs().sum(0, dtype=torch.float64)
    sampled = signs.abs().sum(0, dtype=torch.float64).clamp_min(1)
    index = chosen if rows.index is None else rows.index[chosen.to(rows.index.device)]
    part = Problem(
        Rows(rows.embedding, rows.device, rows.dtype, index, rows.work, rows.share / _WARM_START_SHARE),
        signs,
        problem.c * known / sampled,
        problem.loss,
    )
    every = torch.arange(n_targets, device=rows.device)
    return _newton(part, zero, max(tol, 1e-2), _conjugate_gradients(part), every)[0]


def _within_reach(problem: Problem, start: Tensor) -> Tensor:
    """The start, or the best multiple of it made somewhat shorter where that is better.

    The weights of another loss may point the right way and be of another length. Exact steps shed support rows more
    easily than they find them, so the margins should rather be too small than too large.
    """
    shorter = _SHORTER * best_multiple(problem, start) * start
    better = evaluate(problem, shorter)[0] < evaluate(problem, start)[0]
    return torch.where(better, shorter, start)


def _newton(
    problem: Problem, start: Tensor, tol: float, directions: Directions, names: Tensor
) -> tuple[Tensor, int]:
    """Newton's method from `start`, the targets named as `directions` knows them; (d + 1, T) weights, steps."""
    result = start.clone()
    targets = torch.arange(start.shape[1], device=start.device)
    weights, here = start.clone(), problem
    decisions = _decisions(problem, weights)
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
            targets, weights, decisions = targets[keep], weights[:, keep], decisions[:, keep]
            here = here.select(keep)
            point = point.select(keep)
        direction = directions.find(here, point, weights, names[targets], tol)
        along = here.rows.decide(direction)
        length = line_search(here, weights, direction, decisions, along)
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


def _decisions(problem: Problem, weights: Tensor) -> Tensor:
    if bool((weights == 0).all()):
        rows = problem.rows
        return torch.zeros(rows.n, weights.shape[1], dtype=rows.dtype, device=rows.device)
    return problem.rows.decide(weights)
