"""Batches of pixels on the device, their seeded order and augmentation; no network and no labels here."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from assets.models.networks import normalise
from resources.compute import free_memory
from resources.errors import DataError

MEMORY_SHARE = 0.5  # of what is free on the device may hold the data set
CROP_SHARE = 8  # a random crop moves the image by up to 1/8 of its side


class Pixels:
    """All images of a study, as uint8: on the device where they fit, else read batch by batch.

    Args:
        pixels: (n, H, W, 3) uint8, an array or a memory map.
        device: Torch device.
        resident: Whether to hold them on the device; None: where they take at most half of its free memory.

    Raises:
        DataError: The array has another shape or type.
    """

    def __init__(self, pixels: npt.NDArray[np.uint8], *, device: str, resident: bool | None = None) -> None:
        if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
            raise DataError(
                f"pixels must be (n, H, W, 3) uint8, not {pixels.shape} {pixels.dtype}: make them again"
            )
        self.device, self.source = device, pixels
        if resident is None:
            resident = pixels.nbytes <= MEMORY_SHARE * free_memory(device)
        self.resident = self._load() if resident else None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.source)

    def _load(self) -> Tensor:
        writable = (
            np.array(self.source) if not self.source.flags.writeable else np.ascontiguousarray(self.source)
        )
        return torch.from_numpy(writable).to(self.device)

    def batches(self, rows: Tensor, steps: int) -> Iterator[Tensor]:
        """Pixels (B, H, W, 3) uint8, on the device, of `rows` (m,) int64 in order, in `steps` equal parts.

        Where they do not fit on the device the next part is read while this one is computed with.
        """
        parts = torch.tensor_split(rows, steps)
        if self.resident is not None:
            for part in parts:
                yield self.resident[part.to(self.device)]
            return
        with ThreadPoolExecutor(1, thread_name_prefix="pixels") as reader:
            coming: Future[Tensor] = reader.submit(self._read, parts[0])
            for following in (*parts[1:], None):
                current = coming.result()
                if following is not None:
                    coming = reader.submit(self._read, following)
                yield current.to(self.device, non_blocking=True)

    def _read(self, rows: Tensor) -> Tensor:
        order = np.argsort(rows.numpy(), kind="stable")  # one walk through the file
        numbers = rows.numpy()
        part = np.empty((len(numbers), *self.source.shape[1:]), np.uint8)
        part[order] = self.source[numbers[order]]
        tensor = torch.from_numpy(part)
        return tensor.pin_memory() if self.device.startswith("cuda") else tensor


def step_count(n: int, batch_size: int) -> int:
    """Steps in which `n` rows are taken in near-equal parts: no short last batch, and none of a single row.

    Batch normalisation cannot work on one row; three rows in batches of two are therefore one step of three.
    """
    return max(1, min(-(-n // batch_size), n // 2))


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The random numbers of one epoch; they follow from seed and epoch, so a resumed run draws the same."""
    state = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)


def augment(pixels: Tensor, augmentation: str, generator: torch.Generator) -> Tensor:
    """Mirror and move each image at random, on its device.

    Args:
        pixels: (B, H, W, 3) uint8.
        augmentation: `none`, `flip` (each with probability 1/2), `crop` (moved by up to 1/8 of its side, the
            edge repeated) or `flip+crop`.
        generator: On the CPU, so that every device sees the same draws.

    Returns:
        (B, H, W, 3) uint8.
    """
    if "flip" in augmentation:
        mirrored = torch.rand(len(pixels), generator=generator) < 0.5
        pixels = torch.where(mirrored.to(pixels.device)[:, None, None, None], pixels.flip(2), pixels)
    return _crop(pixels, generator) if "crop" in augmentation else pixels


def _crop(pixels: Tensor, generator: torch.Generator) -> Tensor:
    batch, height, width, _ = pixels.shape
    reach = max(1, min(height, width) // CROP_SHARE)
    moves = torch.randint(-reach, reach + 1, (2, batch, 1), generator=generator).to(pixels.device)
    rows = (torch.arange(height, device=pixels.device) + moves[0]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=pixels.device) + moves[1]).clamp_(0, width - 1)
    image = torch.arange(batch, device=pixels.device)[:, None, None]
    return pixels[image, rows[:, :, None], columns[:, None, :]]


def network_input(pixels: Tensor, augmentation: str, generator: torch.Generator) -> Tensor:
    """Normalised images (B, 3, H, W) of a batch of pixels (B, H, W, 3), augmented first."""
    return normalise(augment(pixels, augmentation, generator))
