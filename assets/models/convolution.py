"""A convolution that is fast where its output is a single pixel; no network is put together here.

A deep backbone on small images ends in feature maps of one pixel. A 3 x 3 kernel with padding then meets
eight times the padding and once the image, and the libraries compute all nine. What is left is one matrix
product with the part of the kernel that the image reaches, which gives the same numbers in a fraction of the
time.
"""

from functools import lru_cache

from torch import Tensor, nn
from torch.nn import functional


@lru_cache(maxsize=4096)
def reached_taps(size: int, kernel: int, stride: int, padding: int) -> tuple[int, int, int]:
    """Kernel taps along one side that meet the input at all.

    Args:
        size: Input pixels along the side.
        kernel: Kernel pixels along the side.
        stride: Pixels between two outputs.
        padding: Pixels of zeros before and after.

    Returns:
        First tap, last tap + 1, and the number of outputs along the side.
    """
    outputs = (size + 2 * padding - kernel) // stride + 1
    taps = [
        tap
        for tap in range(kernel)
        if any(0 <= output * stride - padding + tap < size for output in range(outputs))
    ]
    return (taps[0], taps[-1] + 1, outputs) if taps else (0, 0, outputs)


class OnePixelConv2d(nn.Conv2d):
    """`nn.Conv2d` that becomes a matrix product where its output is one pixel; the same parameters."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        pad_rows, pad_columns = _pair(self.padding)
        top, bottom, rows = reached_taps(input.shape[2], self.kernel_size[0], self.stride[0], pad_rows)
        left, right, columns = reached_taps(input.shape[3], self.kernel_size[1], self.stride[1], pad_columns)
        if rows != 1 or columns != 1 or top == bottom or left == right:
            usual: Tensor = super()._conv_forward(input, weight, bias)
            return usual
        # Permuted, not copied: in channels-last memory both are contiguous, and so is the kernel's gradient.
        window = input.permute(0, 2, 3, 1)[:, top - pad_rows : bottom - pad_rows]
        window = window[:, :, left - pad_columns : right - pad_columns].flatten(1)
        kernel = weight.permute(0, 2, 3, 1)[:, top:bottom, left:right].flatten(1)
        product: Tensor = functional.linear(window, kernel, bias)
        return product[:, :, None, None]


def _pair(padding: str | tuple[int, ...]) -> tuple[int, int]:
    assert not isinstance(padding, str)  # noqa: S101 - `use_one_pixel_convolutions` takes no others
    return padding[0], padding[1]


def use_one_pixel_convolutions(network: nn.Module) -> None:
    """Replace in place every plain `nn.Conv2d` of `network`; the parameters and their names stay the same."""
    for name, module in list(network.named_modules()):
        if type(module) is nn.Conv2d and _is_plain(module):
            network.set_submodule(name, _replacement(module))


def _is_plain(conv: nn.Conv2d) -> bool:
    zeros = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return zeros and conv.groups == 1 and conv.dilation == (1, 1)


def _replacement(conv: nn.Conv2d) -> OnePixelConv2d:
    fast = OnePixelConv2d(
        conv.in_channels,
        conv.out_channels,
        kernel_size=(conv.kernel_size[0], conv.kernel_size[1]),
        stride=(conv.stride[0], conv.stride[1]),
        padding=_pair(conv.padding),
        bias=conv.bias is not None,
        device="meta",  # draws no random numbers: the seeded initial weights are taken over
    )
    fast.weight = conv.weight
    fast.bias = conv.bias
    return fast
