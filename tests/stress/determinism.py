"""Runs one study twice with the same number of threads, and once with another, and compares.

`python -m tests.stress.determinism` prints the greatest differences. With the same number of threads there is none, to the
bit. With another number sums are taken in another order: what follows from labels alone is still the same to the bit, and
what follows from given networks (embeddings, probes, the bound) stays within the tolerances below. Training itself is left
out there: rounding grows from step to step, and the networks of two thread counts are as different as those of two seeds.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import duckdb
import numpy as np
from safetensors.numpy import load_file

from tests.stress.together import Rows, finish, new_home, rows, start

LABEL_TABLES = {
    "labels", "tasks", "label_counts", "joint_counts", "conditional_entropy", "hardness", "label_uncertainty",
}  # fmt: skip
TOLERANCES = {
    "transfer": {"objective": 1e-3, "train_error": 0.0, "test_error": 0.06, "probe_log_likelihood": 1e-3},
    "bound": {"source_log_likelihood": 1e-4, "slack": 1e-4},
}
"""Absolute; objectives are of the order of 1, and one of the 18 test images is 0.056 of an error."""
EMBEDDING_TOLERANCE = 1e-4
"""Of the greatest value of an embedding."""


def run(root: Path, name: str, threads: int) -> Path:
    """A home folder with the study run to its end."""
    home = new_home(root, name)
    finish(start(home, "pipelines.cli", "run", "small", threads=threads))
    return home


def different(one: Rows, other: Rows) -> list[str]:
    """Names of the tables whose rows are not the same."""
    return [table for table in sorted({*one, *other}) if one.get(table) != other.get(table)]


def greatest_difference(one: Path, other: Path, table: str, column: str) -> float:
    """Between the numbers of a column, row by row of the same key; infinite where only one of them is NULL."""
    pairs = zip(_column(one, table, column), _column(other, table, column), strict=True)
    return max(0.0 if a == b else float("inf") if a is None or b is None else abs(a - b) for a, b in pairs)


def _column(home: Path, table: str, column: str) -> list[float | None]:
    with duckdb.connect(home / "warehouse" / "small.duckdb", read_only=True) as connection:
        found = connection.execute(f"SELECT {column} FROM {table} ORDER BY source, target").fetchall()
    return [value for (value,) in found]


def embeddings_differ(one: Path, other: Path) -> float:
    """The greatest difference between two homes' embeddings, as a share of the greatest value."""
    found = 0.0
    for path in sorted((one / "store" / "small" / "embedding").glob("*.safetensors")):
        a = load_file(path)["embedding"]
        b = load_file(other / "store" / "small" / "embedding" / path.name)["embedding"]
        found = max(found, float(np.abs(a - b).max() / np.abs(a).max()))
    return found


def compare(root: Path) -> list[str]:
    """What was lost: tables that differ where they must not, numbers beyond their tolerance."""
    first, again = run(root, "first", 2), run(root, "again", 2)
    lost = [
        f"{table} differs between two runs with 2 threads" for table in different(rows(first), rows(again))
    ]
    from_nothing = new_home(root, "labels")
    finish(start(from_nothing, "pipelines.cli", "run", "small", "--only", "statistics", threads=1))
    of_labels = rows(from_nothing)
    lost += [
        f"{table} depends on the number of threads"
        for table in LABEL_TABLES
        if of_labels[table] != rows(first)[table]
    ]
    other = root / "other"
    shutil.copytree(first, other)
    for stage in ("embedding", "transfer", "bound"):
        shutil.rmtree(other / "store" / "small" / stage)
    finish(start(other, "pipelines.cli", "run", "small", threads=1))
    found = embeddings_differ(first, other)
    print(f"embeddings: differ by {found:.2g} of the greatest value (tolerance {EMBEDDING_TOLERANCE})")
    lost += [f"embeddings differ by {found}"] if found > EMBEDDING_TOLERANCE else []
    for table, columns in TOLERANCES.items():
        for column, tolerance in columns.items():
            found = greatest_difference(first, other, table, column)
            print(f"{table}.{column}: differs by {found:.2g} at most (tolerance {tolerance})")
            lost += [f"{table}.{column} differs by {found}"] if found > tolerance else []
    return lost


def main() -> int:
    """The command line of this script."""
    with tempfile.TemporaryDirectory() as name:
        lost = compare(Path(name))
    print("\n".join(lost) or "3 runs and one of the labels alone, nothing lost")
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
