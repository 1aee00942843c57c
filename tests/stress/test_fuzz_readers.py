"""The kept fuzzing script on a few cases of every reader, those that once crashed among them."""

from pathlib import Path

import pytest

from tests.stress.fuzz_readers import READERS, generator_of, prepare, run_case

ONCE_CRASHED = [
    ("parquet", 11, 7019),
    ("parquet", 11, 8914),
    ("parquet", 0, 1),
    ("table", 0, 133),
    ("table", 12, 5409),
    ("cub", 0, 33),
]


@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_are_read_or_refused_in_one_line(reader: str, tmp_path: Path) -> None:
    (tmp_path / "pristine").mkdir()
    prepare(reader, tmp_path / "pristine")
    cases = [(5, case) for case in range(8)] + [
        (seed, case) for name, seed, case in ONCE_CRASHED if name == reader
    ]
    outcomes = []
    for seed, case in cases:
        folder = tmp_path / f"{seed}-{case}"
        folder.mkdir()
        outcomes.append(run_case(reader, tmp_path / "pristine", folder, generator_of(seed, reader, case)))
    assert set(outcomes) <= {"read", "refused"}
    assert "refused" in outcomes
