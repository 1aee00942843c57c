"""Newton directions from conjugate gradients on all targets at once; each target stops by its own residual."""

import torch
from torch import Tensor

from assets.probes.leading_directions import LeadingDirections
from assets.probes.preconditioner import Preconditioner
from assets.probes.problem import Point, Problem
from assets.probes.rows import select_targets

_MAX_STEPS = {torch.float32: 60, torch.float64: 250}
_NEGLIGIBLE = 1e-6  # of the first residual: after one step with an exact factor, less than this is left
_MODEL_SHARE = 0.1  # of the model's decrease: a step of conjugate gradients that brings less is the last


class ConjugateGradients:
    """Truncated Newton: the Hessian's system solved as far as pays.

    Args:
        preconditioner: of the targets' Hessians; it learns from the steps that are spent.
    """

    def __init__(self, preconditioner: Preconditioner | LeadingDirections) -> None:
        self.preconditioner = preconditioner

    def find(self, problem: Problem, point: Point, weights: Tensor, targets: Tensor, tol: float) -> Tensor:
        """An approximate Newton direction for each target, (d + 1, T) float64; see `Directions`."""
        del weights  # the gradient says it all
        self.preconditioner.rescale(targets, problem.c, point.curvature)
        return self._solve(problem, point, targets, tol)

    def _solve(self, problem: Problem, point: Point, targets: Tensor, tol: float) -> Tensor:
        solution = torch.zeros_like(point.gradient, dtype=problem.rows.dtype)
        live = torch.arange(len(targets), device=targets.device)
        curvature, c = point.curvature, problem.c
        residual = -point.gradient.to(problem.rows.dtype)
        direction = self.preconditioner.solve(residual, targets)
        power = (residual * direction).sum(0)
        goal = power * (power / point.objective).clamp(1e-4, 1e-2)
        negligible = _NEGLIGIBLE * power
        decrease = torch.zeros_like(power)
        enough = 0.2 * tol * point.objective
        step_direction = direction
        for count in range(1, _MAX_STEPS[problem.rows.dtype] + 1):
            pushed = problem.rows.curvature_product(step_direction, curvature)
            pushed = problem.penalised(step_direction) + (c * pushed).to(step_direction.dtype)
            length = power / (step_direction * pushed).sum(0).clamp_min(1e-30)
            solution[:, live] += length * step_direction
            residual = residual - length * pushed
            self.preconditioner.spend(targets[live])
            gained = length * power
            decrease = decrease + gained
            direction = self.preconditioner.solve(residual, targets[live])
            renewed = (residual * direction).sum(0)
            # The residual alone would stop too early: what is left to gain hides in directions of little curvature.
            on = (count * gained > _MODEL_SHARE * decrease) | (renewed > goal)
            on &= (renewed > negligible) & (0.5 * residual.square().sum(0) > enough)
            if not on.any():
                break
            step_direction = direction + renewed / power.clamp_min(1e-30) * step_direction
            power = renewed
            if not on.all():
                keep = on.nonzero()[:, 0]
                live, c, curvature = live[keep], c[keep], select_targets(curvature, keep)
                residual, step_direction = residual[:, keep], step_direction[:, keep]
                power, goal, enough, decrease = power[keep], goal[keep], enough[keep], decrease[keep]
                negligible = negligible[keep]
        return solution.double()
