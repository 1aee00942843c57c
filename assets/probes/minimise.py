"""The solver behind every linear probe: the ways to the minimum for all targets at once, and their order.

It minimises ½‖w‖² + C·Σ loss(y, w·x + b), with or without ½b², for T targets over the same rows. No scikit-learn
conventions and no standardising here: those are the callers'.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from assets.probes.conjugate_gradients import ConjugateGradients
from assets.probes.dense_newton import dense_newton
from assets.probes.exact_steps import ExactSteps, are_few
from assets.probes.leading_directions import LeadingDirections
from assets.probes.line_search import best_multiple
from assets.probes.newton import newton
from assets.probes.preconditioner import Preconditioner
from assets.probes.problem import Problem, evaluate
from assets.probes.quasi_newton import descend
from assets.probes.rows import select_rows
from assets.probes.spectrum import Spectrum

_SHORTER = 0.7
_SLIGHTLY_SHORTER = 0.9
_FIRST_STEPS = 15
_HIGHEST_OF = 5  # last objectives, up to which an exact step may lead
_WARM_START_SHARE = 8
_WARM_START_TOL = 1e-2
_WARM_START_FROM = 40  # rows a dimension that the subset must have: a smaller one would overfit and mislead


@dataclass(frozen=True)
class Minimum:
    """Where the solver stopped: weights (d + 1, T), objective, norm of the gradient (T,), all float64."""

    weights: Tensor
    objective: Tensor
    gradient_norm: Tensor
    iterations: int


_Way = Callable[[Problem, Tensor, float, Tensor], tuple[Tensor, int]]
"""From a part of the targets, where to start, the tolerance and the targets' names to weights (d + 1, k) and steps."""


class _Ways:
    """What the ways to the minimum share, made when first asked for.

    Args:
        problem: all targets; the ways are given parts of it.
        spectrum: gives that of the rows, made once.
    """

    def __init__(self, problem: Problem, spectrum: Callable[[], Spectrum]) -> None:
        self.problem, self._spectrum = problem, spectrum

    @property
    def spectrum(self) -> Spectrum:
        return self._spectrum()

    @cached_property
    def gradients(self) -> ConjugateGradients:
        kind = Preconditioner if self.problem.loss.curvature_is_sparse else LeadingDirections
        return ConjugateGradients(kind(self.problem.rows, self.spectrum, len(self.problem.c)))

    def descent(self, part: Problem, start: Tensor, tol: float, names: Tensor) -> tuple[Tensor, int]:
        """Quasi-Newton steps, and conjugate gradients for the targets that these are too slow for."""
        found = descend(part, start, tol, self.spectrum)
        slow = found.slow.nonzero()[:, 0]
        if not len(slow):
            return found.weights, found.steps
        # For a loss with curvature everywhere it was measured to gain nothing: Hessians there are of a sample of rows.
        if isinstance(self.gradients.preconditioner, Preconditioner):
            self.gradients.preconditioner.hurry(names[slow])
        rest, steps = self.newton(part.select(slow), found.weights[:, slow], tol, names[slow])
        found.weights[:, slow] = rest
        return found.weights, found.steps + steps

    def newton(self, part: Problem, start: Tensor, tol: float, names: Tensor) -> tuple[Tensor, int]:
        """Newton's steps from conjugate gradients."""
        return newton(part, start, tol, self.gradients, names)

    def exact_steps(self, part: Problem, start: Tensor, tol: float, names: Tensor) -> tuple[Tensor, int]:
        """Newton's steps from the inner products of few rows."""
        steps = ExactSteps(self.problem.rows, self.gradients)
        return newton(part, start, tol, steps, names, memory=_HIGHEST_OF)

    def whole_hessians(self, part: Problem, start: Tensor, tol: float, names: Tensor) -> tuple[Tensor, int]:
        """Newton's steps from the targets' own Hessians."""
        del names
        return dense_newton(part, start, tol)

    def in_order(self, *, few: bool) -> tuple[tuple[torch.dtype, _Way], ...]:
        """The ways to try one after the other, each for the targets that those before did not bring to the minimum."""
        first = (torch.float64, self.exact_steps) if few else (torch.float32, self.descent)
        return first, (torch.float64, self.newton), (torch.float64, self.whole_hessians)


def minimise(
    problem: Problem, *, tol: float, spectrum: Callable[[], Spectrum], start: Tensor | None = None
) -> Minimum:
    """Minimise until ½‖∇‖² ≤ tol · objective, in float32 and, for the targets that this does not bring there, float64.

    Few rows under a squared hinge are in float64 from the beginning, by exact steps.

    Args:
        problem: rows, signs, C and loss.
        tol: certified relative distance from the optimum.
        spectrum: gives the spectrum of the rows, made when first asked for.
        start: (d + 1, T) weights to start from; None starts from a subset of the rows, or from zero.

    Returns:
        The minimum with objective and gradient in float64, whatever precision found it.
    """
    warm, few = (
        start is not None,
        problem.loss.curvature_is_sparse and are_few(problem.rows.n, problem.rows.d),
    )
    ways = _Ways(problem, spectrum)
    if few:
        problem = replace(problem, rows=problem.rows.converted(torch.float64))
    weights = _start(ways, tol, few=few) if start is None else start.double()
    if warm and few:
        weights = _within_reach(problem, weights)
    found = Minimum(weights, *evaluate(problem, weights), 0) if warm else None
    iterations = 0
    for dtype, solve in ways.in_order(few=few):
        open_ = _open(found, tol, weights.shape[1], weights.device)
        if not len(open_):
            break
        part = problem.select(open_).with_dtype(dtype)
        solved, steps = solve(part, weights[:, open_], 0.5 * tol, open_)
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


def _start(ways: _Ways, tol: float, *, few: bool) -> Tensor:
    """Zero, or for many rows near the minimum over an eighth of them, with C raised to match.

    For few rows it is where some quasi-Newton steps lead, made somewhat shorter: see `_within_reach`.
    """
    problem = ways.problem
    rows, n_targets = problem.rows, problem.signs.shape[1]
    zero = torch.zeros(rows.d + 1, n_targets, dtype=torch.float64, device=rows.device)
    if few:
        return (
            _SLIGHTLY_SHORTER
            * descend(
                problem, zero, max(tol, _WARM_START_TOL), ways.spectrum, most_steps=_FIRST_STEPS
            ).weights
        )
    size = rows.n // _WARM_START_SHARE
    if size < _WARM_START_FROM * rows.d:
        return zero
    generator = torch.Generator().manual_seed(rows.n)
    chosen = torch.randperm(rows.n, generator=generator)[:size].sort().values
    signs = select_rows(problem.signs, chosen.to(problem.signs.device))
    known = problem.signs.abs().sum(0, dtype=torch.float64)
    sampled = signs.abs().sum(0, dtype=torch.float64).clamp_min(1)
    part = Problem(rows.part(chosen, 1 / _WARM_START_SHARE), signs, problem.c * known / sampled, problem.loss)
    return descend(part, zero, max(tol, _WARM_START_TOL), ways.spectrum).weights


def _within_reach(problem: Problem, start: Tensor) -> Tensor:
    """The start, or the best multiple of it made somewhat shorter where that is better.

    The weights of another loss may point the right way and be of another length. Exact steps shed support rows more
    easily than they find them, so the margins should rather be too small than too large.
    """
    shorter = _SHORTER * best_multiple(problem, start) * start
    better = evaluate(problem, shorter)[0] < evaluate(problem, start)[0]
    return torch.where(better, shorter, start)
