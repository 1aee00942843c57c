"""The solver behind every linear probe: truncated Newton with conjugate gradients, all targets at once.

It minimises ½‖w‖² + C·Σ loss(y, w·x + b), with or without ½b², for T targets over the same rows. No scikit-learn
conventions and no standardising here: those are the callers'.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from assets.probes.losses import Loss
from assets.probes.preconditioner import Preconditioner
from assets.probes.rows import Rows

MAX_NEWTON = 60
MAX_CONJUGATE = {torch.float32: 60, torch.float64: 250}
_MODEL_SHARE = 0.1  # of the model's decrease: a step of conjugate gradients that brings less is the last
_LINE_STEPS = 12
_WARM_START_SHARE = 8
_WARM_START_FROM = 40  # rows a dimension that the subset must have: a smaller one would overfit and mislead


@dataclass(frozen=True)
class Problem:
    """What is minimised: rows, signs (n, T) int8 in {-1, 0, +1} with 0 = missing, c (T,) float64, and the loss."""

    rows: Rows
    signs: Tensor
    c: Tensor
    loss: Loss

    def select(self, targets: Tensor) -> "Problem":
        """The same problem for some of the targets."""
        return replace(self, signs=self.signs[:, targets], c=self.c[targets])

    def penalised(self, weights: Tensor) -> Tensor:
        """The weights that the penalty sees: all, or all but the intercept."""
        if self.loss.intercept_penalised:
            return weights
        return torch.cat([weights[:-1], torch.zeros_like(weights[-1:])])


@dataclass(frozen=True)
class Minimum:
    """Where the solver stopped: weights (d + 1, T), objective, norm of the gradient (T,), all float64."""

    weights: Tensor
    objective: Tensor
    gradient_norm: Tensor
    iterations: int


@dataclass(frozen=True)
class _Point:
    objective: Tensor
    gradient: Tensor
    curvature: Tensor


def minimise(problem: Problem, *, tol: float, start: Tensor | None = None) -> Minimum:
    """Minimise until ½‖∇‖² ≤ tol · objective, in float32 and, for the targets that this does not bring there, float64.

    Args:
        problem: rows, signs, C and loss.
        tol: certified relative distance from the optimum.
        start: (d + 1, T) weights to start from; None starts from a subset of the rows, or from zero.

    Returns:
        The minimum with objective and gradient in float64, whatever precision found it.
    """
    warm = start is not None
    weights = _start(problem, tol) if start is None else start.double()
    found = Minimum(weights, *evaluate(problem, weights), 0) if warm else None
    iterations, preconditioner = 0, None
    for dtype in (torch.float32, torch.float64):
        open_ = _open(found, tol, weights.shape[1], weights.device)
        if not len(open_):
            break
        part = replace(problem.select(open_), rows=problem.rows.with_dtype(dtype))
        preconditioner = preconditioner or Preconditioner(problem.rows, len(problem.c))
        solved, steps = _newton(part, weights[:, open_], 0.5 * tol, preconditioner, open_)
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
    return _newton(part, zero, max(tol, 1e-2), Preconditioner(part.rows, n_targets), every)[0]


def evaluate(problem: Problem, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Objective and norm of the gradient at the weights, computed in float64 throughout; each (T,)."""
    rows = problem.rows.with_dtype(torch.float64)
    total = torch.zeros_like(weights)
    loss_sum = torch.zeros_like(problem.c)
    for part in rows.slices():
        x = rows.block(part)
        found = problem.loss(problem.signs[part].double(), rows.forward(x, weights))
        loss_sum += found.loss.sum(0)
        rows.backward(x, found.slope, total)
    rows.count(2 * weights.shape[1])
    penalised = problem.penalised(weights)
    gradient = penalised + problem.c * total
    return 0.5 * penalised.square().sum(0) + problem.c * loss_sum, gradient.norm(dim=0)


def _newton(
    problem: Problem, start: Tensor, tol: float, preconditioner: Preconditioner, names: Tensor
) -> tuple[Tensor, int]:
    """Newton's method from `start`, the targets named as the preconditioner knows them; (d + 1, T) weights, steps."""
    result = start.clone()
    targets = torch.arange(start.shape[1], device=start.device)
    weights, here = start.clone(), problem
    decisions = _decisions(problem, weights)
    stall = _Stall(start.shape[1], start.device)
    for step in range(MAX_NEWTON):
        point = _point(here, weights, decisions)
        result[:, targets] = weights
        gap = 0.5 * point.gradient.square().sum(0)
        open_ = (gap > tol * point.objective) & ~stall.update(targets, point.objective, gap)
        if not open_.any():
            return result, step
        if not open_.all():
            keep = open_.nonzero()[:, 0]
            targets, weights, decisions = targets[keep], weights[:, keep], decisions[:, keep]
            here = here.select(keep)
            point = _Point(point.objective[keep], point.gradient[:, keep], point.curvature[:, keep])
        preconditioner.rescale(names[targets], here.c, point.curvature)
        direction = _conjugate_gradients(here, point, preconditioner, names[targets], tol)
        along = here.rows.decide(direction)
        length = _line_search(here, weights, direction, decisions, along)
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


def _point(problem: Problem, weights: Tensor, decisions: Tensor) -> _Point:
    """Objective, gradient and curvature at known decision values: one product."""
    rows = problem.rows
    total = torch.zeros_like(weights)
    loss_sum = torch.zeros_like(problem.c)
    curvature = torch.empty_like(decisions)
    for part in rows.slices():
        found = problem.loss(problem.signs[part].to(decisions.dtype), decisions[part])
        loss_sum += found.loss.sum(0, dtype=torch.float64)
        rows.backward(rows.block(part), found.slope, total)
        curvature[part] = found.curvature
    rows.count(weights.shape[1])
    penalised = problem.penalised(weights)
    objective = 0.5 * penalised.square().sum(0) + problem.c * loss_sum
    return _Point(objective, penalised + problem.c * total, curvature)


def _conjugate_gradients(
    problem: Problem, point: _Point, preconditioner: Preconditioner, targets: Tensor, tol: float
) -> Tensor:
    """An approximate Newton direction for each target, (d + 1, T); each target stops by its own residual."""
    solution = torch.zeros_like(point.gradient, dtype=problem.rows.dtype)
    live = torch.arange(len(targets), device=targets.device)
    curvature, c = point.curvature, problem.c
    residual = -point.gradient.to(problem.rows.dtype)
    direction = preconditioner.solve(residual, targets)
    power = (residual * direction).sum(0)
    goal = power * (power / point.objective).clamp(1e-4, 1e-2)
    decrease = torch.zeros_like(power)
    enough = 0.2 * tol * point.objective
    step_direction = direction
    for count in range(1, MAX_CONJUGATE[problem.rows.dtype] + 1):
        pushed = problem.rows.curvature_product(step_direction, curvature)
        pushed = problem.penalised(step_direction) + (c * pushed).to(step_direction.dtype)
        length = power / (step_direction * pushed).sum(0).clamp_min(1e-30)
        solution[:, live] += length * step_direction
        residual = residual - length * pushed
        for target in targets[live].tolist():
            preconditioner.spent[target] += 1
        gained = length * power
        decrease = decrease + gained
        direction = preconditioner.solve(residual, targets[live])
        renewed = (residual * direction).sum(0)
        # The residual alone would stop too early: what is left to gain hides in directions of little curvature.
        on = (count * gained > _MODEL_SHARE * decrease) | (renewed > goal)
        on &= 0.5 * residual.square().sum(0) > enough
        if not on.any():
            break
        step_direction = direction + renewed / power.clamp_min(1e-30) * step_direction
        power = renewed
        if not on.all():
            keep = on.nonzero()[:, 0]
            live, c, curvature = live[keep], c[keep], curvature[:, keep]
            residual, step_direction = residual[:, keep], step_direction[:, keep]
            power, goal, enough, decrease = power[keep], goal[keep], enough[keep], decrease[keep]
    return solution.double()


def _line_search(
    problem: Problem, weights: Tensor, direction: Tensor, decisions: Tensor, along: Tensor
) -> Tensor:
    """Step lengths (T,): 1 wherever that lowers the objective, else near the minimum along the direction."""
    line = _Line(problem, weights, direction, decisions, along)
    low, length = torch.zeros_like(problem.c), torch.ones_like(problem.c)
    high = torch.full_like(problem.c, torch.inf)
    value, first, _ = line.at(low)
    for step in range(_LINE_STEPS):
        reached, slope, bend = line.at(length)
        done = slope.abs() <= 0.1 * first.abs()
        if step == 0:
            whole = done | (reached <= value + 1e-4 * first)
        done |= whole
        if done.all():
            break
        low, high = torch.where(slope < 0, length, low), torch.where(slope > 0, length, high)
        newton = length - slope / bend.clamp_min(1e-300)
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
