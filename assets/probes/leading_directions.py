"""The approximate inverse Hessian for a loss that gives every row some curvature, such as the logistic one.

Most embeddings vary along few directions, and only there does the data outweigh the penalty. In the basis of the rows'
second moments P is diagonal, and in the leading directions it is the target's own Hessian, once the steps of conjugate
gradients spent on that target would have paid for one. Where most rows have no curvature, preconditioner.py does
better: it follows the few that have.
"""

import torch
from torch import Tensor

from assets.probes.own_hessian import spread_sample
from assets.probes.rows import Rows, add_to_lower
from assets.probes.spectrum import Spectrum

_SAMPLES_PER_DIMENSION = 20  # all rows have curvature: there is no following it, and a sample must do
_OUTWEIGHED = 2.0  # data over penalty: a direction below it needs no exact Hessian
_WIDTHS = 32  # the number of leading directions is a multiple of this
_SLOW = 3  # steps of conjugate gradients for one Newton step; what takes fewer is well enough conditioned
_PATIENCE = 0.3  # share of the price of a Hessian that a target spends before it is given one
_TOGETHER = 1 << 21  # values of factors that are worth copying side by side to be solved in one call
_ROUNDING = 1e-6  # of float32 products: what they lose must not look like negative curvature


class LeadingDirections:
    """P ≈ I + C·X̃ᵀDX̃ for every target, and P⁻¹ applied to a batch of vectors.

    In that basis the Hessians are graded, which keeps float32 accurate in the directions of little variance, too.

    Args:
        rows: the embedding.
        spectrum: of its second moments.
        n_targets: number of targets, T.
    """

    def __init__(self, rows: Rows, spectrum: Spectrum, n_targets: int) -> None:
        self.rows = rows
        self.eigenvalues, self.basis = spectrum.eigenvalues.flip(0), spectrum.basis.flip(1).contiguous()
        self.diagonal = torch.ones(len(self.eigenvalues), n_targets, dtype=rows.dtype, device=rows.device)
        self.spent = torch.zeros(n_targets, dtype=torch.int64, device=rows.device)
        self._before = self.spent.clone()
        self.projected: Tensor | None = None
        self.lower: dict[int, Tensor] = {}
        self._gathered: tuple[list[int], Tensor] | None = None

    def spend(self, targets: Tensor) -> None:
        """Note one step of conjugate gradients on each of the targets."""
        self.spent[targets] += 1

    def rescale(self, targets: Tensor, c: Tensor, curvature: Tensor) -> None:
        """Follow the targets' curvature D (n, k): the diagonal by its sum, the leading block where that is due."""
        scale = c * curvature.sum(0, dtype=torch.float64)
        self.diagonal[:, targets] = (1 + self.eigenvalues[:, None] * scale).to(self.diagonal.dtype)
        slow = self.spent[targets] - self._before[targets] >= _SLOW
        if bool(slow.any()):
            projected = self._project(scale)
            due = (slow & (self.spent[targets] > _PATIENCE * self._price(projected))).nonzero()[:, 0]
            self._factorise(projected, targets[due], c[due], curvature[:, due])
            self.spent[targets[due]] = 0
        self._before[targets] = self.spent[targets]

    def _project(self, scale: Tensor) -> Tensor:
        """(n, r): the rows in the leading directions, as many as the heaviest target needs when this is first asked."""
        if self.projected is None:
            leading = int((self.eigenvalues * scale.max() > _OUTWEIGHED).sum())
            width = min(len(self.eigenvalues), -(-max(leading, 1) // _WIDTHS) * _WIDTHS)
            self.projected = self.rows.decide(self.basis[:, :width])
        return self.projected

    def _price(self, projected: Tensor) -> float:
        """What a Hessian costs, in steps of conjugate gradients on one target."""
        n, width = projected.shape
        rows = min(n, _SAMPLES_PER_DIMENSION * width)
        return (rows * width**2 + width**3 / 6) / (2 * max(n, 1) * (self.rows.d + 1))

    def _factorise(self, projected: Tensor, targets: Tensor, c: Tensor, curvature: Tensor) -> None:
        for column, target in enumerate(targets.tolist()):
            chosen, weight = spread_sample(curvature[:, column], _SAMPLES_PER_DIMENSION * projected.shape[1])
            x = projected[chosen]
            hessian = x.new_zeros(x.shape[1], x.shape[1])
            add_to_lower(hessian, x * (c[column] * weight)[:, None].to(x.dtype), x)
            hessian.diagonal().mul_(1 + _ROUNDING).add_(1)
            lower, failed = torch.linalg.cholesky_ex(hessian)
            self.lower[target] = torch.diag(hessian.diagonal().clamp_min(1).sqrt()) if bool(failed) else lower
        self._gathered = None

    def solve(self, vectors: Tensor, targets: Tensor) -> Tensor:
        """P⁻¹ V, (d + 1, k) for the k targets named."""
        turned = self.basis.T @ vectors.to(self.basis.dtype)
        shrunk = turned / self.diagonal[:, targets]
        owners = [(k, target) for k, target in enumerate(targets.tolist()) if target in self.lower]
        if owners:
            columns = torch.tensor([k for k, _ in owners], device=targets.device)
            width = self.lower[owners[0][1]].shape[0]
            names = [target for _, target in owners]
            shrunk[:width, columns] = self._solve_leading(turned[:width, columns], names)
        found: Tensor = self.basis @ shrunk
        return found.to(vectors.dtype)

    def _solve_leading(self, right: Tensor, names: list[int]) -> Tensor:
        """(r, k): each column solved with the factor of the target named."""
        if len(names) * right.shape[0] ** 2 > _TOGETHER:
            each = [torch.cholesky_solve(right[:, [k]], self.lower[name]) for k, name in enumerate(names)]
            return torch.cat(each, dim=1)
        if self._gathered is None or self._gathered[0] != names:
            self._gathered = names, torch.stack([self.lower[name] for name in names])
        solved = torch.cholesky_solve(right.T.unsqueeze(2).contiguous(), self._gathered[1])
        return solved[:, :, 0].T
