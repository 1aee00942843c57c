"""Safetensors files, written in a stream and read as memory maps; what is in them is decided elsewhere.

The library's own writer wants every tensor in memory at once and copies each; an embedding of 200,000 images
and a checkpoint after every epoch are written here block by block.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from resources.errors import StoreError

_TYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32,
    "I16": np.int16, "I8": np.int8, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
_NAMES = {np.dtype(numpy_type): name for name, numpy_type in _TYPES.items()}
_MAX_HEADER = 100_000_000  # bytes; the format's own limit


@dataclass(frozen=True)
class TensorFile:
    """An opened file: its tensors as read-only memory maps and its metadata."""

    tensors: Mapping[str, npt.NDArray[Any]]
    metadata: Mapping[str, str]


def write_tensors(
    path: Path, tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays in one pass; the same content gives the same bytes.

    Raises:
        StoreError: The disk is full or the folder cannot be written; no file is left.
    """
    shapes = {name: (array.dtype, array.shape) for name, array in tensors.items()}
    with new_file(path, shapes, metadata) as stream:
        for array in tensors.values():
            stream.write(as_bytes(array))


def as_bytes(array: npt.NDArray[Any]) -> memoryview:
    """The bytes of an array in C order, without a copy where it is in that order."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


@contextlib.contextmanager
def new_file(
    path: Path,
    shapes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
    metadata: Mapping[str, str] | None = None,
) -> Iterator[BinaryIO]:
    """A stream to which the tensors' bytes are then written, in the order of `shapes`.

    The space is reserved first, so that a full disk is found before anything is computed.

    Raises:
        StoreError: The disk is full, or the folder cannot be written; no file is left.
    """
    header, size = _header(shapes, metadata or {})
    try:
        with path.open("wb", buffering=0) as stream:
            if hasattr(os, "posix_fallocate") and size:
                os.posix_fallocate(stream.fileno(), 0, len(header) + size)
            stream.write(header)
            yield stream
            if stream.tell() != len(header) + size:
                raise StoreError(f"{path.name}: {stream.tell()} bytes written of {len(header) + size}")
    except OSError as error:
        path.unlink(missing_ok=True)
        why = f"cannot write {(len(header) + size) / 1e6:.0f} MB ({error.strerror or error})"
        raise StoreError(f"{path.name}: {why}; free space or mend the folder's permissions") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _header(
    shapes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], metadata: Mapping[str, str]
) -> tuple[bytes, int]:
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name, (dtype, shape) in shapes.items():
        end = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        entries[name] = {"dtype": _NAMES[np.dtype(dtype)], "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format asks for tensors at multiples of 8
    return len(text).to_bytes(8, "little") + text, start


def open_tensors(path: Path) -> TensorFile:
    """Map the tensors of a safetensors file; nothing is read before it is used.

    Those of type BF16, which NumPy lacks, are read at once and become float32, which holds each of their values.

    Raises:
        StoreError: The file is missing, truncated, or not a safetensors file.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or not 2 <= length <= min(_MAX_HEADER, size - 8):
                raise StoreError(f"{path}: not a whole safetensors file; make it again")
            entries = json.loads(stream.read(length))
        metadata = entries.pop("__metadata__", {})
        tensors = {name: _map(path, entry, 8 + length, size) for name, entry in entries.items()}
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: not a safetensors file that can be used ({error})") from error
    return TensorFile(tensors, metadata)


def _map(path: Path, entry: Mapping[str, Any], origin: int, size: int) -> npt.NDArray[Any]:
    if entry["dtype"] == "BF16":
        bits = _map(path, {**entry, "dtype": "U16"}, origin, size).astype(np.uint32)
        bits <<= 16  # a bfloat16 is the upper half of a float32
        return bits.view(np.float32)
    if entry["dtype"] not in _TYPES:
        raise ValueError(f"tensors of type {entry['dtype']} are not read here")
    dtype, shape = np.dtype(_TYPES[entry["dtype"]]), tuple(int(side) for side in entry["shape"])
    start, end = entry["data_offsets"]
    count = int(np.prod(shape, dtype=np.int64))
    if start < 0 or end - start != count * dtype.itemsize or origin + end > size:
        raise StoreError(f"{path}: truncated or damaged; make it again")
    if count == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=origin + start, shape=shape)
