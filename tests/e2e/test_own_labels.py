"""The README's walk-through of one's own labels, on the real emoji table where it is present; in a reduced form."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.command_line import command_line

SOURCES = ["emoji", "category=Symbols", "subcategory=person-role"]


@pytest.mark.slow
def test_the_walk_through_ends_with_a_report(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    table = shared_data("twemoji") / "labels.csv"
    home = tmp_path / "home"

    def cli(*arguments: str) -> str:
        done = command_line(home, timeout=900, threads=2)(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(home / "warehouse" / "emoji.duckdb", read_only=True) as connection:
            return connection.execute(sql).fetchall()

    assert "emoji" in cli("estimate", str(table))
    expand = ("--expand", "category,subcategory,skin_tone,gender", "--min-count", "100")
    assert "26 tasks, 26 sources, 25 targets" in cli("new-study", "emoji", str(table), *expand)
    # The reduced form: three sources, one epoch, small images.
    path = home / "studies" / "emoji.yaml"
    text = re.sub(r"image_size: \d+", "image_size: 16", path.read_text())
    text = re.sub(r"epochs: \d+", "epochs: 1", text)
    path.write_text(f"{text}sources: {SOURCES}\nuncertainty: {{permutations: 20}}\n")

    page = re.search(r"^report: (.+)$", cli("run", "emoji"), re.MULTILINE)
    assert page is not None
    assert "emoji" in Path(page.group(1)).read_text()
    ((error, unseen, reason, n_classes),) = rows(
        "SELECT test_error, n_unseen, undefined_because, n_classes FROM source_models WHERE task = 'emoji'"
    )
    assert error is None
    assert unseen > 100  # nearly a name for each image: most of test's values were never shown
    assert f"{unseen} of" in reason
    assert n_classes > 1000
    assert rows("SELECT count(*), count(test_error) FROM transfer") == [(73, 73)]
    assert rows("SELECT count(*) FROM hardness_correlation WHERE n_tasks > 2") == [(0,)]
    defined = dict(
        rows("SELECT source, pearson_r IS NOT NULL FROM transfer_correlation WHERE split = 'train'")
    )
    assert defined == dict.fromkeys(SOURCES, True)
    assert rows("SELECT sum(n_violations) FROM bound") == [(0,)]
