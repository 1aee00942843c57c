"""Does conditional entropy say more than the target's own entropy? Tests of dependent correlations."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from assets.reports.association import Array, is_constant


@dataclass(frozen=True)
class BaselineComparison:
    """r of the error with the estimate against r of the error with the target's own entropy, same targets.

    `difference` is r(estimate, error) − r(H(Y), error), `williams_t` and `williams_p` its two-sided test (n −
    3 degrees of freedom); `partial_r` is the correlation of estimate and error given H(Y), with its two-sided
    p.
    """

    entropy_r: float | None = None
    difference: float | None = None
    williams_t: float | None = None
    williams_p: float | None = None
    partial_r: float | None = None
    partial_p: float | None = None


def williams_test(r_xe: float, r_he: float, r_xh: float, n: int) -> tuple[float, float] | None:
    """Williams' t for two correlations that share a variable (Steiger 1980, eq. 7), with df = n − 3.

    Args:
        r_xe: correlation of the first predictor with the outcome.
        r_he: correlation of the second predictor with the outcome.
        r_xh: correlation of the two predictors.
        n: number of points.

    Returns:
        t (positive where the first predictor is the better one) and the two-sided p; None where n < 4 or the
        two predictors are the same up to scale.
    """
    if n < 4 or r_xh > 1 - 1e-12:
        return None
    determinant = 1 - r_xe**2 - r_he**2 - r_xh**2 + 2 * r_xe * r_he * r_xh
    mean = (r_xe + r_he) / 2
    scale = 2 * (n - 1) / (n - 3) * max(determinant, 0.0) + mean**2 * (1 - r_xh) ** 3
    if scale <= 0:
        return None
    t = (r_xe - r_he) * math.sqrt((n - 1) * (1 + r_xh) / scale)
    return t, float(2 * stats.t.sf(abs(t), n - 3))


def partial_correlation(r_xe: float, r_he: float, r_xh: float, n: int) -> tuple[float, float] | None:
    """Correlation of x and e given h, with its two-sided p (df = n − 3); None where it is not defined."""
    room = (1 - r_xh**2) * (1 - r_he**2)
    if n < 4 or room < 1e-12:
        return None
    r = max(-1.0, min(1.0, (r_xe - r_xh * r_he) / math.sqrt(room)))
    if abs(r) >= 1 - 1e-12:
        return r, 0.0
    t = r * math.sqrt((n - 3) / (1 - r**2))
    return r, float(2 * stats.t.sf(abs(t), n - 3))


def compare_with_entropy(estimate: Array, entropy: Array, error: Array) -> BaselineComparison:
    """Compare an estimate with the trivial baseline H(Y) as predictors of the test error.

    Args:
        estimate: shape (n,), for instance H(Y|Z) in nats; not constant.
        entropy: shape (n,), H(Y) in nats on the same rows.
        error: shape (n,), test error; not constant.

    Returns:
        The comparison; all None where H(Y) does not vary, what needs n ≥ 4 None below that.
    """
    if len(error) < 3 or any(is_constant(values) for values in (estimate, entropy, error)):
        return BaselineComparison()
    r: Array = np.atleast_2d(np.corrcoef(np.stack([estimate, entropy, error])))
    r_xe, r_he, r_xh, n = float(r[0, 2]), float(r[1, 2]), float(r[0, 1]), len(error)
    williams = williams_test(r_xe, r_he, r_xh, n)
    partial = partial_correlation(r_xe, r_he, r_xh, n)
    return BaselineComparison(
        entropy_r=r_he,
        difference=r_xe - r_he,
        williams_t=williams[0] if williams else None,
        williams_p=williams[1] if williams else None,
        partial_r=partial[0] if partial else None,
        partial_p=partial[1] if partial else None,
    )
