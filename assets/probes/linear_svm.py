"""Linear SVMs of many binary targets over one embedding, with LinearSVC's objective; the solver is minimise.py."""

import torch
from torch import Tensor

from assets.probes.fitting import Fit, fit_binary
from assets.probes.losses import SquaredHinge
from assets.probes.prepared import PreparedEmbedding
from assets.probes.rows import ArrayLike

LinearSvms = Fit


def fit_linear_svms(
    embedding: ArrayLike | PreparedEmbedding,
    labels: ArrayLike,
    *,
    C: float | ArrayLike = 1.0,  # noqa: N803
    tol: float = 1e-7,
    device: str | torch.device | None = None,
    memory_gb: float = 4.0,
    start: Tensor | None = None,
) -> LinearSvms:
    """Minimise ½‖w‖² + ½b² + C·Σ max(0, 1 - y(w·x + b))² for every target at once (Eq. 3).

    Args:
        embedding: (n, d) float32, NumPy (a memory map too) or torch; it is read block by block and never copied whole.
            A `PreparedEmbedding` saves checking it, and finding its spectrum, in each of several fits.
        labels: (n, T) integers 0/1, negative = missing (-1 is no class); every target is fitted to its known rows.
        C: LinearSVC's C, one number or one a target (T,).
        tol: certified relative distance from the optimum, ½‖gradient‖² / objective, at which a target has converged.
        device: where to compute; None is the CPU.
        memory_gb: bound on working memory beside the embedding, GB; targets are fitted in groups that fit.
        start: (d + 1, T) weights to start from, for instance `LinearSvms.weights` at a neighbouring C.

    Returns:
        Weights, objectives and certificates. A target with a single class has zero weights and an intercept of ±1, and
        is marked in `constant`. The result of a target does not depend on the others.

    Raises:
        DataError: shapes that do not match, an embedding that is not float32 or has a value that is not finite (the
            message names its row), labels that are not integers or above 1, C, tol or memory_gb not positive.
    """
    return fit_binary(
        embedding, labels, C, SquaredHinge(), tol=tol, device=device, memory_gb=memory_gb, start=start
    )
