"""C chosen from a grid on a validation part of the training rows, the same part for every source; no final fit."""

import numpy as np

from assets.probes.fitting import Fit
from assets.probes.linear_svm import fit_linear_svms
from assets.probes.one_vs_rest import one_vs_rest
from assets.probes.prepared import PreparedEmbedding
from assets.settings import ProbeSettings

VALIDATION_SHARE = 0.2
_GRID_TOLERANCE = 1e-4


def choose_c(
    embedding: PreparedEmbedding,
    codes: np.ndarray,
    settings: ProbeSettings,
    *,
    seed: int = 0,
    validation: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """The C of every target: the study's, or the grid's with the least validation error, the smallest on a tie.

    Args:
        embedding: (n, d) standardised training rows, prepared for where to solve.
        codes: (n, T) integers, negative = missing.
        settings: `c`, `c_grid` and the memory bound.
        seed: of the random fifth that validates.
        validation: (n,) bool, the rows that validate in its place, such as CelebA's partition 1.

    Returns:
        C (T,) and the passes over the embedding that choosing it took. A target without a known validation label keeps
        the study's C.
    """
    chosen = np.full(codes.shape[1], settings.c)
    grid = sorted(set(settings.c_grid))
    held_out = (
        np.random.default_rng(seed).permutation(len(codes))[: int(VALIDATION_SHARE * len(codes))]
        if validation is None
        else np.flatnonzero(validation)
    )
    if not grid or len(held_out) == 0 or len(held_out) == len(codes):
        return chosen, 0.0
    held_out = np.sort(held_out)
    # Without their labels the held-out rows are no part of the fit, and the embedding is not copied for it.
    fitted = codes.copy()
    fitted[held_out] = -1
    problems = one_vs_rest(fitted)
    best = np.full(codes.shape[1], np.inf)
    fit: Fit | None = None
    products = 0.0
    for c in grid:
        fit = fit_linear_svms(
            embedding,
            problems.labels,
            C=c,
            tol=max(settings.tolerance, _GRID_TOLERANCE),
            memory_gb=settings.memory_gb,
            start=None if fit is None else fit.weights,
        )
        products += fit.products
        decisions = fit.decide(embedding.x, embedding.device)[held_out]
        for target, error in enumerate(problems.errors(decisions, codes[held_out])):
            if error is not None and error < best[target]:
                best[target], chosen[target] = error, c
    return chosen, products
