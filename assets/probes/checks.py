"""Theorem 1, which guards the code, since on the same rows it cannot fail; and a warning of probes that fell short."""

from typing import Any

import polars as pl

from assets.checks import Check, Finding, TableReader
from assets.probes.assets import BOUND, TRANSFER
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


def probes_converged(study: Study, read: TableReader) -> Finding:
    """Every probe is certified to lie within the tolerance of its optimum, ½‖∇f‖² ≤ tolerance · f."""
    pairs = read("transfer", TRANSFER).filter(pl.col("converged").is_not_null())
    short = pairs.filter(~pl.col("converged")).with_columns(
        (pl.col("gradient_norm") ** 2 / (2 * pl.col("objective"))).alias("distance")
    )
    values: dict[str, Any] = {"pairs": len(pairs), "unconverged": len(short)}
    if short.is_empty():
        return Finding(passed=True, values=values, warning=True)
    worst = short.sort("distance", descending=True, nulls_last=True).row(0, named=True)
    far = "" if worst["distance"] is None else f" ({worst['distance']:.1e})"
    text = (
        f"{len(short)} of {len(pairs)} probes stopped short of probe.tolerance {study.settings.probe.tolerance:g}; "
        f"furthest is {worst['source']} → {worst['target']}{far}; choose a smaller probe.c or a larger tolerance"
    )
    return Finding(passed=False, text=text, values=values, warning=True)


CHECKS = (
    Check(BOUND, "theorem_1", "l_Y(k̄) ≥ l_Z - H(Y|Z) on every row (Eq. 11-12)", theorem_1),
    Check(TRANSFER, "probes_converged", "Every probe reached its tolerance", probes_converged),
)
