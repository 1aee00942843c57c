"""Which sources to transfer from: lists of the best sources of a target, from the conditional-entropy frame.

Raw H(Y|Z) prefers the widest source (an identity determines everything) and, across targets, the easiest
target. So the lists rank by bias-corrected H(Y|Z) / H(Y), and wide and near-unique sources stand apart.
"""

from collections.abc import Sequence

import polars as pl

from resources.errors import DataError

ORDINARY, WIDE, NEAR_UNIQUE = "ordinary", "wide", "near-unique"

_COLUMNS = (
    "split",
    "target",
    "kind",
    "rank",
    "source",
    "corrected_normalised",
    "corrected",
    "conditional_entropy",
    "normalised",
    "mutual_information",
    "theorem_bound",
    "theorem_rank",
    "n",
    "n_source_values",
    "equivalent",
)


def best_sources(
    conditional_entropy: pl.DataFrame, target: str, k: int | None = 10, split: str = "train"
) -> pl.DataFrame:
    """The k best sources of each kind for one target, from labels alone.

    Args:
        conditional_entropy: The frame of `LabelStatistics`.
        target: The task to transfer to.
        k: Sources a kind; None for all of them.
        split: Whose labels.

    Returns:
        See `best_sources_of_all`, for this target.

    Raises:
        DataError: A split or target that the frame does not hold.
    """
    known = conditional_entropy["target"].unique(maintain_order=True).to_list()
    if target not in known:
        raise DataError(f"'{target}' is not a target of this table; it has {', '.join(known[:8])}")
    return best_sources_of_all(conditional_entropy, k, split, targets=[target])


def best_sources_of_all(
    conditional_entropy: pl.DataFrame,
    k: int | None = 10,
    split: str = "train",
    targets: Sequence[str] | None = None,
) -> pl.DataFrame:
    """The k best sources of each kind for every target.

    Kinds are `ordinary`, `wide` (more values than the target: it determines much by their number alone) and
    `near-unique` (a value has fewer than two rows on average, so nothing can be learned about it). Within a kind the
    order is by `corrected_normalised`, then by corrected H(Y|Z), then by the frame's order; a target that is
    constant, or never labelled together with the source, has no best source and no row. A source that is constant,
    in the split or in train, says nothing (H(Y|Z) = H(Y)) and has no row either.

    Args:
        conditional_entropy: The frame of `LabelStatistics`.
        k: Sources a kind; None for all of them.
        split: Whose labels.
        targets: The targets to list; all by default.

    Returns:
        split, target, kind, rank (1 is best, within the kind), source, corrected_normalised, corrected,
        conditional_entropy, normalised, mutual_information, theorem_bound, theorem_rank, n, n_source_values,
        equivalent. `theorem_bound` is −H(Y, Z): among sources Theorem 1 compares l_Z − H(Y|Z), of which, with
        l_Z ≥ −H(Z) (Eq. 14), −H(Z) − H(Y|Z) is what labels alone guarantee; `theorem_rank` is its order
        within the kind. Targets stand in the frame's order, kinds ordinary first.

    Raises:
        DataError: A split that the frame does not hold.
    """
    splits = conditional_entropy["split"].unique(maintain_order=True).to_list()
    if split not in splits:
        raise DataError(f"there is no split '{split}' in this table; it has {', '.join(splits)}")
    kinds = pl.Enum([ORDINARY, WIDE, NEAR_UNIQUE])
    order = {name: i for i, name in enumerate(conditional_entropy["target"].unique(maintain_order=True))}
    of_kind = ["target", "kind"]
    constant = conditional_entropy.filter(pl.col("split") == "train", pl.col("n_source_values") < 2)
    found = conditional_entropy.filter(
        pl.col("split") == split, pl.col("corrected_normalised").is_not_null(), pl.col("n_source_values") > 1
    ).join(constant.select("source", "target"), on=["source", "target"], how="anti", maintain_order="left")
    if targets is not None:
        found = found.filter(pl.col("target").is_in(list(targets)))
    kind = pl.when("near_unique_source").then(pl.lit(NEAR_UNIQUE)).when("wide_source").then(pl.lit(WIDE))
    found = (
        found.with_columns(
            kind.otherwise(pl.lit(ORDINARY)).cast(kinds).alias("kind"),
            (-pl.col("joint_entropy")).alias("theorem_bound"),
        )
        .sort(
            pl.col("target").replace_strict(order, return_dtype=pl.Int64),
            "kind",
            "corrected_normalised",
            "corrected",
            maintain_order=True,
        )
        .with_columns(
            pl.int_range(1, pl.len() + 1).over(of_kind).alias("rank"),
            pl.col("theorem_bound")
            .rank("min", descending=True)
            .over(of_kind)
            .cast(pl.Int64)
            .alias("theorem_rank"),
            pl.col("kind").cast(pl.String),
        )
    )
    return (found if k is None else found.filter(pl.col("rank") <= k)).select(_COLUMNS)
