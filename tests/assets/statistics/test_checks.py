"""Every check of the label statistics passes on sound tables and fails on each kind of damage, from real runs."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets.chain import CHECKS
from assets.checks import TableReader
from assets.statistics import checks
from assets.study import Study, open_study
from pipelines.definitions import study_definitions
from pipelines.reconcile import Request, reconcile
from resources.home import Home

Tables = dict[str, pl.DataFrame]
TABLES = ("labels", "tasks", "label_values", "label_counts", "joint_counts", "conditional_entropy")


def made(study: Study, folder: Path) -> Tables:
    """The study's tables as a run leaves them; the run itself passes all checks."""
    home = Home(path=str(folder), mlflow_uri="http://127.0.0.1:9")
    definitions = dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))
    outcome = reconcile(study, home, definitions, dg.DagsterInstance.ephemeral(), Request(only="statistics"))
    assert not outcome.failed
    read = TableReader(study, home)
    assert {check.name for check in CHECKS if check.stage.command == "statistics"} >= {"counts_sum_to_n"}
    return {name: read(name) for name in TABLES}


@pytest.fixture(scope="module")
def subset(
    shared_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Study, Tables]:
    """The real AwA2 labels without the first class, so that code 0 of `class` never occurs."""
    folder = tmp_path_factory.mktemp("subset")
    (folder / "awa2").mkdir()
    real = shared_data("awa2")
    for name in ("classes.txt", "predicates.txt", "predicate-matrix-binary.txt"):
        (folder / "awa2" / name).write_bytes((real / name).read_bytes())
    lists = ("AwA2-filenames.txt", "AwA2-labels.txt")
    rows = zip(*((real / name).read_text().split() for name in lists), strict=True)
    kept = [row for row in rows if row[1] != "1"][::20]
    for name, column in zip(lists, zip(*kept, strict=True), strict=True):
        (folder / "awa2" / name).write_text("\n".join(column) + "\n")
    tasks = ["furry", "big", "swims", "class"]
    content = {
        "dataset": {"reader": "awa2", "options": {"tasks": tasks}},
        "uncertainty": {"permutations": 20},
    }
    study = open_study("awa2_subset", content, folder)
    return study, made(study, folder / "home")


def test_codes_mean_the_same_in_every_table_of_a_subset(subset: tuple[Study, Tables]) -> None:
    _, tables = subset
    names = tables["label_values"].filter(pl.col("task") == "class")
    assert names["name"][0] == "antelope"
    counts = tables["label_counts"].filter(pl.col("task") == "class", pl.col("split") == "all")
    by_label = tables["labels"].group_by(pl.col("class").alias("value")).len("n").sort("value")
    assert counts.select("value", "n").rows() == by_label.rows()
    assert 0 not in counts["value"]
    cells = tables["joint_counts"].filter(source="class", target="furry", split="all")
    both = tables["labels"].group_by("class", "furry").len("n").sort("class", "furry")
    assert cells.select("source_value", "target_value", "n").rows() == both.rows()
    mirrored = tables["joint_counts"].filter(source="furry", split="all")
    assert set(mirrored["target"]) == {"big", "swims"}, "`class` is a source only"


def moved(table: str, **where: object) -> Callable[[Tables], Tables]:
    """One row of the first cell given to the next one: the sums stay, the values do not."""

    def damage(tables: Tables) -> Tables:
        frame = tables[table].with_row_index("at")
        first, second = frame.filter(**where).sort("n", descending=True)["at"][:2]
        shift = pl.when(pl.col("at") == first).then(-1).when(pl.col("at") == second).then(1).otherwise(0)
        return tables | {table: frame.with_columns(pl.col("n") + shift).drop("at")}

    return damage


def altered(table: str, expression: pl.Expr) -> Callable[[Tables], Tables]:
    return lambda tables: tables | {table: tables[table].with_columns(expression)}


def without_rows(table: str, **where: object) -> Callable[[Tables], Tables]:
    keep = ~pl.all_horizontal(pl.col(name) == value for name, value in where.items())
    return lambda tables: tables | {table: tables[table].filter(keep)}


CLASS = pl.col("task") == "class"
DAMAGE = {
    "codes shifted by one": (
        checks.label_counts_of_values,
        altered("label_counts", pl.when(CLASS).then(pl.col("value") - 1).otherwise("value").alias("value")),
        "class, split all",
    ),
    "a row counted for another value": (
        checks.label_counts_of_values,
        moved("label_counts", task="furry", split="train"),
        "furry, split train",
    ),
    "a task that is not counted": (
        checks.label_counts_of_values,
        without_rows("label_counts", task="big", split="test"),
        "big, split test",
    ),
    "a value without a name": (
        checks.label_counts_of_values,
        without_rows("label_values", task="class", value=7),
        "class, split",
    ),
    "source codes shifted by one": (
        checks.joint_counts_of_values,
        altered(
            "joint_counts",
            pl.when(pl.col("source") == "class")
            .then(pl.col("source_value") - 1)
            .otherwise("source_value")
            .alias("source_value"),
        ),
        "class, split",
    ),
    "a row in another cell": (
        checks.joint_counts_of_values,
        moved("joint_counts", source="class", target="furry", split="all"),
        "class, split all",
    ),
    "a pair that is not counted": (
        checks.joint_counts_of_values,
        without_rows("joint_counts", source="big", target="swims", split="test"),
        "big, split test",
    ),
    "a negative entropy": (
        checks.entropy_bounds,
        altered("conditional_entropy", pl.col("conditional_entropy") - 1.0),
        "split train",
    ),
    "H(Y|Z) above H(Y)": (
        checks.entropy_bounds,
        altered("conditional_entropy", (pl.col("target_entropy") + 0.01).alias("conditional_entropy")),
        "split train",
    ),
    "H(Y) above log |Y|": (
        checks.entropy_bounds,
        altered("conditional_entropy", pl.lit(0.7).alias("target_entropy")),
        "split train",
    ),
    "NULL without a reason": (
        checks.entropy_bounds,
        altered("conditional_entropy", pl.lit(None, pl.Float64).alias("conditional_entropy")),
        "split train",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_its_place_named(subset: tuple[Study, Tables], name: str) -> None:
    check, damage, place = DAMAGE[name]
    study, tables = subset
    assert check(study, tables.__getitem__).passed
    found = check(study, damage(tables).__getitem__)
    assert not found.passed
    assert not found.warning
    assert found.values["violations"] > 0
    assert place in found.text


def test_every_check_of_every_stage_is_shown_to_fail_here_or_beside_its_stage() -> None:
    shown = {"image_keys", "splits", "grouped_split", "published_counts", "constant_tasks", "theorem_1",
             "probes_converged"}  # fmt: skip
    here = {check.name for check in CHECKS if check.look in {damaged[0] for damaged in DAMAGE.values()}}
    assert shown | here == {check.name for check in CHECKS}
