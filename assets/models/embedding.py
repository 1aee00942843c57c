"""Embeddings as files: extracted in a stream, read as a memory map; others decide of what."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from assets.models.batches import Pixels
from assets.models.evaluation import EVALUATION_BATCH, embed_all
from assets.models.networks import SourceNetwork
from assets.models.tensor_files import as_bytes, new_file, open_tensors
from resources.errors import ComputeError, StoreError

KEY = "embedding"


def extract_embedding(
    model: SourceNetwork,
    pixels: npt.NDArray[np.uint8],
    destination: Path,
    *,
    device: str,
    batch_size: int = EVALUATION_BATCH,
    resident: bool = False,
) -> None:
    """Write the embedding of every image, r = w_Z(x), batch by batch; only a batch is in memory.

    Args:
        model: The source model; it is moved to `device`.
        pixels: (n, H, W, 3) uint8, array or memory map.
        destination: `.safetensors` file to write: key `embedding`, (n, D) float32, row = image.
        device: Torch device.
        batch_size: Images a forward pass.
        resident: Whether the pixels are first taken into the device's memory. Each is looked at once, so that they
            are better read a batch ahead.

    Raises:
        ComputeError: An embedding is not a number; names the image.
        StoreError: No space on the disk, found before anything is computed; no file is left.
    """
    images = Pixels(pixels, device=device, resident=resident)
    with embedding_file(destination, len(pixels), model.embedding_width) as receive:
        embed_all(model.to(device), images, receive, batch_size=batch_size)


@contextlib.contextmanager
def embedding_file(destination: Path, n: int, width: int) -> Iterator[Callable[[int, Tensor], None]]:
    """A function that takes `(start, embeddings)` in order and appends them to an embedding file of n rows.

    Pass it as `on_embedding` to `train_source_model` and the evaluation pass writes the file along the way.

    Raises:
        ComputeError: An embedding is not a number.
        StoreError: No space on the disk, or not n rows came; no file is left.
    """
    with new_file(destination, {KEY: (np.dtype(np.float32), (n, width))}) as stream:

        def receive(start: int, embeddings: Tensor) -> None:
            block: npt.NDArray[np.float32] = embeddings.float().contiguous().cpu().numpy()
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                row = start + int(np.flatnonzero(~finite)[0])
                raise ComputeError(f"the embedding of image {row} is not a number; train this source again")
            stream.write(as_bytes(block))

        yield receive


def load_embedding(path: Path) -> npt.NDArray[np.float32]:
    """Map an embedding file: (n, D) float32, read-only, read from disk only where it is used.

    Raises:
        StoreError: The file is missing, truncated, or holds something else.
    """
    tensors = open_tensors(path).tensors
    if KEY not in tensors or tensors[KEY].ndim != 2 or tensors[KEY].dtype != np.float32:
        raise StoreError(f"{path}: holds no (n, D) float32 tensor '{KEY}'; make it again")
    return tensors[KEY]
