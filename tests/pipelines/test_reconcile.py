"""One run brings everything up to date, and only that; what a killed run left does not stand in the way."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.chain import STAGES
from assets.checks import TableReader
from assets.labels.assets import LABEL_TABLE
from assets.stage import State
from assets.study import Study
from pipelines.definitions import study_definitions
from pipelines.instance import open_instance
from pipelines.reconcile import PROCESS_TAG, Outcome, Request, end_orphans, ranges, reconcile, stages_for
from resources.errors import DataError, StudyError
from resources.home import Home

STATISTICS = Request(only="statistics")
CHEAP = [stage.name for stage in stages_for("statistics")]


def bring(
    study: Study, home: Home, request: Request = STATISTICS, instance: dg.DagsterInstance | None = None
) -> Outcome:
    definitions = dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))
    return reconcile(study, home, definitions, instance or dg.DagsterInstance.ephemeral(), request)


# --- what is asked for ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("todo", "expected"),
    [
        ("", []),
        ("a", [("a", "a")]),
        ("abc", [("a", "c")]),
        ("ac", [("a", "a"), ("c", "c")]),
        ("abde", [("a", "b"), ("d", "e")]),
        ("e", [("e", "e")]),
        ("eca", [("a", "a"), ("c", "c"), ("e", "e")]),
    ],
)
def test_partitions_are_run_in_contiguousranges(todo: str, expected: list[tuple[str, str]]) -> None:
    assert ranges(list("abcde"), list(todo)) == expected


def test_a_single_output_is_a_range_of_its_own() -> None:
    assert ranges([None], [None]) == [(None, None)]


@pytest.mark.parametrize("only", ["statistics", "models", "probes", "reports"])
def test_a_request_includes_all_that_its_stages_need_in_order(only: str) -> None:
    stages = stages_for(only)
    assert {stage for stage in STAGES if stage.command == only} <= set(stages)
    for place, stage in enumerate(stages):
        assert set(stage.after) <= set(stages[:place])


def test_statistics_need_no_image_and_no_network() -> None:
    assert not {"pixels", "source_model", "embedding", "transfer"} & {
        stage.name for stage in stages_for("statistics")
    }


def test_the_default_leaves_sample_efficiency_out() -> None:
    assert "sample-efficiency" not in {stage.command for stage in stages_for(None)}


def test_an_unknown_stage_is_named() -> None:
    with pytest.raises(StudyError, match="no stage 'probe'; --only takes models, probes"):
        stages_for("probe")


# --- bringing up to date -------------------------------------------------------------------------------------


def test_everything_is_made_once_and_a_change_redoes_what_hangs_on_it(made: Any, home: Home) -> None:
    study = made.open()
    assert bring(study, home).nothing_to_do

    made.write()  # touched
    assert bring(study, home).nothing_to_do

    made.change("big", row=7)
    assert bring(made.open(), home).made == {**dict.fromkeys(CHEAP, 1)}

    made.change("big", row=7)  # back again: Dagster's history does not matter, the manifests do
    made.columns["colour"] = made.columns["colour"][::-1]
    made.write()
    assert bring(made.open(), home).made == {**dict.fromkeys(CHEAP, 1), "labels": 2}


def test_the_tables_hold_what_the_labels_say(made: Any, home: Home) -> None:
    assert bring(made.open(), home).nothing_to_do
    with home.warehouse.reading("shapes") as connection:
        rows = connection.execute(
            "SELECT task, value, n FROM label_counts WHERE split = 'all' AND task = 'big' ORDER BY value"
        ).fetchall()
        pairs = connection.execute(
            "SELECT count(*) FROM conditional_entropy WHERE split = 'all' AND source <> target"
        ).fetchone()
    assert rows == [("big", 0, 40), ("big", 1, 40)]
    assert pairs == (6,)


def test_a_deleted_or_damaged_warehouse_is_made_again_whole(made: Any, home: Home) -> None:
    study = made.open()

    def tables() -> dict[str, object]:
        with home.warehouse.reading("shapes") as connection:
            names = [
                name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            ]
            return {
                name: connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall()
                for name in names
                if name != "publications"
            }

    before = tables()
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"garbage")):
        damage(home.warehouse.path("shapes"))
        assert bring(study, home).nothing_to_do
        assert tables() == before


def test_a_lost_file_is_made_again_and_nothing_that_is_the_same_after(made: Any, home: Home) -> None:
    study = made.open()
    home.store.path("shapes", "labels", "round", ".parquet").unlink()
    assert bring(study, home).made == {"labels": 1}


@pytest.mark.slow
def test_a_tracking_server_that_is_down_is_said_once_a_run(
    made: Any, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="transferability"):
        bring(made.open(), home, Request(only="statistics", force=True))
    assert caplog.text.count("not tracked") == 1, "eight stages, each in a Dagster run of its own"


@pytest.mark.slow
def test_force_makes_everything_again(made: Any, home: Home) -> None:
    study = made.open()
    assert list(bring(study, home, Request(only="statistics", force=True)).made) == CHEAP


def test_labels_that_break_leave_the_earlier_results_and_say_where(made: Any, home: Home) -> None:
    study = made.open()
    whole = home.warehouse.path("shapes").read_bytes()
    made.table.write_text("picture,colour,round,big\n1.png,red\n")
    with pytest.raises(DataError, match=r"labels\.csv, line 2"):
        bring(study, home)
    assert home.warehouse.path("shapes").read_bytes() == whole
    made.write()
    assert bring(study, home).nothing_to_do


def test_what_waits_for_a_failed_stage_is_reported(table_study: Any, home: Home) -> None:
    study = table_study.open()  # its images are not there
    outcome = bring(study, home, Request(only="models"))
    assert "80 of 80 images are not in" in outcome.failed["pixels"]
    assert {f"source_model[{task}]" for task in study.sources} <= set(outcome.failed)
    assert outcome.made == {"labels": 3, "pixels": 0}


@pytest.mark.slow
def test_with_some_sources_only_what_needs_them_all_may_wait(table_study: Any, home: Home) -> None:
    request = Request(sources=("round",))
    outcome = bring(table_study.open(), home, request)
    assert set(outcome.failed) <= {"pixels"} | {
        f"{s}[round]" for s in ("source_model", "embedding", "transfer", "bound")
    }


def test_a_failed_check_stops_the_run_and_the_next_one_too(made: Any, home: Home) -> None:
    """Left as it is, what failed its check must not be built upon because it counts as made."""
    study = made.open()
    piece = home.store.table_path("shapes", "labels", None)
    rows = TableReader(study, home)("labels")
    manifest = home.store.manifest("shapes", "label_table", None)
    assert manifest is not None
    home.store.write_table("shapes", "labels", None, rows.reverse())  # as a fault of the stage would write it
    others = [home.store.table_path("shapes", name, None) for name in ("tasks", "label_values")]
    identity = manifest.identity
    home.store.commit("shapes", "label_table", None, identity=identity, paths=[piece, *others])
    assert LABEL_TABLE.states(study, home) == {None: State.DONE}
    for _ in range(2):
        with pytest.raises(
            StudyError, match="label_table: check image_keys failed: image_id does not count the rows"
        ):
            bring(study, home)


def test_a_warning_stops_nothing_and_is_noted_each_time(table_study: Any, home: Home) -> None:
    options = table_study.content["dataset"]["options"]
    table_study.columns |= {"set": ["train"] * 60 + ["test"] * 20, "big": ["no"] * 60 + ["yes"] * 20}
    table_study.write()
    study = table_study.open(dataset={"reader": "table", "options": {**options, "split_column": "set"}})
    for _ in range(2):
        outcome = bring(study, home)
        assert not outcome.failed
        assert outcome.warnings == ["shapes: constant in train: big"]
    assert outcome.nothing_to_do


# --- what a killed run left ----------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
import dagster as dg
from pathlib import Path
from pipelines.instance import open_instance
from pipelines.reconcile import PROCESS_TAG
from resources.processes import this_process

@dg.asset(pool="gpu", key=["study", "model"])
def model() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

instance = open_instance(Path(sys.argv[1]))
dg.materialize([model], instance=instance, tags={PROCESS_TAG: this_process()})
"""


@pytest.mark.slow
def test_a_killed_runs_slot_is_freed_and_the_run_ended(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path)], capture_output=True, timeout=120, check=False
    )
    assert done.returncode == -9, done.stderr

    @dg.asset(pool="gpu", key=["study", "model"])
    def model() -> None:
        pass

    with open_instance(tmp_path) as instance:
        assert len(instance.event_log_storage.get_concurrency_info("gpu").claimed_slots) == 1
        assert end_orphans(instance) == 1
        assert instance.event_log_storage.get_concurrency_info("gpu").claimed_slots == []
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.FAILURE}
        assert dg.materialize([model], instance=instance).success
        assert end_orphans(instance) == 0


def test_living_runs_and_those_of_others_are_left_alone(tmp_path: Path) -> None:
    from resources.processes import this_process

    with open_instance(tmp_path) as instance:
        for tags in ({PROCESS_TAG: this_process()}, {PROCESS_TAG: "elsewhere:1:1"}, {}):
            instance.create_run_for_job(_empty, tags=tags, status=dg.DagsterRunStatus.STARTED)
        assert end_orphans(instance) == 0


@dg.job
def _empty() -> None:
    pass


@pytest.mark.slow
def test_several_processes_may_open_a_fresh_instance_together(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from pipelines.instance import open_instance\n"
        "with open_instance(Path(sys.argv[1])) as instance:\n"
        "    assert instance.get_settings('concurrency'), 'the shipped settings are not there'\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], errors
