"""The source network's softmax p_Z, a block of rows at a time: stored, or recomputed from head and embedding.

The network itself, and how its head was trained, are in the models stage; a margin used in training is not used here.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from assets.probes.rows import ArrayLike, as_tensor


class SourceHead(Protocol):
    """Log-probabilities of the source's values for any rows."""

    @property
    def n_values(self) -> int:
        """Number of source values."""
        ...

    def log_probabilities(self, rows: np.ndarray) -> np.ndarray:
        """The log of p(z|x), (len(rows), n_values) float64, for the row numbers given."""
        ...


@dataclass(frozen=True)
class StoredHead:
    """The log of p(z|x) kept whole, (n, n_values), any float type."""

    log_p: np.ndarray

    @property
    def n_values(self) -> int:
        """Number of source values."""
        return int(self.log_p.shape[1])

    def log_probabilities(self, rows: np.ndarray) -> np.ndarray:
        """See `SourceHead`."""
        return np.asarray(self.log_p[rows], dtype=np.float64)


@dataclass(frozen=True)
class LinearHead:
    """A linear softmax head, logits = E Wᵀ + b: embedding (n, d), weight (n_values, d), bias (n_values,), float32."""

    embedding: ArrayLike
    weight: Tensor
    bias: Tensor

    @property
    def n_values(self) -> int:
        """Number of source values."""
        return int(self.weight.shape[0])

    def log_probabilities(self, rows: np.ndarray) -> np.ndarray:
        """See `SourceHead`; logits in float32, softmax in float64."""
        x = as_tensor(self.embedding)[rows].to(self.weight.device, torch.float32)
        return _log_softmax(torch.addmm(self.bias.float(), x, self.weight.float().T))


@dataclass(frozen=True)
class CosineHead:
    """A cosine-margin head (CosFace) without its margin, logits = s·cos θ: embedding (n, d), weight (n_values, d)."""

    embedding: ArrayLike
    weight: Tensor
    scale: float

    @property
    def n_values(self) -> int:
        """Number of source values."""
        return int(self.weight.shape[0])

    def log_probabilities(self, rows: np.ndarray) -> np.ndarray:
        """See `SourceHead`; logits in float32, softmax in float64."""
        x = as_tensor(self.embedding)[rows].to(self.weight.device, torch.float32)
        return _log_softmax(self.scale * (normalize(x) @ normalize(self.weight.float()).T))


def _log_softmax(logits: Tensor) -> np.ndarray:
    out: np.ndarray = logits.detach().double().log_softmax(1).cpu().numpy()
    return out
