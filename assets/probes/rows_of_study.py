"""The labels that probes need, as arrays; rows without a readable image are in neither split."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from assets.labels.assets import pixels_of
from assets.labels.sources import with_representations
from assets.materialize import Work


@dataclass(frozen=True)
class Rows:
    """The labels of a study as arrays, in the order of `image_id`.

    Args:
        codes: (n, T) int32, −1 where unknown; a column a target.
        targets: the T targets, without the source itself.
        n_values: (T,) how many values each has.
        is_train: (n,) bool; rows without a readable image are in neither split.
        is_test: (n,) bool.
        source: (n,) int32, the source's own codes; −1 throughout where it is a representation of no task.
        validation: (n,) bool, train rows that the data set sets apart for validation (CelebA's partition 1); None where
            it sets none apart.
    """

    codes: npt.NDArray[np.int32]
    targets: tuple[str, ...]
    n_values: tuple[int, ...]
    is_train: npt.NDArray[np.bool_]
    is_test: npt.NDArray[np.bool_]
    source: npt.NDArray[np.int32]
    validation: npt.NDArray[np.bool_] | None = None

    def digests(self, *, conditioned: bool, validated: bool) -> dict[str, str]:
        """What the probe of each target sees of the labels: an SHA-256 by target.

        It moves with any row that joins or leaves train, since all of train is standardised together, and with the
        target's own labels in train and test; not with what no probe looks at, such as a test row without a label.

        Args:
            conditioned: whether it matters which train rows carry a label of the source.
            validated: whether it matters which train rows are set apart for validation.
        """
        masks = [self.is_train]
        if conditioned:
            masks.append(self.is_train & (self.source >= 0))
        if validated and self.validation is not None:
            masks.append(self.is_train & self.validation)
        shared = hashlib.sha256(b"".join(np.packbits(mask).tobytes() for mask in masks))
        used = self.is_train | self.is_test
        digests = {}
        for column, target in enumerate(self.targets):
            digest = shared.copy()
            digest.update(np.where(used, self.codes[:, column], -1).astype("<i4").tobytes())
            digests[target] = digest.hexdigest()
        return digests


def rows_of_study(work: Work, targets: tuple[str, ...], source: str) -> Rows:
    """Read the labels of some targets and of one source, with the rows that can be used."""
    labels = with_representations(work.study, work.read("labels"))
    n_values = dict(work.read("tasks").select("task", "n_values").iter_rows())
    cache = pixels_of(work.study, work.home)
    readable = np.ones(len(labels), dtype=bool) if cache is None else cache.readable
    known = labels.select(pl.col(*dict.fromkeys([*targets, source])).fill_null(-1).cast(pl.Int32))
    return Rows(
        codes=known.select(targets).to_numpy(),
        targets=targets,
        n_values=tuple(n_values[target] for target in targets),
        is_train=(labels["split"] == "train").to_numpy() & readable,
        is_test=(labels["split"] == "test").to_numpy() & readable,
        source=known[source].to_numpy(),
        validation=(labels["partition"] == 1).to_numpy() if "partition" in labels.columns else None,
    )
