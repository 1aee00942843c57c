"""Approximate inverses of all targets' Hessians for a loss without curvature on most rows; not the solver.

One eigendecomposition of the rows' second moments serves every target at first. A target whose support vectors look
unlike the rows at large (it shows by slow conjugate gradients) is given a factor of its own, once the products spent on
it would have paid for one.
"""

import torch
from torch import Tensor

from assets.probes.own_hessian import SAMPLES_PER_DIMENSION, Factor, PrimalFactor, factorise
from assets.probes.rows import Rows
from assets.probes.spectrum import Spectrum, second_moments

_LARGE_CHANGE = 0.15
_SLOW = 5  # steps of conjugate gradients for one Newton step; what takes fewer needs no factor
_PATIENCE = 0.3  # share of a factor's price that a target spends on products before it is given one


class Preconditioner:
    """P ≈ I + C·X̃ᵀDX̃ for every target, and P⁻¹ applied to a batch of vectors.

    Args:
        rows: the embedding.
        spectrum: of its second moments.
        n_targets: number of targets, T.
    """

    def __init__(self, rows: Rows, spectrum: Spectrum, n_targets: int) -> None:
        self.rows, self.spectrum, self.moments = rows, spectrum, spectrum.moments
        self.scale = torch.zeros(n_targets, dtype=torch.float64, device=rows.device)
        self.factors: dict[int, Factor] = {}
        self.spent = [0] * n_targets
        self._before = [0] * n_targets
        self._urgent: set[int] = set()

    def hurry(self, targets: Tensor) -> None:
        """Give the targets factors at the first opportunity: that they need them has been seen already."""
        self._urgent.update(targets.tolist())

    def spend(self, targets: Tensor) -> None:
        """Note one step of conjugate gradients on each of the targets."""
        for target in targets.tolist():
            self.spent[target] += 1

    def rescale(self, targets: Tensor, c: Tensor, curvature: Tensor) -> None:
        """Follow the targets' curvature: the shared form by its sum, a factor by its rows; give factors where due."""
        self.scale[targets] = c * curvature.sum(0, dtype=torch.float64)
        names = targets.tolist()
        support = (curvature > 0).sum(0).tolist()
        outside = (curvature != curvature.amax(0)).sum(0).tolist()
        due = [
            (column, target, support[column] - outside[column])
            for column, target in enumerate(names)
            if self._is_due(target, support[column], outside[column])
        ]
        self._multiply_all([saved for _, target, saved in due if target not in self.factors])
        for column, target, _ in due:
            own, before = curvature[:, column].float(), self.factors.get(target)
            self.factors[target] = factorise(self.rows, own, float(c[column]), before, self.moments)
            self.spent[target] = 0
        for target in names:
            self._before[target] = self.spent[target]
        self._urgent.difference_update(names)

    def _is_due(self, target: int, support: int, outside: int) -> bool:
        """Whether the target is to be given a factor, or its factor is to follow."""
        spent = self.spent[target]
        slow = spent - self._before[target] >= _SLOW and spent > _PATIENCE * self.price(support, outside)
        return slow or target in self._urgent or _outdated(self.factors.get(target), support)

    def _multiply_all(self, saved: list[int]) -> None:
        """Make the moments of all rows where that is less work than they save the new factors, in rows each."""
        if self.moments is None and sum(max(rows, 0) for rows in saved) > self.rows.n:
            self.moments = second_moments(self.rows, self.rows.n)

    def price(self, support: int, outside: int) -> float:
        """What a target's own factor costs, in steps of conjugate gradients on that target.

        Args:
            support: its rows with any curvature.
            outside: its rows whose curvature is not the largest; they alone are multiplied where the moments of all
                rows are shared. A logistic loss has hardly two rows of one curvature.
        """
        d = self.rows.d + 1
        exact = support if self.moments is None else min(support, outside)
        rows = min(exact, SAMPLES_PER_DIMENSION * d)
        return (rows * min(rows, d) + min(rows, d) ** 2) / (2 * max(self.rows.n, 1))

    def solve(self, vectors: Tensor, targets: Tensor) -> Tensor:
        """P⁻¹ V, (d + 1, k) for the k targets named."""
        out = torch.empty_like(vectors)
        names = targets.tolist()
        shared = [column for column, target in enumerate(names) if target not in self.factors]
        if shared:
            out[:, shared] = self.spectrum.solve(vectors[:, shared], self.scale[targets[shared]])
        for column, target in enumerate(names):
            if target in self.factors:
                out[:, column] = self.factors[target].solve(vectors[:, column])
        return out


def _outdated(factor: Factor | None, support: int) -> bool:
    """Whether a factor is worth following: an exact one always (it is cheap), a sampled one after a large change."""
    if not isinstance(factor, PrimalFactor) or factor.curvature is not None:
        return factor is not None
    return abs(support - factor.support) > _LARGE_CHANGE * factor.support
