"""`transferability estimate` as a user runs it: every option, in a process of its own."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from assets.statistics import label_statistics
from tests.command_line import Cli, command_line
from tests.pipelines.test_cli import one_line_error


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return command_line(tmp_path / "home")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Four tasks over 120 rows with a split; `tag` is nearly unique, `late` is constant in train."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 120)
    path = tmp_path / "labels.csv"
    pl.DataFrame({
        "image": [f"{i}.png" for i in range(120)], "y": y, "close": np.where(rng.random(120) < 0.1, 1 - y, y),
        "colour": rng.choice(["red", "green", "blue"], 120), "tag": [f"t{i % 70}" for i in range(120)],
        "late": [0] * 100 + [1] * 20, "set": ["train"] * 100 + ["test"] * 20,
    }).write_csv(path)  # fmt: skip
    return path


def listed(out: str, heading: str) -> list[str]:
    """The pairs under a heading, in order."""
    part = out.split(heading, 1)[1].split("\n\n", 1)[0].split("\n", 1)[1]
    return re.findall(r"\S+ → \S+", part)


def test_one_usable_task_has_a_hardness_and_no_pairs(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("a,id\n" + "".join(f"{i % 2},{i}\n" for i in range(40)))
    for options in ([], ["--by-target"], ["--tasks", "a"]):
        done = cli("estimate", path, *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert "0.6931       2        40  a" in done.stdout
        assert "no pairs: a pair needs two columns of labels" in done.stdout


def test_both_ends_are_listed_however_few_the_pairs(cli: Cli, table: Path) -> None:
    done = cli("estimate", table, "--tasks", "y,close,colour", "--split", "all")
    assert done.returncode == 0, done.stderr
    most, least = (listed(done.stdout, f"{end} transferable pairs") for end in ("most", "least"))
    assert set(most[:2]) == {"close → y", "y → close"}
    assert len(least) == 2
    assert not set(most) & set(least)
    frame = label_statistics(pl.read_csv(table), tasks=["y", "close", "colour"]).conditional_entropy
    fair = frame.filter(pl.col("n_source_values") <= pl.col("n_target_values")).sort("corrected_normalised")
    order = [f"{s} → {t}" for s, t in fair.select("source", "target").rows()]
    assert most + least[::-1] == order


def test_a_nearly_unique_column_is_a_source_only_and_apart(cli: Cli, table: Path) -> None:
    done = cli("estimate", table)
    assert "sources only, since they are nearly unique: tag" in done.stdout
    assert "→ tag" not in done.stdout
    by_target = cli("estimate", table, "--by-target").stdout
    of_y = by_target.split("\ny\n", 1)[1].split("\n\n", 1)[0]
    assert listed(of_y, "from nearly unique sources") == ["tag → y"]
    assert "→ tag" not in by_target


def test_by_target_has_a_heading_a_target_and_both_orders(cli: Cli, table: Path) -> None:
    done = cli("estimate", table, "--by-target", "--split-column", "set", "--split", "all")
    assert done.returncode == 0, done.stderr
    headings = re.findall(r"^(\w+)$", done.stdout.split("best sources of every target", 1)[1], re.MULTILINE)
    assert set(headings) == {"y", "close", "colour", "late"}
    of_colour = done.stdout.split("\ncolour\n", 1)[1].split("\n\n", 1)[0]
    rows = re.findall(r"(-[\d.]+) \(rank (\d)\)  (\w+) → colour", of_colour.split("nearly unique")[0])
    frame = label_statistics(pl.read_csv(table), tasks=["y", "close", "colour"]).conditional_entropy
    joint = dict(frame.filter(target="colour").select("source", "joint_entropy").iter_rows())
    assert {name for _, _, name in rows} == {"y", "close"}, "`late` is constant in train"
    for bound, rank, name in rows:
        assert float(bound) == pytest.approx(-joint[name], abs=1e-4)
        assert int(rank) == 1 + sum(-value > -joint[name] + 1e-12 for value in joint.values())


def test_a_split_is_found_chosen_and_refused(cli: Cli, table: Path) -> None:
    found = cli("estimate", table)
    assert "split train" in found.stdout
    assert re.search(r"0\.0000 +1 +100 +late", found.stdout), "constant in train"
    assert "late → " not in found.stdout
    chosen = cli("estimate", table, "--split-column", "set", "--split", "test")
    assert chosen.returncode == 0, chosen.stderr
    assert "split test" in chosen.stdout
    one_line_error(cli("estimate", table, "--split", "val"), "no split 'val'; there are train, test, all")
    one_line_error(
        cli("estimate", table, "--split-column", "sett"), "no column 'sett'; the columns are image, y"
    )


def test_out_writes_every_pair_of_the_chosen_tasks(cli: Cli, table: Path, tmp_path: Path) -> None:
    done = cli("estimate", table, "--tasks", "y,tag,colour", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    names = ("conditional_entropy", "hardness", "joint_counts")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{name}.parquet" for name in names}
    expected = label_statistics(pl.read_csv(table), tasks=["y", "tag", "colour"], split_column="set")
    for name in names:
        assert pl.read_parquet(tmp_path / "out" / f"{name}.parquet").equals(getattr(expected, name)), name
    one_line_error(cli("estimate", table, "--tasks", "y,hue"), "no column 'hue'")


def test_near_unique_is_a_property_of_the_column(cli: Cli, shared_data: Callable[[str], Path]) -> None:
    """On the few rows that have a gender, `emoji` has two rows a value, and is nearly unique all the same."""
    done = cli("estimate", shared_data("twemoji") / "labels.csv", "--by-target")
    of_gender = done.stdout.split("\ngender\n", 1)[1].split("\n\n", 1)[0]
    assert listed(of_gender, "from nearly unique sources") == ["emoji → gender"]
    frame = label_statistics(pl.read_csv(shared_data("twemoji") / "labels.csv")).conditional_entropy
    assert frame.filter(source="emoji")["near_unique_source"].all()
    assert not frame.filter(source="category")["near_unique_source"].any()
