"""Outputs are committed one by one, once, by one process; what fails is said and loses nothing else."""

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets import materialize as module
from assets.chain import cross_study_assets, study_assets
from assets.labels.assets import LABEL_TABLE, LABELS
from assets.materialize import Work, progress, stage_asset
from assets.stage import Stage, State
from assets.study import Study
from resources.errors import DataError
from resources.home import Home
from resources.names import partition_key
from resources.warehouse import Table

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
NUMBERS = Table(
    """
CREATE TABLE numbers (  -- One number a task
    task VARCHAR NOT NULL,  -- The task
    x    DOUBLE,            -- The number
)
""",
    order_by=("task",),
)


def run(
    assets: list[dg.AssetsDefinition],
    home: Home,
    instance: dg.DagsterInstance,
    *,
    only: str | None = None,
    tasks: tuple[str, str] | None = None,
    task: str | None = None,
    force: bool = False,
) -> dg.ExecuteInProcessResult:
    """Materialise through Dagster's public test interface; `tasks` is a range from the first to the last."""
    study = next(iter(assets[0].keys)).path[0]
    names = [only] if only else [key.path[1] for asset in assets for key in asset.keys]
    return dg.materialize(
        assets,
        selection=[dg.AssetKey([study, name]) for name in names],
        instance=instance,
        resources={"home": home},
        partition_key=partition_key(task) if task is not None else None,
        tags=dict(zip(RANGE, map(partition_key, tasks), strict=True)) if tasks else None,
        run_config={"ops": {f"{study}__{name}": {"config": {"force": force}} for name in names}},
        raise_on_error=False,
    )


def make_number(work: Work) -> None:
    """The length of the task's name."""
    work.write(NUMBERS, NUMBERS.frame([{"task": work.task, "x": float(len(work.task))}]))
    work.tell(length=len(work.task))


def number_stage(make: Callable[[Work], None] = make_number, **changes: Any) -> Stage:
    return Stage("numbers", "Numbers", make=make, partitions="tasks", tables=(NUMBERS,), **changes)


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    found = [e for e in result.all_events if e.is_step_failure]
    assert len(found) == 1
    data = found[0].step_failure_data
    described = data.user_failure_data.description if data.user_failure_data else None
    return described or (data.error.message if data.error else "")


# --- one output ----------------------------------------------------------------------------------------------


def test_one_partition_is_made_and_only_that(tiny: Study, home: Home, instance: dg.DagsterInstance) -> None:
    result = run([stage_asset(LABELS, tiny)], home, instance, task="even")
    assert result.success
    (event,) = result.get_asset_materialization_events()
    manifest = home.store.manifest("tiny", "labels", "even")
    assert manifest is not None
    assert event.partition == "even"
    assert event.materialization.tags["dagster/data_version"] == manifest.data_version
    assert event.materialization.tags["dagster/code_version"] == LABELS.code_version(tiny)
    assert event.materialization.metadata["images"].value == 60
    assert event.materialization.metadata["mlflow_run"].value == "not tracked"
    assert LABELS.states(tiny, home) == dict.fromkeys(tiny.tasks, State.MISSING) | {"even": State.DONE}
    column = pl.read_parquet(home.store.path("tiny", "labels", "even", ".parquet"))
    assert column["value"].sum() == 30, "six images of each of the five even digits"


def test_again_does_nothing_and_force_does(tiny: Study, home: Home, instance: dg.DagsterInstance) -> None:
    asset, path = stage_asset(LABELS, tiny), home.store.path("tiny", "labels", "even", ".parquet")
    run([asset], home, instance, task="even")
    first, version = path.stat().st_ino, home.store.manifest("tiny", "labels", "even")
    result = run([asset], home, instance, task="even")
    assert path.stat().st_ino == first
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["result"].value == "was up to date"
    assert event.materialization.metadata["labelled"].value == 60, "what it told when it was made"
    assert home.store.manifest("tiny", "labels", "even") == version
    assert run([asset], home, instance, task="even", force=True).success
    assert path.stat().st_ino != first


def test_an_output_whose_file_was_damaged_is_made_again(
    tiny: Study, home: Home, instance: dg.DagsterInstance
) -> None:
    asset, path = stage_asset(LABELS, tiny), home.store.path("tiny", "labels", "even", ".parquet")
    run([asset], home, instance, task="even")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + b"\0" * 20)
    assert run([asset], home, instance, task="even").success
    assert path.read_bytes() == whole


def test_a_partitioned_asset_wants_a_partition(tiny: Study, home: Home, instance: dg.DagsterInstance) -> None:
    result = run([stage_asset(LABELS, tiny)], home, instance)
    assert not result.success
    assert "tiny/labels is made task by task; choose partitions" in failure_of(result)


def test_what_is_made_from_something_absent_says_what_to_do(
    tiny: Study, home: Home, instance: dg.DagsterInstance
) -> None:
    result = run([stage_asset(LABEL_TABLE, tiny)], home, instance)
    assert "materialise its upstream assets first (or `transferability run tiny`)" in failure_of(result)
    assert not home.warehouse.path("tiny").exists()


# --- several outputs in one run ------------------------------------------------------------------------------


def test_a_range_commits_each_output_with_a_version_of_its_own(
    tiny: Study, home: Home, instance: dg.DagsterInstance
) -> None:
    heard: list[tuple[str, str | None, str]] = []
    token = progress.set(lambda stage, partition, event, _seconds: heard.append((stage, partition, event)))
    try:
        result = run([stage_asset(LABELS, tiny)], home, instance, tasks=("is_0", "prime"))
    finally:
        progress.reset(token)
    events = result.get_asset_materialization_events()
    assert [event.partition for event in events] == ["is_0", "even", "prime"]
    assert len({event.materialization.tags["dagster/data_version"] for event in events}) == 3
    assert heard == [
        ("labels", task, event) for task in ("is_0", "even", "prime") for event in ("started", "done")
    ]


@pytest.mark.parametrize(
    "error", [DataError("row 3 is odd"), ValueError("unexpected"), MemoryError("too large")]
)
def test_a_failing_partition_does_not_lose_the_others(
    error: Exception, tiny: Study, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY", dg.RetryPolicy(max_retries=1))
    instance = dg.DagsterInstance.ephemeral()

    def make(work: Work) -> None:
        if work.task == "is_0":
            raise error
        make_number(work)

    result = run([stage_asset(number_stage(make), tiny)], home, instance, tasks=("digit", "prime"))
    assert not result.success
    message = failure_of(result)
    assert "tiny/numbers [is_0]" in message
    assert str(error) in message
    assert instance.get_materialized_partitions(dg.AssetKey(["tiny", "numbers"])) == {
        "digit",
        "even",
        "prime",
    }
    states = number_stage().states(tiny, home)
    assert states == dict.fromkeys(tiny.tasks, State.DONE) | {"is_0": State.MISSING}
    with home.warehouse.reading("tiny") as connection:
        rows = connection.execute("FROM numbers").fetchall()
    assert rows == [("digit", 5.0), ("even", 4.0), ("prime", 5.0)]
    again = run([stage_asset(number_stage(), tiny)], home, instance, tasks=("digit", "prime"))
    assert again.success
    assert number_stage().states(tiny, home)["is_0"] is State.DONE


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("failures", "passes"), [(1, True), (2, False)])
def test_what_is_nobodys_mistake_is_tried_once_more_and_nothing_else_is_made_twice(
    tiny: Study, home: Home, force: bool, failures: int, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY", dg.RetryPolicy(max_retries=1))
    instance, tries = dg.DagsterInstance.ephemeral(), list[str]()

    def make(work: Work) -> None:
        tries.append(work.task)
        if work.task == "is_0" and tries.count("is_0") <= failures:
            raise OSError("the disk was busy")
        make_number(work)

    result = run(
        [stage_asset(number_stage(make), tiny)], home, instance, tasks=("digit", "even"), force=force
    )
    assert result.success is passes
    assert tries == ["digit", "is_0", "even", "is_0"]
    if not passes:
        assert failure_of(result) == "tiny/numbers [is_0]: OSError: the disk was busy"


def test_a_users_mistake_is_not_tried_again(tiny: Study, home: Home, instance: dg.DagsterInstance) -> None:
    tries = []

    def make(work: Work) -> None:
        tries.append(work.task)
        raise DataError("will not mend itself")

    assert not run([stage_asset(number_stage(make), tiny)], home, instance, task="even").success
    assert tries == ["even"]


def test_a_failed_remake_keeps_the_earlier_output(
    tiny: Study, home: Home, instance: dg.DagsterInstance
) -> None:
    def fail(_work: Work) -> None:
        raise DataError("not today")

    assert run([stage_asset(number_stage(), tiny)], home, instance, task="even").success
    before = home.store.manifest("tiny", "numbers", "even")
    assert not run([stage_asset(number_stage(fail, code="2"), tiny)], home, instance, task="even").success
    assert home.store.manifest("tiny", "numbers", "even") == before
    with home.warehouse.reading("tiny") as connection:
        assert connection.execute("FROM numbers").fetchall() == [("even", 4.0)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (pl.DataFrame({"task": ["a"], "x": [float("nan")]}), "numbers: column 'x' holds NaN"),
        (pl.DataFrame({"task": ["a"]}), "numbers: the rows lack column 'x'"),
    ],
)
def test_rows_with_nan_or_without_a_column_are_refused(
    rows: pl.DataFrame, said: str, tiny: Study, home: Home, instance: dg.DagsterInstance
) -> None:
    stage = number_stage(lambda work: work.write(NUMBERS, rows))
    assert said in failure_of(run([stage_asset(stage, tiny)], home, instance, task="even"))
    assert set(stage.states(tiny, home).values()) == {State.MISSING}


def test_a_zero_in_a_table_has_no_sign(tiny: Study, home: Home, instance: dg.DagsterInstance) -> None:
    """Else a table of the same numbers might read -0.0 here and 0.0 there."""
    values = pl.Series("x", [-0.0, 0.0, None, -1.5])
    rows = pl.DataFrame({"task": list("abcd"), "x": values})
    stage = number_stage(lambda work: work.write(NUMBERS, rows))
    assert run([stage_asset(stage, tiny)], home, instance, task="even").success
    with home.warehouse.reading("tiny") as connection:
        found = connection.execute("SELECT x, signbit(x) FROM numbers ORDER BY task").fetchall()
    assert found == [(0.0, False), (0.0, False), (None, None), (-1.5, True)]


def test_tasks_of_any_name_are_made_and_told_apart(
    table_study: Any, home: Home, instance: dg.DagsterInstance
) -> None:
    names = [
        "it's; DROP TABLE labels",
        "a/b/../c",
        "x...y",
        "line\nbreak",
        "é👩\u202e",
        "x" * 300,
        "NUL",
        "[1,2]",
    ]
    for i, name in enumerate(names):
        table_study.columns[name] = [str((row >> (i % 6)) % 2) for row in range(80)]
    table = table_study.table.with_suffix(".parquet")  # whose columns may be called anything
    pl.DataFrame(table_study.columns).write_parquet(table)
    options = {"table": str(table), "image_column": "picture", "tasks": names}
    study = table_study.open(dataset={"reader": "table", "options": options})
    assets = [stage_asset(stage, study) for stage in (LABELS, LABEL_TABLE)]
    assert run(assets, home, instance, only="labels", tasks=(names[0], names[-1])).success
    assert run(assets, home, instance, only="label_table").success
    with home.warehouse.reading("shapes") as connection:
        description = connection.execute("FROM labels").description
        tasks = connection.execute("SELECT task FROM tasks ORDER BY position").fetchall()
    assert [column[0] for column in description][3:] == names
    assert [task for (task,) in tasks] == names
    root = home.store.root.resolve()
    assert all(path.resolve().is_relative_to(root) for path in root.rglob("*"))


# --- races ---------------------------------------------------------------------------------------------------

_WORKER = """
import sys, time
from pathlib import Path
import dagster as dg
from assets.materialize import stage_asset
from assets.stage import Stage
from assets.study import open_study
from resources.home import Home
home, made = Home(path=sys.argv[1], mlflow_uri="http://127.0.0.1:9"), Path(sys.argv[2])
def make(work):
    with made.open("a") as log:
        log.write("made\\n")
    time.sleep(1.0)
    with work.file(".txt") as path:
        path.write_text("content")
study = open_study("tiny", {"dataset": {"reader": "digits"}}, Path("unused"))
stage = Stage("slow", "Slow", make=make)
while not (made.parent / "go").exists():
    time.sleep(0.01)
result = dg.materialize([stage_asset(stage, study)], resources={"home": home}, instance=dg.DagsterInstance.ephemeral())
sys.exit(0 if result.success else 1)
"""


@pytest.mark.slow
def test_two_processes_at_one_output_make_it_once(home: Home, tmp_path: Path) -> None:
    made = tmp_path / "made"
    workers = [subprocess.Popen([sys.executable, "-c", _WORKER, home.path, str(made)]) for _ in range(2)]
    (tmp_path / "go").touch()
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    assert made.read_text() == "made\n"


@pytest.mark.slow
def test_what_a_killed_process_was_making_is_made_by_the_next(home: Home, tmp_path: Path) -> None:
    made = tmp_path / "made"
    (tmp_path / "go").touch()
    command = [sys.executable, "-c", _WORKER, home.path, str(made)]
    killed = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while not made.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert home.store.manifest("tiny", "slow", None) is None
    assert subprocess.run(command, timeout=120, check=False).returncode == 0
    assert made.read_text() == "made\n" * 2
    assert home.store.manifest("tiny", "slow", None) is not None


# --- tracking ------------------------------------------------------------------------------------------------


def test_every_output_has_a_run_in_mlflow_that_ends_as_it_did(tiny: Study, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    instance = dg.DagsterInstance.ephemeral()
    home = Home(path=str(tmp_path / "tracked"))

    def make(work: Work) -> None:
        if work.task == "is_0":
            raise DataError("not this one")
        make_number(work)

    stage = number_stage(make, settings=lambda _study, _task: {"recipe": {"epochs": 3}})
    result = run([stage_asset(stage, tiny)], home, instance, tasks=("digit", "is_0"))
    client = MlflowClient(tracking_uri=home.tracking.tracking_uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    assert {name: found.info.status for name, found in runs.items()} == {
        "numbers/digit": "FINISHED",
        "numbers/is_0": "FAILED",
    }
    digit = runs["numbers/digit"]
    manifest = home.store.manifest("tiny", "numbers", "digit")
    assert manifest is not None
    assert digit.data.params == {"recipe.epochs": "3"}
    assert digit.data.metrics["length"] == 5
    assert {
        key: digit.data.tags[key] for key in ("dagster/run_id", "dagster/asset_key", "dagster/partition")
    } == {
        "dagster/run_id": result.run_id,
        "dagster/asset_key": "tiny/numbers",
        "dagster/partition": "digit",
    }
    assert digit.data.tags["transferability/data_version"] == manifest.data_version
    assert digit.data.tags["dagster/code_version"] == stage.code_version(tiny)
    (record,) = instance.fetch_materializations(dg.AssetKey(["tiny", "numbers"]), limit=9).records
    assert record.asset_materialization is not None
    link = record.asset_materialization.metadata["mlflow_run"].value
    assert link == manifest.recorded["mlflow_run"]
    assert str(link).endswith(digit.info.run_id)


def failed_runs(home: Home, experiment: str) -> list[tuple[str, str]]:
    """Name and status of the MLflow runs of an experiment."""
    client = home.tracking._connected()
    found = client.search_runs([home.tracking._experiment(client, experiment)])
    return [(run.info.run_name, run.info.status) for run in found]


@pytest.mark.parametrize(
    ("stage", "tasks", "name"),
    [
        (LABEL_TABLE, None, "label_table"),  # its inputs are not there
        (LABELS, None, "labels"),  # no partition is chosen
        (LABELS, ("colour", "colour"), "labels/colour"),  # the file cannot be read
        (LABELS, ("colour", "big"), "labels"),
    ],
)
def test_what_fails_before_it_begins_is_a_failed_run_in_mlflow(
    stage: Stage, tasks: tuple[str, str] | None, name: str, table_study: Any, tmp_path: Path,
    instance: dg.DagsterInstance,
) -> None:  # fmt: skip
    home, study = Home(path=str(tmp_path / "tracked")), table_study.open()
    table_study.table.write_text("picture,colour\n1.png,red,extra\n")
    assert not run([stage_asset(stage, study)], home, instance, tasks=tasks).success
    assert failed_runs(home, "shapes") == [(name, "FAILED")]


def test_the_page_across_studies_fails_once_in_mlflow_and_says_why(
    tiny: Study, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    home = Home(path=str(tmp_path / "tracked"))
    assets = cross_study_assets([tiny])
    result = dg.materialize(assets, instance=instance, resources={"home": home}, raise_on_error=False)
    assert "benchmark_report: no study has run to its report yet" in failure_of(result)
    assert failed_runs(home, "across_studies") == [("benchmark_report", "FAILED")]
    assert assets[0].op.retry_policy == module.RETRY


def test_a_server_that_is_down_does_not_decide(
    tiny: Study, home: Home, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert run([stage_asset(number_stage(), tiny)], home, instance, tasks=("digit", "prime")).success
    assert time.monotonic() - began < 10
    assert caplog.text.count("not tracked") == 1


def test_labels_that_cannot_be_read_are_said_at_once(
    table_study: Any, home: Home, instance: dg.DagsterInstance
) -> None:
    study = table_study.open()
    table_study.table.write_text("picture,colour\n1.png,red,extra\n")
    began = time.monotonic()
    result = run([stage_asset(LABELS, study)], home, instance, tasks=("colour", "big"))
    assert "shapes/labels: " in failure_of(result)
    assert "labels.csv, line 2" in failure_of(result)
    assert time.monotonic() - began < 4, "a user's mistake is not tried again"


def test_every_asset_of_the_chain_says_what_it_is(tiny: Study) -> None:
    for asset in study_assets(tiny):
        (spec,) = asset.specs
        assert spec.group_name == "tiny"
        assert spec.code_version
        assert spec.owners == ["team:transferability"]
        assert spec.kinds
