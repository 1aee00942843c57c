"""The pixel cache: every image of a study decoded once, to one fixed size, in one memory-mapped array.

How a single image is decoded is decoding.py's matter, how an unfinished cache is kept shards.py's. A cache is
two
files: ``<name>.npy``, (n, size, size, 3) uint8, and ``<name>.json``, which is written last: without it there
is no cache.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from assets.labels.images import Images, Pixels, hash_images, missing_images
from assets.labels.shards import UnfinishedCache, Unreadable, about_path
from resources.errors import DataError, StoreError

__all__ = [
    "PixelCache",
    "Unreadable",
    "build_pixel_cache",
    "hash_images",
    "load_pixel_cache",
    "missing_images",
]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PixelCache:
    """A finished cache.

    Attributes:
        pixels: (n, size, size, 3) uint8, read-only memory map; unreadable rows are black.
        readable: (n,) bool.
        unreadable: The rows that could not be decoded, in row order.
        content_hash: SHA-256 over shape, pixels and unreadable rows; it does not depend on shards or workers.
        path: Of the ``.npy``.
    """

    pixels: Pixels
    readable: npt.NDArray[np.bool_]
    unreadable: tuple[Unreadable, ...]
    content_hash: str
    path: Path

    @property
    def size(self) -> int:
        """Side of the square images, pixels."""
        return int(self.pixels.shape[1])


def build_pixel_cache(
    images: Images,
    size: int,
    destination: Path,
    *,
    shard_rows: int = 1024,
    workers: int | None = None,
    tolerate_unreadable: int = 0,
    progress: Progress | None = None,
    root: Path | None = None,
) -> PixelCache:
    """Decode all images once and publish the cache atomically; a build that was cut short is continued.

    Args:
        images: Paths, or an array (n, h, w) or (n, h, w, 3) uint8.
        size: Side of the square, pixels.
        destination: Path of the ``.npy`` to write.
        shard_rows: Images between two records of progress.
        workers: Threads; all cores if None (Pillow decodes and resizes outside the interpreter lock).
        tolerate_unreadable: How many images may fail; what was decoded is kept for the next try either way.
        progress: Called with (images done, n) after each shard, from the calling thread.
        root: The folder that unreadable images are named from; None names them by their whole path.

    Returns:
        The published cache, memory-mapped.

    Raises:
        DataError: If images are missing, or more than tolerated cannot be decoded (all are listed in
            ``<name>.unreadable.txt``).
    """
    build = UnfinishedCache(images, size, destination, shard_rows, root)
    build.start()
    _decode_shards(build, workers or os.cpu_count() or 1, progress)
    unreadable = build.unreadable()
    _check_tolerated(unreadable, build.n, tolerate_unreadable, destination)
    build.publish(unreadable)
    return load_pixel_cache(destination)


def load_pixel_cache(destination: Path) -> PixelCache:
    """Open a finished cache without reading its pixels.

    Raises:
        StoreError: If there is none, or its two files do not belong together.
    """
    try:
        about = json.loads(about_path(destination).read_text())
        pixels: Pixels = np.load(destination, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise StoreError(f"{destination}: no finished pixel cache; build it first") from None
    except (ValueError, EOFError) as error:
        raise StoreError(
            f"{destination}: damaged pixel cache ({error}); delete it and build it again"
        ) from None
    if list(pixels.shape) != about["shape"] or pixels.dtype != np.uint8:
        raise StoreError(
            f"{destination}: not the array that its .json describes; delete both and build it again"
        )
    unreadable = tuple(Unreadable(*entry) for entry in about["unreadable"])
    readable = np.ones(len(pixels), dtype=bool)
    readable[[entry.row for entry in unreadable]] = False
    return PixelCache(pixels, readable, unreadable, about["content_hash"], destination)


def _check_tolerated(unreadable: Sequence[Unreadable], n: int, tolerated: int, destination: Path) -> None:
    listing = destination.with_suffix(".unreadable.txt")
    if not unreadable:
        listing.unlink(missing_ok=True)
        return
    listing.write_text("".join(f"{entry.name}\t{entry.reason}\n" for entry in unreadable), encoding="utf-8")
    if len(unreadable) > tolerated or len(unreadable) == n:
        shown = "; ".join(f"{entry.name} ({entry.reason})" for entry in unreadable[:3])
        raise DataError(
            f"{len(unreadable)} of {n} images cannot be read ({tolerated} tolerated): {shown}"
            f"{'; …' if len(unreadable) > 3 else ''}; all are listed in {listing}; mend them or tolerate more"
        )


def _decode_shards(build: UnfinishedCache, workers: int, progress: Progress | None) -> None:
    """Decode the shards that no record holds yet, at most two a worker under way."""
    done = build.n - sum(len(shard) for shard in build.todo)
    if progress is not None:
        progress(done, build.n)
    queue: Iterator[range] = iter(build.todo)
    under_way: dict[Future[None], range] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            while True:
                while len(under_way) < 2 * workers and (shard := next(queue, None)) is not None:
                    under_way[pool.submit(build.decode, shard)] = shard
                if not under_way:
                    return
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    done += len(under_way.pop(future))
                    future.result()
                    if progress is not None:
                        progress(done, build.n)
        except BaseException:
            build.stopped = True  # Ctrl-C or a full disk: the threads leave their shards at the next image
            raise
