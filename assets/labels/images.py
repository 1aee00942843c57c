"""A study's images before any is decoded: which are missing, and the identity of the set. No pixels here."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Images = Sequence[Path] | Pixels
"""Image files, or an array (n, height, width) or (n, height, width, 3)."""


def missing_images(images: Sequence[Path]) -> list[Path]:
    """The images that do not exist, in order; each folder is listed once, no file is opened."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in images:
        folder, name = os.path.split(path)
        by_folder[folder].append(name)
    absent: set[tuple[str, str]] = set()
    for folder, names in by_folder.items():
        present: set[str] = set()
        with suppress(FileNotFoundError, NotADirectoryError):
            present = set(os.listdir(folder or "."))  # noqa: PTH208 - names are all that is wanted
        absent.update((folder, name) for name in names if name not in present)
    return [path for path in images if os.path.split(path) in absent]


def hash_images(images: Images, root: Path | None = None) -> str:
    """The identity of an image set, for telling whether a cache is out of date.

    For files: SHA-256 over each one's name (relative to ``root`` if given), size in bytes and time of
    modification, in order; contents are not read, so a file that is replaced within the clock's resolution by
    one of the same size goes unnoticed. For an array: over its shape and bytes. A missing file counts as size
    −1.
    """
    if isinstance(images, np.ndarray):
        digest = hashlib.sha256(str((images.shape, images.dtype.str)).encode())
        digest.update(np.ascontiguousarray(images).tobytes())
        return digest.hexdigest()
    digest = hashlib.sha256()
    for path in images:
        name = path.relative_to(root) if root is not None else path
        try:
            stat = path.stat()
            digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
        except FileNotFoundError:
            digest.update(f"{name}\0-1\0".encode())
    return digest.hexdigest()
