"""Theorem 1 as a check: it guards the code, since on the same rows the inequality cannot fail."""

import polars as pl

from assets.checks import Check, Finding, TableReader
from assets.probes.assets import BOUND
from assets.study import Study

_ROUNDING = 1e-9


def theorem_1(study: Study, read: TableReader) -> Finding:
    """l_Y(k̄) ≥ l_Z - H(Y|Z) row by row, and the slack is the same computed both ways (Eq. 11-12)."""
    del study
    frame = read("bound", BOUND).filter(pl.col("slack").is_not_null())
    size = 1 + pl.col("kbar_log_likelihood").abs()
    off = frame.filter(
        (pl.col("n_violations") > 0)
        | (pl.col("slack") < -_ROUNDING * size)
        | ((pl.col("slack") - pl.col("slack_check")).abs() > _ROUNDING * size)
    )
    text = f"{off['source'][0]} → {off['target'][0]}: slack {off['slack'][0]:.3g}" if len(off) else ""
    least = frame["slack"].min()
    values = {"pairs": len(frame), "violations": len(off)} | (
        {"least_slack": least} if least is not None else {}
    )
    return Finding(off.is_empty(), text, values)


CHECKS = (Check(BOUND, "theorem_1", "l_Y(k̄) ≥ l_Z - H(Y|Z) on every row (Eq. 11-12)", theorem_1),)
