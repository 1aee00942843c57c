"""What a probe minimises, and its value, gradient and curvature at given weights; no search for the minimum.

The objective is ½‖w‖² + C·Σ loss(y, w·x + b), with or without ½b², for T targets over the same rows.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from assets.probes.losses import Loss
from assets.probes.rows import Rows, select_targets


@dataclass(frozen=True)
class Problem:
    """What is minimised: rows, signs (n, T) int8 in {-1, 0, +1} with 0 = missing, c (T,) float64, and the loss.

    Whatever is (n, T) here lies target by target in memory: sums over rows and the choice of targets are then fast.
    """

    rows: Rows
    signs: Tensor
    c: Tensor
    loss: Loss

    def select(self, targets: Tensor) -> "Problem":
        """The same problem for some of the targets."""
        return replace(self, signs=select_targets(self.signs, targets), c=self.c[targets])

    def with_dtype(self, dtype: torch.dtype) -> "Problem":
        """The same problem with products in another precision."""
        return replace(self, rows=self.rows.with_dtype(dtype))

    def penalised(self, weights: Tensor) -> Tensor:
        """The weights that the penalty sees: all, or all but the intercept."""
        if self.loss.intercept_penalised:
            return weights
        return torch.cat([weights[:-1], torch.zeros_like(weights[-1:])])


@dataclass(frozen=True)
class Point:
    """Objective (T,), gradient (d + 1, T), both float64, and curvature (n, T) at some weights."""

    objective: Tensor
    gradient: Tensor
    curvature: Tensor

    def select(self, targets: Tensor) -> "Point":
        """The same point for some of the targets."""
        return Point(
            self.objective[targets], self.gradient[:, targets], select_targets(self.curvature, targets)
        )


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


def decisions_at(problem: Problem, weights: Tensor) -> Tensor:
    """Decision values (n, T) in the precision of the products; those of zero weights take no product."""
    rows = problem.rows
    if bool((weights == 0).all()):
        return torch.zeros(weights.shape[1], rows.n, dtype=rows.dtype, device=rows.device).T
    return rows.decide(weights)


@dataclass(frozen=True)
class Gradient:
    """Objective (T,), gradient (d + 1, T) and summed curvature (T,) at some weights, float64."""

    objective: Tensor
    gradient: Tensor
    curvature_sum: Tensor

    def select(self, targets: Tensor) -> "Gradient":
        """The same for some of the targets."""
        return Gradient(self.objective[targets], self.gradient[:, targets], self.curvature_sum[targets])


@dataclass(frozen=True)
class Move:
    """A step that decision values are to follow: direction (d + 1, T), and memory (n, T) for what it adds to them.

    Both in the precision of the products.
    """

    direction: Tensor
    along: Tensor


def gradient_at(
    problem: Problem, signs: Tensor, weights: Tensor, decisions: Tensor, move: Move | None = None
) -> Gradient:
    """Objective and gradient at known decision values: one product, two with a step, and nothing kept of single rows.

    Args:
        problem: what is minimised.
        signs: its signs, (n, T) in the type of the decision values.
        weights: (d + 1, T), those that the step leads to where there is one.
        decisions: (n, T), those of the weights; with a step, those before it, which are moved along in the same walk.
        move: the step.
    """
    rows = problem.rows
    total = torch.zeros_like(weights)
    loss_sum, curvature_sum = torch.zeros_like(problem.c), torch.zeros_like(problem.c)
    for part in rows.slices():
        x = rows.block(part)
        if move is not None:
            decisions[part].add_(rows.forward(x, move.direction, move.along[part]))
        found = problem.loss.sums(signs[part], decisions[part])
        loss_sum += found.loss
        curvature_sum += found.curvature
        rows.backward(x, found.slope, total)
    rows.count(weights.shape[1] * (1 if move is None else 2))
    penalised = problem.penalised(weights)
    objective = 0.5 * penalised.square().sum(0) + problem.c * loss_sum
    return Gradient(objective, penalised + problem.c * total, curvature_sum)


def point_at(problem: Problem, weights: Tensor, decisions: Tensor) -> Point:
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
    return Point(objective, penalised + problem.c * total, curvature)
