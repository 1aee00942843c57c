"""Multi-class targets as binary problems side by side, the way LinearSVC splits them, and codes predicted back."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class OneVsRest:
    """The binary problems of several targets side by side.

    Attributes:
        labels: (n, k) int8 in {-1, 0, 1}.
        owner: (k,) the target of each problem.
        classes: for each target the codes seen in train, ascending; two codes make one problem, more make one each.
    """

    labels: np.ndarray
    owner: np.ndarray
    classes: list[np.ndarray]

    def columns(self, target: int) -> np.ndarray:
        """The problems of one target."""
        return np.flatnonzero(self.owner == target)

    def predict(self, target: int, decisions: np.ndarray) -> np.ndarray:
        """(n,) predicted codes of a target from the decision values (n, k) of all problems."""
        classes = self.classes[target]
        if len(classes) == 0:
            return np.full(len(decisions), -1, dtype=np.int64)
        own = decisions[:, self.columns(target)]
        if len(classes) == 1:
            return np.full(len(decisions), classes[0])
        picked = (own[:, 0] > 0).astype(np.int64) if len(classes) == 2 else own.argmax(1)
        chosen: np.ndarray = classes[picked]
        return chosen

    def errors(self, decisions: np.ndarray, codes: np.ndarray) -> list[float | None]:
        """Share of wrong codes among each target's known labels (n, T); None where no label or no class is known."""
        return [
            _wrong(self.predict(t, decisions), codes[:, t]) if len(self.classes[t]) else None
            for t in range(codes.shape[1])
        ]


def one_vs_rest(codes: np.ndarray) -> OneVsRest:
    """Split targets into binary problems as LinearSVC does.

    Args:
        codes: (n, T) integers, negative = missing, the training rows.

    Returns:
        The problems; a target with fewer than two codes has none.
    """
    labels, owner, classes = [], [], []
    for target in range(codes.shape[1]):
        column = codes[:, target]
        seen = np.unique(column[column >= 0])
        classes.append(seen)
        for value in () if len(seen) < 2 else seen[1:] if len(seen) == 2 else seen:
            labels.append(np.where(column < 0, -1, column == value).astype(np.int8))
            owner.append(target)
    stacked = np.stack(labels, axis=1) if labels else np.zeros((len(codes), 0), dtype=np.int8)
    return OneVsRest(stacked, np.array(owner, dtype=np.int64), classes)


def _wrong(predicted: np.ndarray, codes: np.ndarray) -> float | None:
    known = codes >= 0
    return float((predicted[known] != codes[known]).mean()) if known.any() else None
