"""The one-pixel convolution gives the numbers and gradients of the plain one, at every size."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from assets.models.convolution import OnePixelConv2d, use_one_pixel_convolutions


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(st.sampled_from([1, 2, 3, 5, 7]), st.sampled_from([1, 3])),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    bias=st.booleans(),
)
def test_numbers_and_gradients_are_those_of_the_plain_convolution(size, kernel, stride, padding, bias):
    assume(all(side + 2 * padding >= reach for side, reach in zip(size, kernel, strict=True)))
    plain = nn.Conv2d(3, 4, kernel, stride, padding, bias=bias).double()
    fast = nn.Sequential(plain)
    use_one_pixel_convolutions(fast)
    assert type(fast[0]) is OnePixelConv2d
    assert fast[0].weight is plain.weight
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    results = []
    for module in (plain, fast):
        copy = images.clone().requires_grad_()
        output = module(copy)
        gradients = torch.autograd.grad(output.square().sum(), [copy, *module.parameters()])
        results.append((output, *gradients))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "conv",
    [nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, dilation=2), nn.Conv2d(4, 4, 3, padding="same"),
     nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")],
)  # fmt: skip
def test_other_convolutions_are_left_alone(conv):
    network = nn.Sequential(conv)
    use_one_pixel_convolutions(network)
    assert network[0] is conv
