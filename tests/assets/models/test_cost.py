"""The estimate of what a list of trainings costs, against FLOPs counted by hand and published."""

import pytest

from assets.models.cost import PEAK_FLOPS, Training, estimate_cost, flops_per_image, measured_fraction
from assets.settings import NetworkSettings, Recipe
from resources.errors import ComputeError


def test_resnet18_at_224_pixels_takes_the_published_products_and_sums():
    forward, step = flops_per_image(NetworkSettings(), 1000, 224)
    assert forward == pytest.approx(2 * 1.81e9, rel=0.02)  # 1.81 GMAC, torchvision's documentation
    assert 2.8 * forward < step < 3.0 * forward  # no gradient with regard to the pixels


def test_hours_are_flops_over_the_stated_share_of_the_peak():
    network, recipe = NetworkSettings(), Recipe(image_size=64, epochs=3)
    trainings = [Training(network, recipe, 2, n_train=1000, n_images=1500)] * 4
    forward, step = flops_per_image(network, 2, 64)
    estimate = estimate_cost(trainings, gpu="A100", fraction_of_peak=0.1)
    assert estimate.training_flops == pytest.approx(4 * 3 * 1000 * step)
    assert estimate.evaluation_flops == pytest.approx(4 * 2 * 1500 * forward)
    total = estimate.training_flops + estimate.evaluation_flops
    assert estimate.hours == pytest.approx(total / (0.1 * PEAK_FLOPS["A100"]) / 3600)
    assert "an estimate, not a measurement" in str(estimate)
    assert measured_fraction(1000, network, 2, 64, peak_flops=1000 * step / 0.25) == pytest.approx(0.25)


def test_unknown_gpus_and_impossible_fractions_are_refused():
    with pytest.raises(ComputeError, match="no peak is known for GPU 'Z9'"):
        estimate_cost([], gpu="Z9")
    with pytest.raises(ComputeError, match=r"between 0 and 1, not 1\.5"):
        estimate_cost([], fraction_of_peak=1.5)
