"""Small data sets in the official formats, written once a session."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.resources.datasets import official_formats


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with ``celeba``, ``awa2`` and ``cub``, label files only; not to be changed."""
    root = tmp_path_factory.mktemp("pristine")
    official_formats.write_celeba(root / "celeba", images=False)
    official_formats.write_awa2(root / "awa2", images=False)
    official_formats.write_cub(root / "cub" / "CUB_200_2011", images=False)
    return root


@pytest.fixture
def data(pristine: Path, tmp_path: Path) -> Path:
    """A copy of that folder for a test to damage."""
    return Path(shutil.copytree(pristine, tmp_path / "data"))


@pytest.fixture
def edit() -> Callable[..., None]:
    """Replace a line (counted from 1) of a file, or with None remove it."""

    def replace(path: Path, line: int, text: str | None) -> None:
        lines = path.read_bytes().decode().split("\n")
        lines[line - 1 : line] = [] if text is None else [text]
        path.write_bytes("\n".join(lines).encode())

    return replace
