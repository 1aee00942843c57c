"""Backbones by name, the two heads, and the input they get."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from assets.models.networks import (
    CHANNEL_MEAN,
    CHANNEL_SPREAD,
    CosFaceHead,
    _WithoutMemory,
    build_network,
    embedding_width,
    normalise,
    parameter_count,
)
from assets.settings import NetworkSettings
from resources.errors import StudyError


def test_widths_are_those_of_torchvision():
    assert embedding_width("resnet18") == 512
    assert embedding_width("resnet101") == 2048
    assert embedding_width("vit_b_16", image_size=32) == 768


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet18", 16), ("squeezenet1_1", 32), ("vgg11_bn", 32), ("densenet121", 32), ("swin_t", 32), ("googlenet", 64)],
)  # fmt: skip
def test_any_torchvision_backbone_embeds_and_classifies(name, size):
    with torch.device("meta"):
        network = build_network(NetworkSettings(backbone=name), 5, seed=0, image_size=size).eval()
        embedding = network.embed(torch.empty(2, 3, size, size))
    assert embedding.shape == (2, network.embedding_width)
    assert network.logits(embedding).shape == (2, 5)


def test_the_embedding_is_the_penultimate_activation_of_torchvisions_own_model():
    network = build_network(NetworkSettings(), 1000, seed=3, image_size=16).eval()
    own = torchvision.models.resnet18().eval()
    own.load_state_dict(
        {name.replace("backbone.", "").replace("head.", "fc."): tensor
         for name, tensor in network.state_dict().items() if name != "classes"}
    )  # fmt: skip
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(images), own(images), rtol=1e-4, atol=1e-4)
        own.fc = nn.Identity()
        torch.testing.assert_close(network.embed(images), own(images), rtol=1e-4, atol=1e-4)


def test_weights_follow_the_seed_alone():
    small = NetworkSettings(backbone="shufflenet_v2_x0_5")
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, two, other = (build_network(small, 2, seed=seed).state_dict() for seed in (4, 4, 5))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_a_backbone_that_torchvision_does_not_have_is_refused():
    with pytest.raises(StudyError, match="backbone 'resnet19' is not a classification model of torchvision"):
        build_network(NetworkSettings(backbone="resnet19"), 2, seed=0)
    with pytest.raises(StudyError, match="backbone 'fcn_resnet50' is not a classification model"):
        build_network(NetworkSettings(backbone="fcn_resnet50"), 2, seed=0)
    with pytest.raises(StudyError, match="backbone 'vit_b_16' cannot take images of 30 pixels"):
        build_network(NetworkSettings(backbone="vit_b_16"), 2, seed=0, image_size=30)


@pytest.mark.parametrize(
    ("name", "size", "enough"),
    [("inception_v3", 74, 75), ("googlenet", 8, 16), ("alexnet", 48, 64), ("squeezenet1_1", 16, 17),
     ("convnext_tiny", 31, 32), ("densenet121", 28, 32), ("vgg11_bn", 31, 32), ("maxvit_t", 64, 224)],
)  # fmt: skip
def test_images_too_small_for_a_backbone_are_refused_in_one_line_before_any_training(name, size, enough):
    with pytest.raises(StudyError, match=f"backbone '{name}' cannot take images of {size} pixels") as refused:
        embedding_width(name, image_size=size)
    assert "recipe.image_size" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert embedding_width(name, image_size=enough) > 0
    assert embedding_width(name) == embedding_width(name, image_size=enough)


def test_the_network_that_is_trained_is_checked_too():
    with pytest.raises(StudyError, match="'squeezenet1_1' cannot take images of 16 pixels"):
        build_network(NetworkSettings(backbone="squeezenet1_1"), 2, seed=0, image_size=16)


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_every_classification_model_of_torchvision_gives_an_embedding_of_its_width(name):
    """Also in training mode, where some return more than one output."""
    width = embedding_width(name)
    with _WithoutMemory():
        network = build_network(NetworkSettings(backbone=name), 3, seed=0)
    assert network.embedding_width == width
    network = network.to("meta")
    for mode in (True, False):
        network.train(mode)
        embedding = network.embed(torch.empty(2, 3, 224, 224, device="meta"))
        assert embedding.shape == (2, width)
        assert network.logits(embedding).shape == (2, 3)


def test_cosface_logits_match_the_formula():
    rng = np.random.default_rng(2)
    embedding, labels = rng.normal(size=(6, 4)).astype(np.float32), np.array([0, 2, 1, 1, 0, 2])
    head = CosFaceHead(4, 3, scale=64.0, margin=0.4)
    weight = head.weight.detach().numpy()
    cosine = np.array(
        [[e @ w / np.sqrt((e @ e) * (w @ w)) for w in weight] for e in embedding.astype(np.float64)]
    )
    margin = np.zeros((6, 3))
    margin[np.arange(6), labels] = 0.4
    given = (torch.from_numpy(embedding), torch.from_numpy(labels))
    np.testing.assert_allclose(head(*given).detach(), 64 * (cosine - margin), atol=1e-4)
    head.eval()
    np.testing.assert_allclose(head(*given).detach(), 64 * cosine, atol=1e-4)
    np.testing.assert_allclose(head(given[0]).detach(), 64 * cosine, atol=1e-4)


def test_the_head_is_the_settings_one():
    network = build_network(NetworkSettings(head="cosface", margin=0.2, scale=30.0), 3, seed=0, image_size=8)
    assert isinstance(network.head, CosFaceHead)
    assert (network.head.margin, network.head.scale) == (0.2, 30.0)
    assert parameter_count(network) == parameter_count(build_network(NetworkSettings(), 3, seed=0)) - 3


def test_normalised_pixels_are_channels_first_and_centred():
    pixels = torch.zeros(2, 4, 5, 3, dtype=torch.uint8)
    pixels[1, 2, 3] = torch.tensor([10, 20, 30])
    images = normalise(pixels)
    assert images.shape == (2, 3, 4, 5)
    assert images.is_contiguous(memory_format=torch.channels_last)
    expected = [
        (value - m) / s for value, m, s in zip((10, 20, 30), CHANNEL_MEAN, CHANNEL_SPREAD, strict=True)
    ]
    torch.testing.assert_close(images[1, :, 2, 3], torch.tensor(expected))
    assert pixels[1, 2, 3].tolist() == [10, 20, 30]
