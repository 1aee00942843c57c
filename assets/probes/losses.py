"""The losses of the linear probes and their derivatives with respect to the decision value; no data, no solver.

A sign is +1 or -1, or 0 where the label is missing; a missing label costs nothing and pulls at nothing.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus


class Derivatives(NamedTuple):
    """Loss, slope and curvature of every row and target, each (n, T), at C = 1."""

    loss: Tensor
    slope: Tensor
    curvature: Tensor


class Sums(NamedTuple):
    """Of one block of rows: loss and curvature summed over them, (T,) each, and the slope of each row, (rows, T)."""

    loss: Tensor
    slope: Tensor
    curvature: Tensor


class Loss(Protocol):
    """A convex loss of one decision value."""

    intercept_penalised: bool
    curvature_is_sparse: bool

    def __call__(self, signs: Tensor, decisions: Tensor) -> Derivatives:
        """Loss, slope and curvature at the decision values."""
        ...

    def sums(self, signs: Tensor, decisions: Tensor) -> Sums:
        """What descent needs of a block; the signs come in the type of the decision values."""
        ...


class SquaredHinge:
    """max(0, 1 - y·m)², the loss of LinearSVC, which penalises the intercept like a weight."""

    intercept_penalised = True
    curvature_is_sparse = True

    def __call__(self, signs: Tensor, decisions: Tensor) -> Derivatives:
        """See `Loss`; the curvature is the generalised one, 2 where the margin is violated and 0 elsewhere."""
        violation = torch.addcmul(signs.abs(), signs, decisions, value=-1).clamp_min_(0)
        return Derivatives(
            violation.square(),
            torch.mul(violation, signs).mul_(-2),
            (violation > 0).to(violation.dtype).mul_(2),
        )

    def sums(self, signs: Tensor, decisions: Tensor) -> Sums:
        """See `Loss`."""
        violation = torch.addcmul(signs.abs(), signs, decisions, value=-1).clamp_min_(0)
        slope = torch.mul(violation, signs).mul_(-2)
        return Sums(violation.square().sum(0), slope, 2 * torch.count_nonzero(violation, 0))


class Logistic:
    """log(1 + exp(-y·m)) in nats, the loss of LogisticRegression, which leaves the intercept free."""

    intercept_penalised = False
    curvature_is_sparse = False

    def __call__(self, signs: Tensor, decisions: Tensor) -> Derivatives:
        """See `Loss`."""
        known = signs.abs()
        margin = signs * decisions
        wrong = torch.sigmoid(-margin)
        return Derivatives(softplus(-margin) * known, -signs * wrong, wrong * (1 - wrong) * known)

    def sums(self, signs: Tensor, decisions: Tensor) -> Sums:
        """See `Loss`."""
        found = self(signs, decisions)
        return Sums(found.loss.sum(0), found.slope, found.curvature.sum(0))
