"""Bring your own representation: frozen features or an ONNX network in the place of a trained source model.

Each becomes an embedding file like any other. Nothing is unpickled and no scripted module is run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from polars.exceptions import PolarsError
from torch import Tensor
from torch.nn import functional

from assets.models.batches import Pixels
from assets.models.embedding import KEY, embedding_file
from assets.models.evaluation import EVALUATION_BATCH
from assets.models.networks import normalise
from assets.models.tensor_files import open_tensors
from resources.errors import DataError, first_line

Features = npt.NDArray[Any]
_COPY_ROWS = 8192


def import_representation(
    source: Path, destination: Path, *, n_images: int, pixels: npt.NDArray[np.uint8] | None = None
) -> None:
    """Turn a user's representation into an embedding file: key `embedding`, (n, D) float32, row = image.

    Args:
        source: `.onnx` (a network that is run on `pixels`), or an array of features with one row an image:
            `.npy`, `.safetensors` (key `embedding`, or its only tensor) or `.parquet` (every column a number,
            or one column of lists of equal length; a column `image_id`, if there, gives the rows' order).
        destination: `.safetensors` file to write.
        n_images: n, the images of the study.
        pixels: (n, H, W, 3) uint8, needed by an ONNX network.

    Raises:
        DataError: The file cannot be read, has another number of rows, or holds something that is not a
            number.
        StoreError: No space on the disk.
    """
    if not source.is_file():
        raise DataError(f"{source}: no such file; give the representation's path")
    if source.suffix == ".onnx":
        if pixels is None:
            raise DataError(
                f"{source}: an ONNX network needs the images, and this study has none; give features"
            )
        run_onnx(source, pixels, destination)
        return
    readers: dict[str, Callable[[Path], Features]] = {
        ".npy": _read_npy, ".safetensors": _read_safetensors, ".parquet": _read_parquet,
    }  # fmt: skip
    if source.suffix not in readers:
        known = ", ".join([".onnx", *readers])
        raise DataError(
            f"{source}: a representation is one of {known}; pickled or scripted models are not read"
        )
    features = readers[source.suffix](source)
    _check_features(features, source, n_images)
    with embedding_file(destination, *features.shape) as receive:
        for start, block in _blocks(features, source):
            receive(start, block)


def _blocks(features: Features, source: Path) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(features), _COPY_ROWS):
        with np.errstate(over="ignore"):
            block = np.array(features[start : start + _COPY_ROWS], dtype=np.float32)
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = start + int(np.flatnonzero(~finite)[0])
            raise DataError(
                f"{source}: row {row} holds something that is not a finite float32; mend or drop it"
            )
        yield start, torch.from_numpy(block)


def _check_features(features: Features, source: Path, n_images: int) -> None:
    if features.ndim != 2 or features.shape[1] == 0 or features.dtype.kind not in "fiu":
        raise DataError(
            f"{source}: holds {features.shape} {features.dtype}; wanted is (images, features) of numbers"
        )
    if len(features) != n_images:
        raise DataError(
            f"{source}: has {len(features)} rows for {n_images} images; give one row an image, in order"
        )


def _read_npy(source: Path) -> Features:
    try:
        features: Features = np.load(source, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{source}: not an array that can be read without pickle ({error})") from error
    return features


def _read_safetensors(source: Path) -> Features:
    tensors = open_tensors(source).tensors
    if KEY not in tensors and len(tensors) != 1:
        raise DataError(f"{source}: holds {len(tensors)} tensors and none is named '{KEY}'; name it so")
    return tensors[KEY] if KEY in tensors else next(iter(tensors.values()))


def _read_parquet(source: Path) -> Features:
    try:
        frame = pl.read_parquet(source)
    except (PolarsError, OSError) as error:
        raise DataError(f"{source}: not a Parquet file that can be read ({error})") from error
    if "image_id" in frame.columns:
        frame = frame.sort("image_id")
        if frame["image_id"].to_list() != list(range(len(frame))):
            raise DataError(f"{source}: image_id is not 0…{len(frame) - 1}, each once; number the rows so")
        frame = frame.drop("image_id")
    for column in frame.get_columns():
        if column.null_count():
            missing = column.is_null().arg_max()
            raise DataError(f"{source}: column {column.name} has no value in row {missing}; fill or drop it")
        nested = column.dtype in (pl.List, pl.Array)
        if not column.dtype.is_numeric() and not (nested and len(frame.columns) == 1):
            raise DataError(
                f"{source}: column {column.name} is {column.dtype}; give numbers, or one column of lists"
            )
    if frame.width == 1 and not frame.dtypes[0].is_numeric():
        return _from_lists(frame.to_series(), source)
    return frame.to_numpy()


def _from_lists(column: pl.Series, source: Path) -> Features:
    lists = column.arr.to_list() if column.dtype == pl.Array else column
    lengths = lists.list.len()
    if lengths.n_unique() != 1:
        row = int((lengths != lengths[0]).arg_max() or 0)
        raise DataError(f"{source}: row {row} of {column.name} has {lengths[row]} values, row 0 {lengths[0]}")
    values = lists.explode()
    if not values.dtype.is_numeric() or values.null_count():
        raise DataError(
            f"{source}: column {column.name} holds {values.dtype}, or gaps; give lists of numbers"
        )
    return values.to_numpy().reshape(len(column), -1)


def run_onnx(
    source: Path, pixels: npt.NDArray[np.uint8], destination: Path, *, batch_size: int = EVALUATION_BATCH
) -> None:
    """Embed every image by an ONNX network, batch by batch.

    The network's first input must be (batch, 3, H, W) float32; it gets images resized to its side where that
    is fixed, normalised by ImageNet's mean and spread, as published networks expect them. Its first output,
    flattened, is the embedding.

    Args:
        source: `.onnx` file.
        pixels: (n, H, W, 3) uint8.
        destination: `.safetensors` file to write: key `embedding`, (n, D) float32.
        batch_size: Images a run, where the network does not fix it.

    Raises:
        DataError: The file is not an ONNX network of this form, or fails on a batch.
        StoreError: No space on the disk.
    """
    network = _open_network(source)
    images = Pixels(pixels, device="cpu")
    rows = torch.arange(len(images))
    width = network.embed(normalise(next(images.batches(rows[:1], 1)))).shape[1]
    with embedding_file(destination, len(images), width) as receive:
        start = 0
        for part in images.batches(rows, -(-len(rows) // (network.batch or batch_size))):
            receive(start, torch.from_numpy(network.embed(normalise(part))))
            start += len(part)


@dataclass(frozen=True)
class _OnnxNetwork:
    """An opened network: its session, its input's name, and what its input fixes (None: nothing)."""

    source: Path
    session: Any
    name: str
    batch: int | None
    sides: tuple[int, int] | None

    def embed(self, images: Tensor) -> npt.NDArray[np.float32]:
        """Embeddings (B, D) of images (B, 3, H, W); a fixed batch that they do not fill is filled with zeros."""
        n = len(images)
        if self.sides is not None and tuple(images.shape[2:]) != self.sides:
            images = functional.interpolate(images, self.sides, mode="bilinear", antialias=True)
        if self.batch is not None and n < self.batch:
            images = torch.cat([images, images.new_zeros(self.batch - n, *images.shape[1:])])
        try:
            output = self.session.run(None, {self.name: images.contiguous().numpy()})[0]
        except Exception as error:
            what = f"fails on images {tuple(images.shape)} ({first_line(error)})"
            raise DataError(f"{self.source}: {what}") from error
        if len(output) != len(images):
            what = f"returns {output.shape} for {len(images)} images"
            raise DataError(f"{self.source}: {what}; its first output must be one row an image")
        embeddings: npt.NDArray[np.float32] = np.asarray(output[:n], np.float32).reshape(n, -1)
        return embeddings


def _open_network(source: Path) -> _OnnxNetwork:
    import onnxruntime as ort

    ort.set_default_logger_severity(4)  # a failure is reported once, as our own line
    try:
        session = ort.InferenceSession(str(source), providers=ort.get_available_providers())
    except Exception as error:
        raise DataError(f"{source}: not an ONNX network that can be run ({first_line(error)})") from error
    entries = session.get_inputs()
    entry, shape = entries[0], entries[0].shape
    channels_fit = len(shape) == 4 and (shape[1] == 3 or not isinstance(shape[1], int))
    if len(entries) != 1 or not channels_fit or entry.type != "tensor(float)":
        what = f"{len(entries)} input(s), {entry.name} is {entry.type} {shape}"
        raise DataError(f"{source}: {what}; wanted is one input of (batch, 3, H, W) float32")
    sides = (shape[2], shape[3]) if isinstance(shape[2], int) and isinstance(shape[3], int) else None
    batch = shape[0] if isinstance(shape[0], int) else None
    return _OnnxNetwork(source, session, entry.name, batch, sides)
