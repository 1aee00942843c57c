"""Quasi-Newton steps on all targets at once: limited-memory BFGS, preconditioned by the rows' shared second moments.

A step costs two products with the embedding, whatever the target, and on most embeddings a dozen or two are enough
(Liu and Nocedal, Mathematical Programming 45, 1989). Targets whose Hessian looks unlike the shared one come down too
slowly; they are named, not solved: minimise.py gives them a factor of their own.
"""

from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from assets.probes.line_search import line_search
from assets.probes.problem import Point, Problem, decisions_at, point_at
from assets.probes.rows import select_targets
from assets.probes.spectrum import Spectrum

_MEMORY = 12
_MOST_STEPS = 100
_WINDOW = 8  # steps over which the speed of a target is judged
_PATIENCE = 40  # steps that a target may still need at that speed; beyond them a factor of its own is cheaper


@dataclass
class Memory:
    """The last steps s of each target and how its gradient changed over them, each (d + 1, T) float64."""

    steps: deque[Tensor] = field(default_factory=lambda: deque(maxlen=_MEMORY))
    changes: deque[Tensor] = field(default_factory=lambda: deque(maxlen=_MEMORY))

    def add(self, step: Tensor, change: Tensor) -> None:
        """Remember a step; one without curvature, which rounding makes, is remembered as nothing."""
        useful = (step * change).sum(0) > 1e-12 * step.norm(dim=0) * change.norm(dim=0)
        self.steps.append(step * useful)
        self.changes.append(change * useful)

    def select(self, targets: Tensor) -> "Memory":
        """The memory of some of the targets."""
        return Memory(
            deque((step[:, targets] for step in self.steps), _MEMORY),
            deque((change[:, targets] for change in self.changes), _MEMORY),
        )

    def direction(self, gradient: Tensor, spectrum: Spectrum, scale: Tensor) -> Tensor:
        """-H⁻¹∇ as far as the steps tell H, from (I + scale · second moments) on; (d + 1, T)."""
        found, shares = gradient.clone(), []
        pairs = [(s, z, (s * z).sum(0)) for s, z in zip(self.steps, self.changes, strict=True)]
        inverse = [torch.where(sz > 0, 1 / sz.clamp_min(1e-300), 0) for _, _, sz in pairs]
        for (step, change, _), rho in zip(reversed(pairs), reversed(inverse), strict=True):
            shares.append(rho * (step * found).sum(0))
            found -= shares[-1] * change
        found = spectrum.solve(found, scale)
        for (step, change, _), rho, share in zip(pairs, inverse, reversed(shares), strict=True):
            found += (share - rho * (change * found).sum(0)) * step
        return -found


@dataclass(frozen=True)
class Descent:
    """Where the steps led: weights (d + 1, T) float64, the targets (T,) bool given up as too slow, and the steps."""

    weights: Tensor
    slow: Tensor
    steps: int


def descend(
    problem: Problem,
    start: Tensor,
    tol: float,
    spectrum: Spectrum,
    *,
    most_steps: int = _MOST_STEPS,
) -> Descent:
    """Minimise from `start` until ½‖∇‖² ≤ tol · objective, or until a target proves slow.

    Args:
        problem: rows, signs, C and loss.
        start: (d + 1, T) float64 weights.
        tol: as in `minimise`, here in the precision of the products.
        spectrum: of the second moments of the rows.
        most_steps: a target that needs more counts as slow.
    """
    weights, targets = start.clone(), torch.arange(start.shape[1], device=start.device)
    slow = torch.zeros(len(targets), dtype=torch.bool, device=start.device)
    here, at, memory = problem, start.clone(), Memory()
    decisions = decisions_at(problem, start)
    point = point_at(here, at, decisions)
    speed = _Speed(tol)
    for step in range(most_steps):
        weights[:, targets] = at
        done, hopeless = speed.judge(point)
        slow[targets[hopeless]] = True
        keep = (~(done | hopeless)).nonzero()[:, 0]
        if not len(keep):
            return Descent(weights, slow, step)
        if len(keep) < len(targets):
            targets, at, decisions = targets[keep], at[:, keep], select_targets(decisions, keep)
            here, point = here.select(keep), point.select(keep)
            memory, speed = memory.select(keep), speed.select(keep)
        scale = here.c * point.curvature.sum(0, dtype=torch.float64)
        direction = memory.direction(point.gradient, spectrum, scale)
        along = here.rows.decide(direction)
        length = line_search(here, point, at, direction, decisions, along)
        decisions.addcmul_(along, length.to(along.dtype))
        at = at + length * direction
        before, point = point, point_at(here, at, decisions)
        memory.add(length * direction, point.gradient - before.gradient)
    weights[:, targets] = at
    slow[targets] = True
    return Descent(weights, slow, most_steps)


class _Speed:
    """Tells which targets have arrived, and which will not within the steps that are worth while."""

    def __init__(self, tol: float, gaps: list[Tensor] | None = None) -> None:
        self.tol = tol
        self.gaps = gaps or []

    def select(self, targets: Tensor) -> "_Speed":
        return _Speed(self.tol, [gap[targets] for gap in self.gaps])

    def judge(self, point: Point) -> tuple[Tensor, Tensor]:
        """Targets that have arrived, and targets that are too slow, (T,) bool each."""
        gap = 0.5 * point.gradient.square().sum(0) / point.objective.clamp_min(1e-300)
        best = torch.minimum(gap, self.gaps[-1]) if self.gaps else gap
        self.gaps.append(best)
        done = gap <= self.tol
        if len(self.gaps) <= _WINDOW:
            return done, torch.zeros_like(done)
        gained = (self.gaps[-1 - _WINDOW] / best).log().clamp_min(1e-9) / _WINDOW
        return done, ~done & ((best / self.tol).log() > _PATIENCE * gained)
