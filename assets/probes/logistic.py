"""Logistic probes of many targets over one embedding, LogisticRegression's objective; the solver is minimise.py."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from assets.probes.fitting import Fit, fit_binary
from assets.probes.losses import Logistic
from assets.probes.prepared import PreparedEmbedding
from assets.probes.rows import ArrayLike

LogisticProbes = Fit


def fit_logistic_probes(
    embedding: ArrayLike | PreparedEmbedding,
    labels: ArrayLike,
    *,
    C: float | ArrayLike = 1.0,  # noqa: N803
    tol: float = 1e-7,
    device: str | torch.device | None = None,
    memory_gb: float = 4.0,
    start: Tensor | None = None,
) -> LogisticProbes:
    """Minimise ½‖w‖² + C·Σ log(1 + exp(-y(w·x + b))), b free, for every target at once (k′ of Discussion 2).

    Arguments, result and errors are those of `fit_linear_svms`. The objective is not strongly convex in the intercept,
    so `converged` tells a small gradient here, not a certified distance.
    """
    return fit_binary(
        embedding, labels, C, Logistic(), tol=tol, device=device, memory_gb=memory_gb, start=start
    )


def log_likelihood(decisions: np.ndarray, classes: np.ndarray, codes: np.ndarray) -> float | None:
    """Mean log-likelihood, in nats, of the known labels of one target under its logistic probes.

    Args:
        decisions: (n, k): one column for two classes, p(second) = σ(m); one a class for more, where the one-vs-rest
            probabilities σ(m) are divided by their sum, as scikit-learn does; none for a constant target, p = 1.
        classes: the target's codes seen in train, ascending.
        codes: (n,) integers, negative = missing.

    Returns:
        The mean, or None without a known label or with a label that train never showed (its likelihood is zero).
    """
    known = codes >= 0
    if not known.any() or not np.isin(codes[known], classes).all():
        return None
    if len(classes) == 1:
        return 0.0
    m = torch.from_numpy(decisions[known].astype(np.float64))
    y = torch.from_numpy(np.searchsorted(classes, codes[known]))
    if len(classes) == 2:
        return float(logsigmoid(torch.where(y == 1, 1.0, -1.0) * m[:, 0]).mean())
    return float(logsigmoid(m).log_softmax(1).gather(1, y[:, None]).mean())
