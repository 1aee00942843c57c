"""The sensor asks for a run when a label changed, and for nothing when a file was only touched."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.labels.assets import LABELS
from assets.study import Study
from pipelines.automation import study_automation
from pipelines.definitions import study_definitions
from pipelines.reconcile import Request, reconcile
from resources.home import Home


def definitions(study: Study, home: Home) -> dg.Definitions:
    return dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))


def look(study: Study, home: Home, cursor: str | None) -> tuple[list[dg.RunRequest], str | None, str]:
    """One tick of the statistics sensor: what it asks for, its cursor, and why it skipped."""
    sensor = next(s for s in study_automation(study).sensors if s.name.endswith("_statistics"))
    context = dg.build_sensor_context(
        instance=dg.DagsterInstance.ephemeral(),
        cursor=cursor,
        resources={"home": home},
        definitions=definitions(study, home),
    )
    found = sensor(context)
    if isinstance(found, dg.SkipReason):
        return [], cursor, found.skip_message or ""
    assert isinstance(found, dg.SensorResult)
    reason = (
        found.skip_reason.skip_message if isinstance(found.skip_reason, dg.SkipReason) else found.skip_reason
    )
    return list(found.run_requests or []), found.cursor, reason or ""


def read_all(study: Study, home: Home) -> None:
    """What the run that the sensor asks for does first."""
    reconcile(
        study, home, definitions(study, home), dg.DagsterInstance.ephemeral(), Request(only="statistics")
    )


@pytest.fixture
def watched(made: Any, home: Home) -> tuple[Study, str | None]:
    study = made.open()
    requests, cursor, _ = look(study, home, None)
    assert requests == []
    return study, cursor


def test_a_study_that_was_never_read_is_asked_for(table_study: Any, home: Home) -> None:
    requests, cursor, _ = look(table_study.open(), home, None)
    assert len(requests) == 1
    assert cursor


def test_an_untouched_file_is_not_even_read(watched: tuple[Study, str | None], home: Home) -> None:
    study, cursor = watched
    assert look(study, home, cursor) == ([], cursor, "no label file was touched")


def test_a_touched_file_and_the_same_content_again_start_nothing(
    watched: tuple[Study, str | None], table_study: Any, home: Home
) -> None:
    study, cursor = watched
    table_study.write()
    requests, moved, reason = look(study, home, cursor)
    assert requests == []
    assert moved != cursor
    assert reason == "touched, but every label is as it was"


def test_changed_columns_ask_for_one_run_that_makes_just_them(
    watched: tuple[Study, str | None], table_study: Any, home: Home
) -> None:
    study, cursor = watched
    table_study.change("round", row=1)
    table_study.change("big", row=2)
    requests, cursor, _ = look(study, home, cursor)
    assert len(requests) == 1
    assert requests[0].tags["transferability/changed"] == "round, big"
    stale = {task for task, state in LABELS.states(study, home).items() if state.name == "STALE"}
    assert stale == {"round", "big"}
    read_all(study, home)
    assert look(study, home, cursor)[0] == []
    table_study.write()
    assert look(study, home, cursor)[0] == [], "what was read is known"


def test_a_changed_split_concerns_every_task(made: Any, home: Home) -> None:
    options = {**made.content["dataset"]["options"], "seed": 1}
    study = made.open(dataset={"reader": "table", "options": options})
    requests, _, _ = look(study, home, None)
    assert requests[0].tags["transferability/changed"] == "colour, round, big"


def test_a_change_during_a_run_is_asked_for_again(
    watched: tuple[Study, str | None], table_study: Any, home: Home
) -> None:
    study, cursor = watched
    table_study.change("round")
    requests, cursor, _ = look(study, home, cursor)
    assert len(requests) == 1
    table_study.change("colour")  # before the run that was asked for has read anything
    requests, cursor, _ = look(study, home, cursor)
    assert len(requests) == 1, "the run may have read the file already"
    read_all(study, home)
    assert look(study, home, cursor)[0] == []
    assert {state.name for state in LABELS.states(study, home).values()} == {"DONE"}


def test_a_broken_file_is_said_and_looked_at_again(
    watched: tuple[Study, str | None], table_study: Any, home: Home
) -> None:
    study, cursor = watched
    table_study.table.write_text("picture,colour,round,big\n1.png\n")
    requests, after, reason = look(study, home, cursor)
    assert (requests, after) == ([], cursor)
    assert "labels.csv, line 2" in reason
    table_study.change("round")
    assert len(look(study, home, cursor)[0]) == 1


def test_a_vanished_file_or_column_is_said(
    watched: tuple[Study, str | None], table_study: Any, home: Home
) -> None:
    study, cursor = watched
    table_study.columns.pop("round")
    table_study.write()
    requests, after, reason = look(study, home, cursor)
    assert (requests, after) == ([], cursor)
    assert "round" in reason
    table_study.table.unlink()
    assert "no such file" in look(study, home, cursor)[2]


def test_tasks_of_any_name_can_be_asked_for(table_study: Any, home: Home) -> None:
    names = ["it's; DROP TABLE x", "é👩\u202e", "x" * 300, "a=b, c/d"]
    for i, name in enumerate(names):
        table_study.columns[name] = [str((row >> i) % 2) for row in range(80)]
    table_study.write()
    options = {**table_study.content["dataset"]["options"], "tasks": names}
    requests, _, _ = look(table_study.open(dataset={"reader": "table", "options": options}), home, None)
    instance = dg.DagsterInstance.ephemeral()
    run = instance.create_run_for_job(_job, tags=requests[0].tags)
    assert "transferability/changed" in run.tags


@dg.job
def _job() -> None:
    pass


def test_the_statistics_job_does_what_the_sensor_asks_for(
    table_study: Any, home: Home, tmp_path: Path
) -> None:
    study = table_study.open()
    instance = dg.DagsterInstance.ephemeral()
    job = definitions(study, home).resolve_job_def("shapes_statistics")
    assert job.execute_in_process(instance=instance).success
    assert {state.name for state in LABELS.states(study, home).values()} == {"DONE"}
    assert home.warehouse.path("shapes").exists()
    table_study.table.write_text("picture\n1.png\n")
    failed = definitions(study, home).resolve_job_def("shapes_statistics")
    result = failed.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
