"""Zero mean and unit variance on chosen rows of an embedding that may be read from a file; no probes."""

from dataclasses import dataclass

import numpy as np

from assets.probes.rows import ArrayLike, as_tensor

_BLOCK_VALUES = 1 << 22


@dataclass(frozen=True)
class Scaling:
    """x ↦ (x - mean) / scale, each (d,) float64; a constant feature has scale 1, so it becomes zero."""

    mean: np.ndarray
    scale: np.ndarray

    def apply(self, embedding: ArrayLike, rows: np.ndarray) -> np.ndarray:
        """The chosen rows (row numbers), standardised, (len(rows), d) float32."""
        x = as_tensor(embedding)
        out = np.empty((len(rows), x.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), _step(x.shape[1])):
            part = slice(start, start + _step(x.shape[1]))
            out[part] = (_rows(embedding, rows[part]) - self.mean) / self.scale
        return out


def scaling_of(embedding: ArrayLike, rows: np.ndarray) -> Scaling:
    """Mean and standard deviation of each feature over the chosen rows, accumulated in float64.

    Args:
        embedding: (n, d) float32.
        rows: row numbers, at least one.

    Returns:
        The scaling; a feature that varies by no more than rounding has scale 1.
    """
    d = as_tensor(embedding).shape[1]
    starts = range(0, len(rows), _step(d))
    total = np.zeros(d)
    for start in starts:
        total += _rows(embedding, rows[start : start + _step(d)]).sum(0)
    mean = total / max(len(rows), 1)
    square = np.zeros(d)
    for start in starts:
        square += np.square(_rows(embedding, rows[start : start + _step(d)]) - mean).sum(0)
    deviation = np.sqrt(square / max(len(rows), 1))
    varies = deviation > 1e-6 * np.abs(mean)
    return Scaling(mean, np.where(varies & (deviation > 0), deviation, 1.0))


def _step(d: int) -> int:
    return max(1, _BLOCK_VALUES // max(d, 1))


def _rows(embedding: ArrayLike, rows: np.ndarray) -> np.ndarray:
    part: np.ndarray = as_tensor(embedding)[rows].cpu().numpy()
    return part.astype(np.float64)
