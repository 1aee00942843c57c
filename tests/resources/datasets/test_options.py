"""Options of the readers: mistakes name the field and the allowed keys; opening reads nothing."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resources.datasets import READERS, open_dataset, reader_options
from resources.errors import StudyError


@pytest.mark.parametrize(
    ("reader", "options", "message"),
    [
        ("digit", {}, "no reader 'digit'; the readers are digits, celeba, awa2, cub, table"),
        ("digits", {"per_clas": 5}, r"options\.per_clas: unknown key; allowed here: .*per_class"),
        ("digits", {"test_fraction": 1.5}, r"options\.test_fraction: .*less than 1"),
        ("celeba", {"seed": 1}, r"options\.seed: unknown key; allowed here: tasks, folder, identity"),
        ("cub", {"certainty_weights": [0, 1]}, r"options\.certainty_weights: "),
        ("digits", {"seed": 2**63}, r"options\.seed: Input should be less than"),
        ("table", {}, r"options\.table: is required \(A \.csv"),
        ("table", {"table": "a.csv", "one_vs_rest": {"c": {"minimum": 3}}}, "one_vs_rest.c.minimum"),
        ("table", {"table": "a.csv", "stratify_by": "a", "group_by": "b"}, "exclude each other"),
        ("table", {"table": "a.csv", "split_column": "s", "group_by": "b"}, "leaves nothing"),
    ],
)
def test_mistakes_name_the_field(reader: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        open_dataset(reader, Path(), options)


def test_tasks_are_known_without_data(tmp_path: Path) -> None:
    counts = {"digits": 29, "celeba": 41, "awa2": 86, "cub": 313}
    for reader, count in counts.items():
        dataset = open_dataset(reader, tmp_path, {})
        assert len(dataset.task_names()) == count
        assert len(dataset.source_only_tasks()) == 1
    table = open_dataset("table", tmp_path, {"table": "x.csv", "tasks": ["a", "b"]})
    assert table.task_names() == ("a", "b")
    assert set(counts) | {"table"} == set(READERS)


def test_every_option_is_an_argument_of_its_reader_and_described(tmp_path: Path) -> None:
    for reader in READERS:
        options = {"table": "x.csv"} if reader == "table" else {}
        open_dataset(reader, tmp_path, options)
        assert all(field.description for field in reader_options(reader).model_fields.values())


def test_opening_imports_neither_scikit_learn_nor_duckdb_nor_torch() -> None:
    program = (
        "import sys; from pathlib import Path; from resources.datasets import open_dataset\n"
        "for r in ('digits', 'celeba', 'awa2', 'cub'): open_dataset(r, Path(), {}).task_names()\n"
        "open_dataset('table', Path(), {'table': 'x.csv', 'tasks': ['a']}).task_names()\n"
        "print([m for m in ('sklearn', 'duckdb', 'torch', 'dagster', 'PIL') if m in sys.modules])"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == "[]"
