"""Settled batch normalisation holds the mean and variance of the training images under the final weights."""

import numpy as np
import torch

from assets.models.batches import Pixels
from assets.models.networks import build_network, normalise
from assets.models.settling import settle_batch_norms
from assets.settings import NetworkSettings


def test_the_first_layers_statistics_are_those_of_the_training_images():
    network = build_network(NetworkSettings(), 2, seed=0, image_size=8)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 8, 8, 3), dtype=np.uint8)
    rows = torch.arange(0, 40, 2)
    settle_batch_norms(network, Pixels(pixels, device="cpu"), rows, batch_size=10)
    with torch.no_grad():
        maps = network.backbone.conv1(normalise(torch.from_numpy(pixels[::2])))
    norm = network.backbone.bn1
    torch.testing.assert_close(norm.running_mean, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    halves = [half.var((0, 2, 3)) for half in (maps[:10], maps[10:])]
    torch.testing.assert_close(norm.running_var, (halves[0] + halves[1]) / 2, rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1
    assert not any(module.training for module in network.modules())


def test_dropout_is_off_and_networks_without_batch_norms_are_left_alone():
    pixels = Pixels(np.zeros((4, 32, 32, 3), np.uint8), device="cpu")
    network = build_network(NetworkSettings(backbone="squeezenet1_1"), 2, seed=0, image_size=32)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    settle_batch_norms(network, pixels, torch.arange(4), batch_size=2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    random_state = torch.random.get_rng_state()
    dropping = build_network(NetworkSettings(backbone="mobilenet_v3_small"), 2, seed=0, image_size=32)
    settle_batch_norms(dropping, pixels, torch.arange(4), batch_size=2)
    assert torch.equal(random_state, torch.random.get_rng_state())
