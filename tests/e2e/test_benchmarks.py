"""CelebA, AwA2 and CUB by the command line, from their authors' files to the report: small real images as JPEG.

The shipped studies are run for the statistics, and copies of their files with a small recipe for the rest.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from tests.command_line import command_line
from tests.resources.datasets import official_formats

pytestmark = pytest.mark.slow
SHIPPED = Path(__file__).parents[2] / "pipelines" / "studies"
UNREADABLE = {"000005.jpg": b"\xff\xd8\xff\xe0 cut short", "000115.jpg": b"<!DOCTYPE html>"}
"""One image of train and one of test that cannot be decoded."""


class Place:
    """A home and a data folder, and the command line run there."""

    def __init__(self, path: Path) -> None:
        self.home, self.data = path / "home", path / "data"
        (self.home / "studies").mkdir(parents=True)

    def copy(self, study: str, name: str, **changes: Any) -> None:
        """A copy of a shipped study's file with other settings, as a user would make it."""
        content = yaml.safe_load((SHIPPED / f"{study}.yaml").read_text())
        recipe = {"image_size": 16, "epochs": 2, "batch_size": 32}
        content |= {"recipe": recipe, "uncertainty": {"permutations": 20}} | changes
        (self.home / "studies" / f"{name}.yaml").write_text(yaml.safe_dump(content))

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        cli = command_line(self.home, timeout=900, threads=2, TRANSFERABILITY_DATA=str(self.data))
        return cli("run", *arguments)

    def rows(self, study: str, sql: str) -> list[tuple[Any, ...]]:
        path = self.home / "warehouse" / f"{study}.duckdb"
        with duckdb.connect(path, read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def page(self, study: str) -> str:
        return (self.home / "reports" / study / "index.html").read_text()


def write_celeba(folder: Path) -> None:
    """CelebA's files; as in the official ones, no one of test is in train."""
    official_formats.write_celeba(folder)
    part = dict(line.split() for line in (folder / "list_eval_partition.txt").read_text().splitlines())
    people = [line.split() for line in (folder / "identity_CelebA.txt").read_text().splitlines()]
    lines = [f"{name} {int(who) + 100 * (part[name] == '2')}\r\n" for name, who in people]
    (folder / "identity_CelebA.txt").write_bytes("".join(lines).encode())


@pytest.fixture(scope="module")
def celeba(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("celeba"))
    write_celeba(place.data / "celeba")
    for name, content in UNREADABLE.items():
        (place.data / "celeba" / "img_align_celeba" / name).write_bytes(content)
    done = place.run("celeba", "--only", "statistics")
    assert done.returncode == 0, done.stderr
    place.copy(
        "celeba", "faces", sources=["identity", "Male", "Smiling"], tolerate_unreadable_images=2,
        probe={"c_grid": [0.01, 1.0]},
    )  # fmt: skip
    done = place.run("faces")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^report: .*faces/index\.html$", done.stdout, re.MULTILINE)
    return place


def test_an_identity_source_has_no_test_error_of_its_own_and_still_transfers(celeba: Place) -> None:
    ((error, unseen, n_test, reason, head),) = celeba.rows(
        "faces", "SELECT test_error, n_unseen, n_test, undefined_because, head FROM source_models "
        "WHERE task = 'identity'",
    )  # fmt: skip
    assert (error, head) == (None, "cosface")
    assert unseen == n_test == 23  # of 24, one of which cannot be read
    assert "train never showed" in reason
    assert celeba.rows("faces", "SELECT count(test_error) FROM transfer WHERE source = 'identity'") == [(40,)]


def test_rows_without_a_readable_image_are_left_out_of_models_probes_bound_and_estimates(
    celeba: Place,
) -> None:
    assert celeba.rows("faces", "SELECT DISTINCT n_train, n_test FROM transfer") == [(95, 23)]
    assert celeba.rows("faces", "SELECT DISTINCT n_train, n_test FROM source_models") == [(95, 23)]
    assert celeba.rows("faces", "SELECT DISTINCT n FROM conditional_entropy WHERE split = 'train'") == [(96,)]
    for split, n, labels in (("train", 95, 96), ("test", 23, 24), ("all", 118, 120)):
        for table in ("conditional_entropy_readable", "hardness_readable"):
            sql = f"SELECT DISTINCT n, n_labels FROM {table} WHERE split = '{split}'"
            assert celeba.rows("faces", sql) == [(n, labels)]
    # By DuckDB alone: H(Y|Z) of one pair over the readable rows of train.
    names = ", ".join(f"'{name}'" for name in UNREADABLE)
    sql = f"""WITH seen AS (FROM labels WHERE split = 'train' AND image NOT IN ({names})),
        cells AS (SELECT Male AS z, Smiling AS y, count(*) AS n FROM seen GROUP BY ALL)
        SELECT sum(n * ln(sum_z / n)) / sum(n) FROM (SELECT n, sum(n) OVER (PARTITION BY z) AS sum_z FROM cells)"""
    ((by_hand,),) = celeba.rows("faces", sql)
    where = "source = 'Male' AND target = 'Smiling'"
    for table, extra in (("bound", ""), ("conditional_entropy_readable", " AND split = 'train'")):
        ((found, n),) = celeba.rows(
            "faces", f"SELECT conditional_entropy, n FROM {table} WHERE {where}{extra}"
        )
        assert found == pytest.approx(by_hand, abs=1e-12), table
        assert n == 95
    assert celeba.rows("faces", "SELECT sum(n_violations) FROM bound") == [(0,)]


def test_correlations_are_of_the_estimates_on_readable_rows(celeba: Place) -> None:
    sql = """SELECT c.pearson_r, (SELECT corr(conditional_entropy, test_error)
        FROM conditional_entropy_readable e JOIN transfer t USING (source, target)
        WHERE e.split = 'train' AND e.source = c.source AND NOT constant_target)
        FROM transfer_correlation c WHERE split = 'train' AND source = 'identity'"""
    ((r, by_duckdb),) = celeba.rows("faces", sql)
    assert r == pytest.approx(by_duckdb, abs=1e-9)


def test_the_page_shows_both_numbers_of_rows_and_the_published_table(celeba: Place) -> None:
    page = celeba.page("faces")
    assert "2 images could not be read" in page
    assert "over the other 95 for training and 23 for testing" in page
    assert '95<span class="detail">of 96 labelled</span>' in page
    assert "DMTL 2018" in page
    assert "transferred (this study)" in page
    alone = celeba.page("faces-labels")  # made before any image was opened
    assert "could not be read" not in alone


def test_c_is_chosen_from_the_grid(celeba: Place) -> None:
    assert set(celeba.rows("faces", "SELECT DISTINCT c FROM transfer")) <= {(0.01,), (1.0,)}


def trained(place: Place, study: str) -> list[Path]:
    return list((place.home / "store" / study / "source_model").glob("*.safetensors"))


def test_missing_and_unreadable_images_stop_the_run_before_any_training(celeba: Place) -> None:
    celeba.copy("celeba", "strict", sources=["Male"])
    done = celeba.run("strict")
    assert done.returncode != 0
    assert "2 of 120 images cannot be read (0 tolerated)" in done.stderr
    listed = celeba.home / "store" / "strict" / "pixels" / "_.unreadable.txt"
    assert [line.split("\t")[0] for line in listed.read_text().splitlines()] == list(UNREADABLE)
    assert trained(celeba, "strict") == []
    folder = celeba.data / "celeba" / "img_align_celeba"
    moved = (folder / "000007.jpg").rename(celeba.data / "elsewhere.jpg")
    try:
        done = celeba.run("strict")
    finally:
        moved.rename(folder / "000007.jpg")
    assert done.returncode != 0
    assert f"1 of 120 images are not in {folder} (first: 000007.jpg)" in done.stderr
    assert trained(celeba, "strict") == []


@pytest.mark.parametrize(
    ("study", "folder", "source", "n_tasks"),
    [("awa2", "awa2", "black", 86), ("cub", "cub/CUB_200_2011", "has_eye_color::black", 313)],
)
def test_awa2_and_cub_run_from_their_files_to_the_report(
    study: str, folder: str, source: str, n_tasks: int, tmp_path: Path
) -> None:
    place = Place(tmp_path)
    write: Callable[[Path], None] = getattr(official_formats, f"write_{study}")
    write(place.data / folder)
    done = place.run(study, "--only", "statistics")
    assert done.returncode == 0, done.stderr
    place.copy(study, "small", sources=["class", source])
    done = place.run("small")
    assert done.returncode == 0, done.stderr
    assert place.rows("small", "SELECT count(*) FROM tasks") == [(n_tasks,)]
    n_pairs = 2 * (n_tasks - 1) - 1
    assert place.rows("small", "SELECT count(*), count(test_error) FROM transfer") == [(n_pairs, n_pairs)]
    assert place.rows("small", "SELECT sum(n_violations), min(slack) >= -1e-9 FROM bound") == [(0, True)]
    ((error,),) = place.rows("small", "SELECT test_error FROM source_models WHERE task = 'class'")
    assert 0 <= error <= 1
    page = place.page("small")
    assert f"{n_tasks} tasks" in page
    assert "could not be read" not in page
    assert len(page.encode()) < (5_000_000 if n_tasks < 100 else 8_000_000)


def test_the_real_labels_of_awa2_run_without_images(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    place = Place(tmp_path)
    place.data.mkdir()
    (place.data / "awa2").symlink_to(shared_data("awa2"))
    done = place.run("awa2", "--only", "statistics")
    assert done.returncode == 0, done.stderr
    ((hardness, n),) = place.rows(
        "awa2", "SELECT hardness, n FROM hardness WHERE split = 'all' AND task = 'class'"
    )
    assert hardness == pytest.approx(3.785217, abs=5e-7)
    assert n == 37_322
    sql = "SELECT count(*), max(conditional_entropy) FROM conditional_entropy WHERE {} AND split = 'all'"
    assert place.rows("awa2", sql.format("source = 'class'")) == [(85, 0.0)]
    swims = "(source, target) IN (('swims', 'water'), ('water', 'swims'))"
    assert place.rows("awa2", sql.format(swims)) == [(2, 0.0)]
    done = place.run("awa2", "--only", "models", "--sources", "swims")
    assert done.returncode != 0
    assert "JPEGImages" in done.stderr  # what needs images says where it looked
