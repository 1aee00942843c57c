"""H(Y | Z1, …, Zk): what several sources together say about a target.

Pairwise counts do not determine it, so it is counted from the label rows where all k + 1 tasks are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from assets.statistics.coding import label_expression, task_columns
from assets.statistics.entropy import n_jackknife, n_log_n
from assets.statistics.from_labels import Labels, scan

NEVER_ALL_TOGETHER = "no row has the labels of the target and of every source"


@dataclass(frozen=True)
class JointConditionalEntropy:
    """H(Y | Z1, …, Zk) in nats; undefined numbers are None, with the reason.

    Attributes:
        conditional_entropy: The plug-in value.
        corrected: The bias-corrected value (see entropy.py); with each further source the values get fewer
            rows, and the plug-in value falls even where the source says nothing.
        target_entropy: H(Y) on the same rows.
        n: Rows where all k + 1 labels are known.
        n_source_values: Combinations of source values that occur.
        undefined_because: Why there is no number.
    """

    conditional_entropy: float | None
    corrected: float | None
    target_entropy: float | None
    n: int
    n_source_values: int
    undefined_because: str | None


def joint_conditional_entropy(labels: Labels, target: str, sources: Sequence[str]) -> JointConditionalEntropy:
    """The conditional entropy of one target given several sources at once (Eq. 7 with Z = (Z1, …, Zk)).

    Args:
        labels: As for `label_statistics`; choose the rows of a split before.
        target: The task to predict.
        sources: The tasks to condition on; none of them gives H(Y).

    Raises:
        DataError: A column that is missing, named twice, or no label column.
    """
    table = scan(labels)
    schema = table.collect_schema()
    names, _, _ = task_columns(schema, [target, *sources], None, None, None)
    known = table.select(label_expression(name, schema[name]) for name in names).drop_nulls()
    cells = known.group_by(names).agg(pl.len().cast(pl.Int64).alias("\0n")).collect()
    joint = cells["\0n"]
    n = int(joint.sum())
    if n == 0:
        return JointConditionalEntropy(None, None, None, 0, 0, NEVER_ALL_TOGETHER)
    of_sources = (
        cells.group_by(names[1:]).agg(pl.col("\0n").sum())["\0n"] if len(names) > 1 else pl.Series([n])
    )
    of_target = cells.group_by(target).agg(pl.col("\0n").sum())["\0n"]

    def difference(whole: pl.Series, parts: pl.Series) -> tuple[float, float]:
        if len(whole) == len(parts):
            return 0.0, 0.0
        plain, jackknife = (
            float(f(whole.to_numpy()).sum() - f(parts.to_numpy()).sum()) / n for f in (n_log_n, n_jackknife)
        )
        return max(plain, 0.0), max(jackknife, 0.0)

    conditional, corrected = difference(of_sources, joint)
    entropy, _ = difference(pl.Series([n]), of_target)
    return JointConditionalEntropy(conditional, corrected, entropy, n, len(of_sources), None)
