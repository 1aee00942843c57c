"""The dedicated network's learning curve: what each point is, and that it is the same each time."""

import numpy as np
import polars as pl
import pytest

from assets.models.learning_curve import SCHEMA, dedicated_learning_curve
from assets.settings import NetworkSettings, Recipe
from resources.errors import ComputeError

SMALL = NetworkSettings(backbone="shufflenet_v2_x0_5")
TINY = Recipe(image_size=8, epochs=1, batch_size=16, learning_rate=0.02)


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(3)
    labels = np.arange(60) % 2
    pixels = (
        rng.integers(0, 90, (60, 8, 8, 3), dtype=np.uint8)
        + (labels * 150).astype(np.uint8)[:, None, None, None]
    )
    labels[[1, 50]] = -1
    is_train = np.arange(60) < 40
    return pixels, labels, is_train, ~is_train


def test_one_row_a_size_and_seed_the_same_each_time(study):
    curve = dedicated_learning_curve(*study, TINY, SMALL, [4, 16], [0, 1], device="cpu")
    assert dict(curve.schema) == SCHEMA
    assert curve.select("n_train", "seed").rows() == [(4, 0), (16, 0), (4, 1), (16, 1)]
    assert curve["test_accuracy"].is_between(0, 1).all()
    assert (curve["test_accuracy"] * 19 % 1).is_between(1e-9, 1 - 1e-9).sum() == 0, "19 labelled test rows"
    again = dedicated_learning_curve(*study, TINY, SMALL, [4], [1], device="cpu")
    assert curve.filter(pl.col("seed") == 1, pl.col("n_train") == 4).equals(again)


def test_enough_steps_teach_a_small_subset(study):
    recipe = TINY.model_copy(update={"learning_rate": 0.05})
    curve = dedicated_learning_curve(*study, recipe, SMALL, [20], [0], device="cpu", minimum_steps=30)
    assert curve["test_accuracy"].item() > 0.8


def test_a_subset_of_one_class_predicts_it(study):
    pixels, _, is_train, is_test = study
    rare = np.where(np.arange(60) == 7, 1, 0)
    rare[41:44] = 1
    curve = dedicated_learning_curve(pixels, rare, is_train, is_test, TINY, SMALL, [2], [0], device="cpu")
    assert curve["test_accuracy"].item() == pytest.approx(17 / 20)


def test_sizes_out_of_range_are_refused(study):
    with pytest.raises(ComputeError, match="at 40 rows is not possible: give 2 to 39"):
        dedicated_learning_curve(*study, TINY, SMALL, [4, 40], [0], device="cpu")
    with pytest.raises(ComputeError, match="at 1 rows"):
        dedicated_learning_curve(*study, TINY, SMALL, [1], [0], device="cpu")
    with pytest.raises(ComputeError, match="needs labelled test rows"):
        dedicated_learning_curve(*study[:3], np.zeros(60, bool), TINY, SMALL, [4], [0], device="cpu")
