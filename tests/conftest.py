"""Fixtures that every part of the suite shares: the optional folder of real data that is never committed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A function from a data set's name to its folder; it skips the test, with the reason, where that is absent."""
    default = Path(__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("TRANSFERABILITY_TEST_DATA", default))

    def find(name: str) -> Path:
        folder = root / name
        if not folder.exists():
            pytest.skip(f"real data '{name}' is not here; set TRANSFERABILITY_TEST_DATA to a folder that holds it")
        return folder

    return find
