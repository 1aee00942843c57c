"""Theorem 1 as a check: it guards the code, since on the same rows the inequality cannot fail."""

from typing import Any

import polars as pl

from assets.checks import Check, Finding, TableReader
from assets.probes.assets import BOUND
from assets.study import Study

_ROUNDING = 1e-9


def theorem_1(study: Study, read: TableReader) -> Finding:
    """l_Y(k̄) ≥ l_Z - H(Y|Z) row by row, and the slack is the same computed both ways (Eq. 11-12).

    A pair passes only by having been checked: one without a slack must say why it has none.
    """
    del study
    bound = read("bound", BOUND)
    frame = bound.filter(pl.col("slack").is_not_null() | pl.col("undefined_because").is_null())
    size = 1 + pl.col("kbar_log_likelihood").abs()
    holds = (
        (pl.col("n_violations") == 0)
        & (pl.col("slack") >= -_ROUNDING * size)
        & ((pl.col("slack") - pl.col("slack_check")).abs() <= _ROUNDING * size)
        & (pl.col("n_checked") > 0)
    )
    off = frame.filter(~holds.fill_null(value=False))
    text = f"{off['source'][0]} → {off['target'][0]}: {_wrong(off.row(0, named=True))}" if len(off) else ""
    least = frame["slack"].min()
    values = {
        "pairs": len(frame),
        "violations": len(off),
        "rows_checked_both_ways": int(frame["n_checked"].fill_null(0).sum()),
    } | ({"least_slack": least} if least is not None else {})
    return Finding(off.is_empty(), text, values)


def _wrong(pair: dict[str, Any]) -> str:
    """What is wrong with a pair that does not pass."""
    if pair["slack"] is None or pair["slack_check"] is None or not pair["n_checked"]:
        return "the slack was not checked"
    if pair["n_violations"]:
        return (
            f"the inequality fails on {pair['n_violations']} of {pair['n']} rows, slack {pair['slack']:.3g}"
        )
    return f"slack {pair['slack']:.6g}, computed the other way {pair['slack_check']:.6g}"


CHECKS = (Check(BOUND, "theorem_1", "l_Y(k̄) ≥ l_Z - H(Y|Z) on every row (Eq. 11-12)", theorem_1),)
