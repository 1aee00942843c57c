"""The identity of each task's labels, for deciding what is out of date. Nothing is stored here."""

import hashlib

import numpy as np
import polars as pl

from resources.datasets.base import UNKNOWN, LabelTable


def label_versions(table: LabelTable) -> dict[str, str]:
    """The SHA-256 of every task's column together with image keys, split and the values' names.

    A changed label moves its own task's version only; a changed split, image set or row order moves them all, and so
    does the data set's own partition, where it has one: it says which train rows validate.
    The hashes are over plain little-endian bytes, so they do not depend on the version of Polars or NumPy.

    Args:
        table: The label table, n rows.

    Returns:
        A hexadecimal digest by task.
    """
    rows = _hash_rows(table.frame)
    versions = {}
    for task in table.tasks:
        digest = hashlib.sha256(rows)
        digest.update(_texts(list(task.value_names)))
        codes = table.frame[task.name].cast(pl.Int32).fill_null(UNKNOWN).to_numpy()
        digest.update(np.ascontiguousarray(codes, dtype="<i4").tobytes())
        versions[task.name] = digest.hexdigest()
    return versions


def _hash_rows(frame: pl.DataFrame) -> bytes:
    """The digest of what concerns every task: number of rows, image keys in order, split, partition."""
    digest = hashlib.sha256(len(frame).to_bytes(8, "little"))
    digest.update(_texts(frame["image"].to_list()))
    digest.update((frame["split"] == "test").to_numpy().astype(np.uint8).tobytes())
    if "partition" in frame.columns:
        digest.update(np.ascontiguousarray(frame["partition"].fill_null(UNKNOWN).to_numpy(), "<i4").tobytes())
    return digest.digest()


def _texts(texts: list[str | None]) -> bytes:
    """An unambiguous encoding: null is the byte 0, a text is the byte 1, its UTF-8 and a terminating 0.

    A terminator is enough because no path and no label that came from a text file holds a NUL.
    """
    return len(texts).to_bytes(8, "little") + b"".join(
        b"\0" if text is None else b"\1" + text.encode() + b"\0" for text in texts
    )
