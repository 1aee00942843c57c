"""A pixel cache under construction, kept so that a killed build goes on where it was.

It is a preallocated array and one record a finished shard; threads and the finished cache are pixels.py's
matter.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from assets.labels.decoding import DECODER_VERSION, decode_image, resize_array
from assets.labels.images import Images, Pixels, hash_images, missing_images
from resources.errors import DataError


class Unreadable(NamedTuple):
    """An image that could not be decoded: its row, its name, and why."""

    row: int
    name: str
    reason: str


class UnfinishedCache:
    """The pixels in ``<name>.npy.partial`` and the records in ``<name>.npy.shards/``.

    A record holds the identity of its images and the SHA-256 of each of its rows. It is believed only when
    both still agree with the disk, so a record that outlived its pixels in a crash does no harm.

    Args:
        images: Paths, or an array of images.
        size: Side of the square, pixels.
        destination: Path of the finished ``.npy``.
        shard_rows: Rows a shard.
        root: The folder that images are named from in records and lists; None names them by their whole path.
    """

    def __init__(
        self, images: Images, size: int, destination: Path, shard_rows: int, root: Path | None = None
    ) -> None:
        self.images = images
        self.root = root
        self.n = len(images)
        self.size = size
        self.destination = destination
        self.todo: list[range] = []
        self.stopped = False
        self._partial = destination.with_name(destination.name + ".partial")
        self._records = destination.with_name(destination.name + ".shards")
        self._shards = [
            range(start, min(start + shard_rows, self.n)) for start in range(0, self.n, shard_rows)
        ]
        self._finished: dict[int, dict[str, Any]] = {}

    def start(self) -> None:
        """Check that every file is there, then take over what an earlier build has finished.

        Raises:
            DataError: If there are no images, or some are missing.
        """
        if self.n == 0:
            raise DataError("no images to decode")
        if not isinstance(self.images, np.ndarray):
            _check_present(self.images)
        self._records.mkdir(parents=True, exist_ok=True)
        self._pixels = self._open_partial()
        for shard in self._shards:
            record = self._usable_record(shard)
            if record is None:
                self.todo.append(shard)
            else:
                self._finished[shard.start] = record

    def decode(self, shard: range) -> None:
        """Decode one shard into its rows, then write its record; called from worker threads."""
        unreadable: list[Unreadable] = []
        for row in shard:
            if self.stopped:
                return
            try:
                self._pixels[row] = self._decode_row(row)
            except DataError as error:
                self._pixels[row] = 0
                unreadable.append(Unreadable(row, self._name(row), str(error)))
        record = {
            "identity": self._identity(shard),
            "digests": _row_digests(self._pixels[shard.start : shard.stop]),
            "unreadable": unreadable,
        }
        _write_json(self._record_path(shard), record)
        self._finished[shard.start] = record

    def unreadable(self) -> tuple[Unreadable, ...]:
        """All unreadable images, in row order."""
        records = (self._finished[shard.start] for shard in self._shards)
        return tuple(Unreadable(*entry) for record in records for entry in record["unreadable"])

    def publish(self, unreadable: Sequence[Unreadable]) -> None:
        """Give the finished pixels their name; the ``.json`` vanishes first and comes back last."""
        about = {
            "shape": list(self._pixels.shape),
            "content_hash": self._content_hash(unreadable),
            "decoder": DECODER_VERSION,
            "unreadable": unreadable,
        }
        self._pixels.flush()
        del self._pixels
        about_path(self.destination).unlink(missing_ok=True)
        self._partial.replace(self.destination)
        _write_json(about_path(self.destination), about)
        for record in self._records.iterdir():
            record.unlink()
        self._records.rmdir()

    def _content_hash(self, unreadable: Sequence[Unreadable]) -> str:
        digest = hashlib.sha256(str(self._pixels.shape).encode())
        for shard in self._shards:
            digest.update(bytes.fromhex(self._finished[shard.start]["digests"]))
        digest.update(str([entry.row for entry in unreadable]).encode())
        return digest.hexdigest()

    def _decode_row(self, row: int) -> Pixels:
        image = self.images[row]
        return decode_image(image, self.size) if isinstance(image, Path) else resize_array(image, self.size)

    def _name(self, row: int) -> str:
        image = self.images[row]
        if isinstance(image, Path) and self.root is not None and image.is_relative_to(self.root):
            return image.relative_to(self.root).as_posix()
        return str(image)

    def _open_partial(self) -> "np.memmap[Any, np.dtype[np.uint8]]":
        shape = (self.n, self.size, self.size, 3)
        if self._partial.exists():
            with suppress(ValueError, EOFError):
                kept = np.lib.format.open_memmap(self._partial, mode="r+")
                if kept.shape == shape and kept.dtype == np.uint8:
                    return kept
            self._partial.unlink()
        return np.lib.format.open_memmap(self._partial, mode="w+", dtype=np.uint8, shape=shape)

    def _usable_record(self, shard: range) -> dict[str, Any] | None:
        """The record of a shard, if it is of these images and its pixels are really in the file."""
        try:
            record: dict[str, Any] = json.loads(self._record_path(shard).read_text())
        except (FileNotFoundError, ValueError):
            return None
        same = record["identity"] == self._identity(shard)
        kept = same and record["digests"] == _row_digests(self._pixels[shard.start : shard.stop])
        return record if kept else None

    def _identity(self, shard: range) -> str:
        return f"{DECODER_VERSION} {self.size} {hash_images(self.images[shard.start : shard.stop])}"

    def _record_path(self, shard: range) -> Path:
        return self._records / f"{shard.start:09d}-{shard.stop:09d}.json"


def about_path(destination: Path) -> Path:
    """The ``.json`` beside a cache."""
    return destination.with_suffix(".json")


def _check_present(images: Sequence[Path]) -> None:
    missing = missing_images(images)
    folder = Path(os.path.commonpath([path.parent for path in images]))
    if missing and not folder.is_dir():
        raise DataError(f"{folder}: no such folder, but {len(images)} images are looked for in it")
    if missing:
        shown = ", ".join(str(path) for path in missing[:3]) + (", …" if len(missing) > 3 else "")
        raise DataError(
            f"{len(missing)} of {len(images)} images are missing: {shown}; check the image folder"
        )


def _row_digests(rows: Pixels) -> str:
    """SHA-256 of every row, one after the other, in hexadecimal."""
    return b"".join(hashlib.sha256(np.ascontiguousarray(row).tobytes()).digest() for row in rows).hex()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
