"""The label sensor asks for the tasks whose labels changed, and for nothing when a file was only touched."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.labels.assets import LABELS
from assets.study import Study
from pipelines.automation import cross_study_schedule, study_automation
from pipelines.definitions import study_definitions
from pipelines.reconcile import RANGE_END, RANGE_START
from resources.home import Home


def definitions(study: Study, home: Home) -> dg.Definitions:
    return dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))


def look(
    study: Study, home: Home, cursor: str | None, instance: dg.DagsterInstance | None = None
) -> tuple[list[dg.RunRequest], str | None, str]:
    """One tick of the label sensor: what it asks for, its cursor, and why it skipped."""
    sensor = next(s for s in study_automation(study).sensors if s.name == f"{study.name}_labels_changed")
    context = dg.build_sensor_context(
        instance=instance or dg.DagsterInstance.ephemeral(),
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
    return list(found.run_requests or []), found.cursor or cursor, reason or ""


def asked(requests: list[dg.RunRequest]) -> list[tuple[str, str]]:
    """The ranges of tasks whose labels are to be read."""
    assert all(
        [key.path for key in request.asset_selection or ()] == [["shapes", "labels"]] for request in requests
    )
    return [(request.tags[RANGE_START], request.tags[RANGE_END]) for request in requests]


def read(study: Study, home: Home, request: dg.RunRequest, instance: dg.DagsterInstance) -> bool:
    """The run that the sensor asked for, as the daemon would start it."""
    job = definitions(study, home).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance,
        asset_selection=list(request.asset_selection or ()),
        tags=request.tags,
        raise_on_error=False,
    ).success


@pytest.fixture
def watched(made: Any, home: Home) -> tuple[Study, str | None]:
    study = made.open()
    requests, cursor, _ = look(study, home, None)
    assert requests == []
    return study, cursor


def test_a_study_that_was_never_read_is_asked_for(table_study: Any, home: Home) -> None:
    requests, cursor, _ = look(table_study.open(), home, None)
    assert asked(requests) == [("colour", "big")]
    assert cursor is None, "nothing has been read yet"


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
    assert reason == "touched, but every label is as it was read"


@pytest.mark.parametrize(
    ("changed", "ranges"),
    [
        (["round"], [("round", "round")]),
        (["round", "big"], [("round", "big")]),
        (["colour", "big"], [("colour", "colour"), ("big", "big")]),
    ],
)
def test_changed_columns_are_read_and_no_others(
    watched: tuple[Study, str | None],
    table_study: Any,
    home: Home,
    changed: list[str],
    ranges: list[tuple[str, str]],
) -> None:
    study, cursor = watched
    instance = dg.DagsterInstance.ephemeral()
    for task in changed:
        table_study.change(task, row=2)
    requests, after, _ = look(study, home, cursor, instance)
    assert asked(requests) == ranges
    assert requests[0].tags["transferability/changed"] == ", ".join(changed)
    assert after == cursor, "it moves once they have been read"
    for request in requests:
        assert read(study, home, request, instance)
    events = instance.fetch_materializations(dg.AssetKey(["shapes", "labels"]), limit=10).records
    assert {event.partition_key for event in events} == set(changed)
    requests, after, _ = look(study, home, after, instance)
    assert requests == []
    assert look(study, home, after, instance)[2] == "no label file was touched"


def test_what_is_being_read_is_not_asked_for_again(
    watched: tuple[Study, str | None], table_study: Any, home: Home
) -> None:
    study, cursor = watched
    instance = dg.DagsterInstance.ephemeral()
    table_study.change("round")
    table_study.change("big")
    (request,), cursor, _ = look(study, home, cursor, instance)
    run = instance.create_run_for_job(_job, tags=request.tags, status=dg.DagsterRunStatus.STARTED)
    assert look(study, home, cursor, instance) == ([], cursor, "the changed labels are being read")
    one = dg.RunRequest(
        asset_selection=request.asset_selection, tags={RANGE_START: "round", RANGE_END: "round"}
    )
    assert read(study, home, one, instance)
    assert look(study, home, cursor, instance) == ([], cursor, "the changed labels are being read"), (
        "half done"
    )
    instance.report_run_canceled(run)
    assert asked(look(study, home, cursor, instance)[0]) == [("big", "big")]


def test_reading_that_fails_is_tried_again_thrice_and_after_the_next_change(
    watched: tuple[Study, str | None], table_study: Any, home: Home
) -> None:
    study, cursor = watched
    instance = dg.DagsterInstance.ephemeral()
    table_study.change("round")
    place = home.store.path("shapes", "labels", "round", ".parquet")
    place.unlink()
    place.mkdir()  # in the way of the file
    for _ in range(3):
        (request,), cursor, _ = look(study, home, cursor, instance)
        assert not read(study, home, request, instance)
    requests, cursor, reason = look(study, home, cursor, instance)
    assert requests == []
    assert "3 runs failed" in reason
    place.rmdir()
    table_study.change("round", row=4)
    (request,), cursor, _ = look(study, home, cursor, instance)
    assert read(study, home, request, instance)
    assert look(study, home, cursor, instance)[0] == []


@pytest.mark.parametrize("suffix", [".parquet", ".manifest.json"])
def test_labels_that_are_gone_are_read_again_though_no_file_was_touched(
    watched: tuple[Study, str | None], home: Home, suffix: str
) -> None:
    study, cursor = watched
    instance = dg.DagsterInstance.ephemeral()
    home.store.path("shapes", "labels", "round", suffix).unlink()
    (request,), cursor, _ = look(study, home, cursor, instance)
    assert asked([request]) == [("round", "round")]
    assert read(study, home, request, instance)
    assert look(study, home, cursor, instance) == ([], cursor, "no label file was touched")


def test_labels_that_older_code_wrote_are_read_again(
    watched: tuple[Study, str | None], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, cursor = watched
    instance = dg.DagsterInstance.ephemeral()
    newer = LABELS.code + "-newer"
    monkeypatch.setitem(LABELS.__dict__, "code", newer)
    (request,), cursor, _ = look(study, home, cursor, instance)
    assert asked([request]) == [("colour", "big")]
    assert read(study, home, request, instance)
    assert look(study, home, cursor, instance) == ([], cursor, "no label file was touched")


def test_a_changed_split_concerns_every_task(made: Any, home: Home) -> None:
    options = {**made.content["dataset"]["options"], "seed": 1}
    study = made.open(dataset={"reader": "table", "options": options})
    requests, _, _ = look(study, home, None)
    assert requests[0].tags["transferability/changed"] == "colour, round, big"


def test_a_change_during_a_run_is_asked_for_again(
    watched: tuple[Study, str | None], table_study: Any, home: Home
) -> None:
    study, cursor = watched
    instance = dg.DagsterInstance.ephemeral()
    table_study.change("round")
    (first,), cursor, _ = look(study, home, cursor, instance)
    instance.create_run_for_job(_job, tags=first.tags, status=dg.DagsterRunStatus.STARTED)
    table_study.change("colour")  # while the run that was asked for is under way
    requests, cursor, _ = look(study, home, cursor, instance)
    assert asked(requests) == [("colour", "round")], "the run may have read the file already"
    assert read(study, home, requests[0], instance)
    assert look(study, home, cursor, instance)[0] == []
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


def test_a_job_refuses_a_source_that_the_study_has_not(made: Any, home: Home) -> None:
    study = made.open()
    job = definitions(study, home).resolve_job_def("shapes_study")
    config = {"ops": {"shapes_bring_study_up_to_date": {"config": {"sources": ["big", "rund"]}}}}
    result = job.execute_in_process(config, instance=dg.DagsterInstance.ephemeral(), raise_on_error=False)
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert failed.step_failure_data.user_failure_data is not None
    assert (
        failed.step_failure_data.user_failure_data.description
        == "shapes: sources: no source 'rund'; the sources are colour, round, big; the nearest: round"
    )


@pytest.mark.slow
def test_the_statistics_job_reads_and_counts(table_study: Any, home: Home, tmp_path: Path) -> None:
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


def test_the_page_across_studies_is_made_on_days_with_new_results(
    made: Any, home: Home, tmp_path: Path
) -> None:
    schedule = cross_study_schedule([made.open()])
    instance = dg.DagsterInstance.local_temp(str(tmp_path))

    def day() -> dg.RunRequest | dg.SkipReason:
        with dg.build_schedule_context(instance=instance, resources={"home": home}) as context:
            found = schedule(context)
        assert isinstance(found, dg.RunRequest | dg.SkipReason)
        return found

    skipped = day()
    assert isinstance(skipped, dg.SkipReason)
    assert "no study" in (skipped.skip_message or "")
    for version, again in (("1", False), ("1", True), ("2", False)):
        home.store.commit("shapes", "transfer_correlation", None, identity={}, paths=[], data_version=version)
        found = day()
        assert isinstance(found, dg.SkipReason if again else dg.RunRequest)
        if isinstance(found, dg.RunRequest):
            instance.create_run_for_job(_job, tags=found.tags, status=dg.DagsterRunStatus.SUCCESS)
