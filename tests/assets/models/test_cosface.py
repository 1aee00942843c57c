"""The margin head serves an identity-like source: on the digits it is as accurate as the softmax head."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from assets.models.training import train_source_model
from assets.settings import NetworkSettings, Recipe

RECIPE = Recipe(image_size=16, epochs=5, batch_size=128, learning_rate=0.03)


@pytest.mark.slow
def test_cosface_on_the_digit_is_at_most_two_points_below_softmax_over_three_seeds():
    digits = load_digits()
    small = np.round(digits.images / 16 * 255).astype(np.uint8)
    pixels = np.repeat(small.repeat(2, axis=1).repeat(2, axis=2)[..., None], 3, axis=3)
    _, test = train_test_split(np.arange(1797), test_size=0.3, stratify=digits.target, random_state=0)
    is_test = np.isin(np.arange(1797), test)
    accuracy: dict[str, list[float]] = {"softmax": [], "cosface": []}
    for head, reached in accuracy.items():
        for seed in range(3):
            recipe = RECIPE.model_copy(update={"seed": seed})
            network = NetworkSettings(head=head)
            trained = train_source_model(
                pixels, digits.target, ~is_test, is_test, recipe, network, device="cpu"
            )
            assert trained.test_error is not None
            reached.append(1 - trained.test_error)
    assert np.mean(accuracy["cosface"]) >= np.mean(accuracy["softmax"]) - 0.02, accuracy
    assert np.mean(accuracy["softmax"]) > 0.95, accuracy
