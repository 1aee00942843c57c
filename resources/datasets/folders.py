"""Where the files of a data set lie, in the layouts in which its archives unpack; none of them is read."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path


def data_folder(folder: Path, top: str, marks: Sequence[str]) -> Path:
    """``folder`` itself, or the archive's own top folder in it if any of the files ``marks`` lies there."""
    inner = folder / top
    if any((inner / mark).exists() for mark in marks) and not any((folder / mark).exists() for mark in marks):
        return inner
    return folder


def first_existing(candidates: Sequence[Path]) -> Path:
    """The first that exists; where none does, the first, for messages and for watching."""
    return next((path for path in candidates if path.exists()), candidates[0])


def shipped_names(file: str) -> tuple[str, ...]:
    """The names in a text file of this package, one a line: tasks must be known without data."""
    return tuple(
        files(__package__ or "resources.datasets").joinpath(file).read_text(encoding="utf-8").split("\n")[:-1]
    )
