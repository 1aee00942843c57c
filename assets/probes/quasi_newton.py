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
from assets.probes.problem import Gradient, Move, Problem, decisions_at, gradient_at
from assets.probes.rows import select_targets
from assets.probes.spectrum import Spectrum

_MEMORY = 12
_MOST_STEPS = 100
_WINDOW = 8  # steps over which the speed of a target is judged
_DECREASE = 1e-4  # of what the slope promises: a step that brings less is searched for a better length
_ROUNDING = 2e-7  # of the objective in float32
_PATIENCE = 45  # steps that a target may still need at that speed; beyond them a factor of its own is cheaper
_OVERHEAD = 15  # a step costs as much as so many targets more would: with few left, it is the dearer for each


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
    state = _State.at(problem, start)
    memory, speed = Memory(), _Speed(tol)
    for step in range(most_steps):
        weights[:, targets] = state.weights
        done, hopeless = speed.judge(state.point)
        slow[targets[hopeless]] = True
        keep = (~(done | hopeless)).nonzero()[:, 0]
        if not len(keep):
            return Descent(weights, slow, step)
        if len(keep) < len(targets):
            targets, state = targets[keep], state.select(keep)
            memory, speed = memory.select(keep), speed.select(keep)
        before = state.point.gradient
        scale = state.problem.c * state.point.curvature_sum
        moved = state.move(memory.direction(before, spectrum, scale))
        memory.add(moved, state.point.gradient - before)
    weights[:, targets] = state.weights
    slow[targets] = True
    return Descent(weights, slow, most_steps)


@dataclass
class _State:
    """Where the targets that still go down are, with the decision values there, which need no product to follow.

    `signs` are the problem's in the precision of the products, and `along` is memory for one step's decision values.
    """

    problem: Problem
    signs: Tensor
    weights: Tensor
    decisions: Tensor
    along: Tensor
    point: Gradient

    @classmethod
    def at(cls, problem: Problem, weights: Tensor) -> "_State":
        decisions = decisions_at(problem, weights)
        signs = problem.signs.T.to(decisions.dtype).T
        point = gradient_at(problem, signs, weights, decisions)
        return cls(problem, signs, weights.clone(), decisions, torch.empty_like(decisions), point)

    def select(self, targets: Tensor) -> "_State":
        """The same for some of the targets."""
        return _State(
            self.problem.select(targets),
            select_targets(self.signs, targets),
            self.weights[:, targets],
            select_targets(self.decisions, targets),
            select_targets(self.along, targets),
            self.point.select(targets),
        )

    def move(self, direction: Tensor) -> Tensor:
        """Go along the direction, all the way wherever that lowers the objective; the step made, (d + 1, T)."""
        before, slope = self.point, (self.point.gradient * direction).sum(0)
        move = Move(direction.to(self.along.dtype), self.along)
        reached = gradient_at(self.problem, self.signs, self.weights + direction, self.decisions, move)
        enough = before.objective * (1 + _ROUNDING) + _DECREASE * slope
        lower = reached.objective <= enough
        length = torch.ones_like(self.problem.c)
        if not lower.all():
            length = self._search(direction, (~lower).nonzero()[:, 0], length)
            reached = gradient_at(self.problem, self.signs, self.weights + length * direction, self.decisions)
        step = length * direction
        self.weights, self.point = self.weights + step, reached
        return step

    def _search(self, direction: Tensor, targets: Tensor, length: Tensor) -> Tensor:
        """Step lengths with those of some targets found by a search; their decision values follow."""
        at, along = select_targets(self.decisions, targets), select_targets(self.along, targets)
        at.sub_(along)
        point = self.point.select(targets)
        way = direction[:, targets]
        found = line_search(self.problem.select(targets), point, self.weights[:, targets], way, at, along)
        self.decisions.T[targets] = at.addcmul_(along, found.to(along.dtype)).T
        return length.index_copy(0, targets, found)


class _Speed:
    """Tells which targets have arrived, and which will not within the steps that are worth while."""

    def __init__(self, tol: float, gaps: list[Tensor] | None = None) -> None:
        self.tol = tol
        self.gaps = gaps or []

    def select(self, targets: Tensor) -> "_Speed":
        return _Speed(self.tol, [gap[targets] for gap in self.gaps])

    def judge(self, point: Gradient) -> tuple[Tensor, Tensor]:
        """Targets that have arrived, and targets that are too slow, (T,) bool each."""
        gap = 0.5 * point.gradient.square().sum(0) / point.objective.clamp_min(1e-300)
        best = torch.minimum(gap, self.gaps[-1]) if self.gaps else gap
        self.gaps.append(best)
        done = gap <= self.tol
        if len(self.gaps) <= _WINDOW:
            return done, torch.zeros_like(done)
        gained = (self.gaps[-1 - _WINDOW] / best).log().clamp_min(1e-9) / _WINDOW
        patience = _PATIENCE * len(done) / (len(done) + _OVERHEAD)
        return done, ~done & ((best / self.tol).log() > patience * gained)
