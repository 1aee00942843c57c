"""From labels to fitted weights: signs, constant targets, groups that fit the memory; no loss of its own."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from assets.probes.checked import checked_c, checked_labels, checked_number, checked_start
from assets.probes.losses import Loss
from assets.probes.minimise import Minimum, minimise
from assets.probes.prepared import PreparedEmbedding, prepared
from assets.probes.problem import Problem, evaluate
from assets.probes.rows import ArrayLike, Rows, Work, as_tensor
from resources.errors import DataError

_BYTES_PER_LABEL = (
    60  # decisions, steps and curvatures of one row and target, with copies and a followed curvature
)
_BYTES_PER_FACTOR = 12  # a value of one target's Hessian in double and of its factor in single precision


@dataclass(frozen=True)
class Fit:
    """Probes of T binary targets over one embedding.

    Attributes:
        coef: (d, T) float64.
        intercept: (T,) float64.
        objective: (T,) float64, the loss's objective at the weights, computed in float64.
        gradient_norm: (T,) float64, Euclidean norm of the objective's gradient, computed in float64.
        converged: (T,) bool, ½‖gradient‖² ≤ tol · objective; for a loss whose intercept is penalised this bounds the
            distance from the optimum, since the objective is 1-strongly convex.
        constant: (T,) bool, fewer than two classes among the known labels: zero weights, and an intercept of +1, -1, or
            0 where no label is known.
        iterations: Newton steps of the slowest target.
        products: passes over the embedding, in products with one column a target.
    """

    coef: np.ndarray
    intercept: np.ndarray
    objective: np.ndarray
    gradient_norm: np.ndarray
    converged: np.ndarray
    constant: np.ndarray
    iterations: int
    products: float

    @property
    def weights(self) -> Tensor:
        """(d + 1, T): the coefficients with the intercept below, as the solver takes them to start from."""
        return torch.from_numpy(np.vstack([self.coef, self.intercept]))

    def decide(self, embedding: ArrayLike, device: str | torch.device | None = None) -> np.ndarray:
        """Decision values w·x + b, (n, T) float32, for an embedding (n, d)."""
        rows = Rows(as_tensor(embedding), torch.device(device or "cpu"))
        out: np.ndarray = rows.decide(self.weights.to(rows.device)).cpu().numpy()
        return out


def fit_binary(
    embedding: ArrayLike | PreparedEmbedding,
    labels: ArrayLike,
    c: float | ArrayLike,
    loss: Loss,
    *,
    tol: float,
    device: str | torch.device | None,
    memory_gb: float,
    start: Tensor | None,
) -> Fit:
    """Fit every column of `labels`; see `fit_linear_svms` for the arguments."""
    shared = prepared(embedding, device)
    place, x, y = shared.device, shared.x, checked_labels(labels)
    if x.shape[0] != y.shape[0]:
        raise DataError(
            f"embedding {tuple(x.shape)} and labels {tuple(y.shape)} must be (n, d) and (n, T) with the same n"
        )
    n, n_targets = y.shape
    penalty = checked_c(c, n_targets).to(place)
    tol, memory_gb = checked_number(tol, "tol"), checked_number(memory_gb, "memory_gb")
    begin = checked_start(start, (x.shape[1] + 1, n_targets))
    known, positive = (y >= 0).sum(0), (y == 1).sum(0)
    constant = ((positive == 0) | (positive == known)).to(place)
    weights = torch.zeros(x.shape[1] + 1, n_targets, dtype=torch.float64, device=place)
    weights[-1] = torch.where(positive > 0, 1.0, -1.0).to(place) * (known > 0).to(place)
    each = _BYTES_PER_LABEL * max(n, 1) + _BYTES_PER_FACTOR * (x.shape[1] + 1) ** 2
    work, size = Work(), max(1, int(memory_gb * 1e9 / each))
    result = Minimum(weights, torch.zeros_like(penalty), torch.zeros_like(penalty), 0)
    rows = shared.rows(work)
    for varied in (False, True):
        for group in torch.split((constant != varied).nonzero()[:, 0], size):
            if not len(group):  # as which torch splits nothing
                continue
            problem = Problem(rows, _signs(y, group, place), penalty[group], loss)
            if varied:
                begun = None if begin is None else begin[:, group.to(begin.device)].to(place)
                part = minimise(problem, tol=tol, start=begun, spectrum=lambda: shared.spectrum)
            else:
                part = Minimum(weights[:, group], *evaluate(problem, weights[:, group]), 0)
            result = _put(result, group, part)
    return _fit(result, constant, tol, work.columns / max(n_targets, 1))


def _signs(y: Tensor, group: Tensor, device: torch.device) -> Tensor:
    """(n, k) int8, +1 and -1 for the labels 1 and 0 and 0 for a missing one, target by target in memory."""
    part = y[:, group.to(y.device)]
    return torch.where(part < 0, 0, 2 * part.to(torch.int8) - 1).to(device, torch.int8).T.contiguous().T


def _put(result: Minimum, group: Tensor, part: Minimum) -> Minimum:
    result.weights[:, group] = part.weights
    result.objective[group] = part.objective
    result.gradient_norm[group] = part.gradient_norm
    return Minimum(
        result.weights, result.objective, result.gradient_norm, max(result.iterations, part.iterations)
    )


def _fit(result: Minimum, constant: Tensor, tol: float, products: float) -> Fit:
    weights = result.weights.cpu().numpy()
    objective, norm = result.objective.cpu().numpy(), result.gradient_norm.cpu().numpy()
    marked = constant.cpu().numpy()
    return Fit(
        coef=weights[:-1],
        intercept=weights[-1],
        objective=objective,
        gradient_norm=norm,
        converged=((0.5 * norm**2 <= tol * objective) & np.isfinite(objective)) | marked,
        constant=marked,
        iterations=result.iterations,
        products=products,
    )
