"""The dedicated network's half of sample efficiency: test accuracy against the number of training images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from assets.labels.subsets import nested_subsets
from assets.models.batches import Pixels, step_count
from assets.models.evaluation import evaluate
from assets.models.training import Labels, Mask, TrainingLoop, class_indices
from assets.settings import NetworkSettings, Recipe
from resources.errors import ComputeError

SCHEMA = {"n_train": pl.Int64, "seed": pl.Int64, "test_accuracy": pl.Float64}


def dedicated_learning_curve(  # noqa: PLR0913 - the data and settings of a training, and the grid
    pixels: npt.NDArray[np.uint8],
    labels: Labels,
    is_train: Mask,
    is_test: Mask,
    recipe: Recipe,
    network: NetworkSettings,
    sizes: Sequence[int],
    seeds: Sequence[int],
    *,
    device: str,
    minimum_steps: int | None = None,
) -> pl.DataFrame:
    """Test accuracy of networks trained for the target itself on subsets of its training rows.

    The subsets are those of the probes' curve (`nested_subsets`). A small subset sees more epochs, so
    that every network takes at least `minimum_steps` optimiser steps: with the recipe's epochs alone a subset
    of 50 images would take six steps and its accuracy would tell of the schedule, not of the number of
    images. A subset that shows one class only needs no network: it predicts that class.

    Args:
        pixels: (n, H, W, 3) uint8.
        labels: (n,) integers, -1 = missing.
        is_train: (n,) bool.
        is_test: (n,) bool.
        recipe: How to train; its seed is replaced by each of `seeds`.
        network: Backbone and head.
        sizes: Numbers of training rows, each at least 2; one above the labelled train rows is refused.
        seeds: Of subset, initial weights and order.
        device: Torch device.
        minimum_steps: None: as many steps as the recipe takes on all labelled train rows.

    Returns:
        `n_train`, `seed`, `test_accuracy`: one row a size and seed; accuracy over all labelled test rows,
        where a value that the subset never showed counts as misclassified.

    Raises:
        ComputeError: A size is out of its range, no test row has a label, or the loss is not a number.
    """
    train = np.flatnonzero(is_train & (labels >= 0))
    test = np.flatnonzero(is_test & (labels >= 0))
    _check(sizes, len(train), len(test))
    images = Pixels(pixels, device=device)
    steps = minimum_steps or recipe.epochs * step_count(len(train), recipe.batch_size)
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        seeded = recipe.model_copy(update={"seed": seed})
        for size, subset in zip(sizes, nested_subsets(labels[train], sizes, seed), strict=True):
            accuracy = _accuracy(images, labels, train[subset], test, seeded, network, device, steps)
            rows.append({"n_train": size, "seed": seed, "test_accuracy": accuracy})
    return pl.DataFrame(rows, schema=SCHEMA)


def _check(sizes: Sequence[int], n_train: int, n_test: int) -> None:
    wrong = [size for size in sizes if not 2 <= size <= n_train]
    if wrong:
        raise ComputeError(f"a learning curve at {wrong[0]} rows is not possible: give 2 to {n_train}")
    if n_test == 0:
        raise ComputeError("a learning curve needs labelled test rows, and there are none")


def _accuracy(
    images: Pixels,
    labels: Labels,
    rows: npt.NDArray[np.int64],
    test: npt.NDArray[np.int64],
    recipe: Recipe,
    network: NetworkSettings,
    device: str,
    minimum_steps: int,
) -> float:
    classes = np.unique(labels[rows]).astype(np.int64)
    if len(classes) == 1:
        return float((labels[test] == classes[0]).mean())
    targets = class_indices(labels, classes)
    epochs = max(recipe.epochs, -(-minimum_steps // step_count(len(rows), recipe.batch_size)))
    loop = TrainingLoop(images, targets, rows, recipe, network, device=device, epochs=epochs)
    loop.run()
    return float(evaluate(loop.network, images, targets[test], rows=torch.from_numpy(test)).correct.mean())
