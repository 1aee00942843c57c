"""Growing subsets of labelled rows, the same for whoever asks with the same seed, as Fig. 5 needs them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from resources.errors import DataError


def nested_subsets(
    codes: npt.NDArray[np.integer[Any]], sizes: Sequence[int], seed: int
) -> list[npt.NDArray[np.int64]]:
    """Row numbers of growing, nested, stratified subsets.

    Args:
        codes: (n,) integers, none missing.
        sizes: numbers of rows, each at most n.
        seed: of the order within each class.

    Returns:
        For each size the rows, ascending. Classes keep their shares as nearly as whole rows allow, and the first k rows
        of the order hold every one of the k classes, so a class is missing only from subsets smaller than that.

    Raises:
        DataError: a size below 1 or above n.
    """
    if any(size < 1 or size > len(codes) for size in sizes):
        raise DataError(
            f"training sizes {list(sizes)} must lie between 1 and the {len(codes)} labelled training rows"
        )
    order = np.random.default_rng(seed).permutation(len(codes))
    place = np.empty(len(codes))
    for value in np.unique(codes):
        rows = order[codes[order] == value]
        # Row j of a class of m stands at (j + ½)/m of the way, its first row before all seconds.
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
        place[rows[0]] -= 1
    ranked = order[np.argsort(place[order], kind="stable")]
    return [np.sort(ranked[:size]) for size in sizes]
