"""Real embeddings for the probes: ReLU features of a fixed random network on scikit-learn's digits."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import conv2d


@dataclass(frozen=True)
class Digits:
    """Embedding (1797, d), digit (1797,), binary labels (1797, 7) with noise, and the first 1257 rows as train."""

    embedding: np.ndarray
    digit: np.ndarray
    labels: np.ndarray
    is_train: np.ndarray


def random_features(images: np.ndarray, d: int, seed: int = 0) -> np.ndarray:
    """(n, d) standardised float32 features of 8×8 images: convolution, ReLU, random projection, ReLU."""
    generator = torch.Generator().manual_seed(seed)
    kernels = torch.randn(32, 1, 3, 3, generator=generator)
    hidden = (
        conv2d(torch.from_numpy(images).float().reshape(-1, 1, 8, 8), kernels, padding=1).relu().flatten(1)
    )
    projection = torch.randn(hidden.shape[1], d, generator=generator) / hidden.shape[1] ** 0.5
    x = (hidden @ projection).relu()
    return ((x - x.mean(0)) / x.std(0).clamp_min(1e-6)).numpy()


def _digits(d: int) -> Digits:
    pixels, digit = load_digits(return_X_y=True)
    rng = np.random.default_rng(1)
    columns = [digit == 3, digit % 2 == 1, digit > 4, np.isin(digit, [0, 6, 8, 9]), pixels.mean(1) > 5]
    labels = np.stack([*columns, pixels[:, :32].mean(1) > pixels[:, 32:].mean(1), digit == 8], axis=1).astype(
        np.int8
    )
    flipped = rng.random(labels.shape) < np.array([0, 0.02, 0.1, 0, 0.2, 0.05, 0])
    return Digits(random_features(pixels / 16, d), digit, labels ^ flipped, np.arange(len(digit)) < 1257)


@pytest.fixture(scope="session")
def digits() -> Digits:
    """512 features: more than a few targets are separable by."""
    return _digits(512)


@pytest.fixture(scope="session")
def narrow_digits() -> Digits:
    """48 features: nothing is separable by them."""
    return _digits(48)
