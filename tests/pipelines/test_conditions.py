"""Dagster's own evaluation of the conditions asks for exactly what the manifests say, and once."""

import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import dagster as dg
import pytest

from assets.chain import STAGES
from assets.labels.assets import LABELS
from assets.probes.assets import BOUND, TRANSFER
from assets.probes.tables import BOUND as BOUND_TABLE
from assets.probes.tables import TRANSFER as TRANSFER_TABLE
from assets.stage import Stage, State
from assets.study import Study
from pipelines.conditions import CHEAP, TRAINED
from pipelines.definitions import study_definitions
from resources.home import Home
from resources.names import partition_key, task_of

STATISTICS = {stage.name for stage in CHEAP}
ALL_STATISTICS = {name: {""} for name in STATISTICS}
Asked = dict[str, set[str]]


class Evaluations:
    """Ticks of the conditions of a study, with the cursor and the instance that the daemon would hand on."""

    def __init__(self, study: Study, home: Home, stages: Iterable[Stage]) -> None:
        self.study, self.home = study, home
        self.instance = dg.DagsterInstance.ephemeral()
        self.definitions = dg.Definitions.merge(
            study_definitions(study, home), dg.Definitions(resources={"home": home})
        )
        self.stages = tuple(stages)
        self.selection = dg.AssetSelection.assets(*(self.key(stage) for stage in self.stages))
        self.cursor: Any = None
        self.time, self.ticks = datetime.now(UTC), count()

    def key(self, stage: Stage) -> dg.AssetKey:
        return dg.AssetKey([self.study.name, stage.name])

    def tick(self, after: float = 0.0) -> Asked:
        """What one evaluation asks for, some seconds later: partitions by stage, "" for a single output."""
        self.time += timedelta(seconds=after)
        result = dg.evaluate_automation_conditions(
            defs=self.definitions,
            instance=self.instance,
            asset_selection=self.selection,
            cursor=self.cursor,
            evaluation_time=self.time + timedelta(microseconds=next(self.ticks)),
        )
        self.cursor = result.cursor
        asked = {stage.name: result.get_requested_partitions(self.key(stage)) for stage in self.stages}
        return {name: {task_of(p or "") for p in found} for name, found in asked.items() if found}

    def run(self, *stages: Stage, partition: str | None = None) -> dg.ExecuteInProcessResult:
        """A real run of some stages for one partition."""
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[self.key(stage) for stage in stages],
            partition_key=partition_key(partition) if partition is not None else None,
            raise_on_error=False,
        )

    def settle(self, *stages: Stage, partitions: Iterable[str | None] | None = None) -> None:
        """Commit manifests of outputs as if they had been made, which saves the training."""
        for stage in stages:
            for partition in stage.outputs(self.study) if partitions is None else partitions:
                self.commit(stage, partition)

    def commit(self, stage: Stage, partition: str | None) -> None:
        store, study = self.home.store, self.study
        identity = stage.identity(study, self.home, partition)
        assert identity is not None, f"{stage.name} {partition}"
        version = stage.outside(study, self.home)[partition] if stage.outside else None
        # Of the tables that would be there, two are read: by the checks on probes and bound.
        table = {TRANSFER.name: TRANSFER_TABLE, BOUND.name: BOUND_TABLE}.get(stage.name)
        paths = (
            [store.write_table(study.name, table.name, partition, table.frame([]))]
            if table is not None
            else []
        )
        store.commit(study.name, stage.name, partition, identity=identity, paths=paths, data_version=version)


def names(stages: Iterable[Stage]) -> set[str]:
    return {stage.name for stage in stages}


@pytest.fixture
def cheap(made: Any, home: Home) -> Evaluations:
    """The table study with its statistics up to date."""
    evaluations = Evaluations(made.open(), home, CHEAP)
    assert evaluations.tick() == {}
    return evaluations


@pytest.fixture
def trained(made: Any, home: Home) -> Evaluations:
    """The table study with everything settled."""
    evaluations = Evaluations(made.open(), home, (*CHEAP, *TRAINED))
    evaluations.settle(*TRAINED)
    assert evaluations.tick() == {}
    return evaluations


def test_a_fresh_study_waits_for_its_labels_and_then_asks_for_all_statistics_at_once(
    table_study: Any, home: Home
) -> None:
    evaluations = Evaluations(table_study.open(), home, CHEAP)
    assert evaluations.tick() == {}, "the label sensor reads the labels first"
    evaluations.settle(LABELS, partitions=["colour", "round"])
    assert evaluations.tick() == {}, "not before the last of them"
    evaluations.settle(LABELS, partitions=["big"])
    assert evaluations.tick() == ALL_STATISTICS
    assert evaluations.tick() == {}, "once"


def test_a_touched_file_and_the_same_content_again_ask_for_nothing(cheap: Evaluations, made: Any) -> None:
    made.write()
    assert cheap.tick() == {}
    made.table.write_text(made.table.read_text() + "")
    assert cheap.tick() == {}


@pytest.mark.slow
@pytest.mark.parametrize("changed", [["round"], ["round", "colour"]])
def test_changed_columns_ask_for_the_statistics_once_they_are_read(
    cheap: Evaluations, made: Any, changed: list[str]
) -> None:
    for task in changed:
        made.change(task, row=3)
    assert cheap.tick() == {}, "what has not been read is not settled"
    for task in changed[:-1]:
        assert cheap.run(LABELS, partition=task).success
        assert cheap.tick() == {}, "one of two is not enough"
    assert cheap.run(LABELS, partition=changed[-1]).success
    assert cheap.tick() == ALL_STATISTICS
    assert cheap.run(*CHEAP).success
    assert {state for stage in CHEAP for state in stage.states(cheap.study, cheap.home).values()} == {
        State.DONE
    }
    assert cheap.tick() == {}


def test_a_change_asks_for_its_source_at_once_and_for_pairs_and_report_in_turn(
    trained: Evaluations, made: Any
) -> None:
    by_name = {stage.name: stage for stage in STAGES}
    made.change("round")
    trained.settle(LABELS, partitions=["round"])
    assert trained.tick() == {
        **ALL_STATISTICS,
        "source_model": {"round"},
        "embedding": {"round"},
    }
    trained.settle(*CHEAP)
    # Its pairs as a target need no new network; as a source they wait for it.
    assert trained.tick() == {"transfer": {"colour", "big"}, "bound": {"colour", "big"}}
    trained.settle(by_name["source_model"], by_name["embedding"], partitions=["round"])
    assert trained.tick() == {"transfer": {"round"}, "bound": {"round"}, "hardness_correlation": {""}}
    trained.settle(by_name["transfer"], by_name["bound"], partitions=["colour", "big"])
    assert trained.tick() == {}, "the report waits for the last pair"
    trained.settle(by_name["transfer"], by_name["bound"], partitions=["round"])
    trained.settle(by_name["hardness_correlation"])
    assert trained.tick() == {"transfer_correlation": {""}, "report": {""}}
    trained.settle(by_name["transfer_correlation"], by_name["report"])
    assert trained.tick() == {}


def test_two_changed_columns_ask_for_two_sources(trained: Evaluations, made: Any) -> None:
    made.change("round")
    made.change("big", row=1)
    trained.settle(LABELS, partitions=["round", "big"])
    asked = trained.tick()
    assert asked["source_model"] == asked["embedding"] == {"round", "big"}
    assert set(asked) == {*STATISTICS, "source_model", "embedding"}


def test_a_result_that_comes_out_the_same_asks_for_nothing_more(trained: Evaluations, made: Any) -> None:
    """The source model was made again with the same bytes, so nothing is made from it again."""
    (model,) = (stage for stage in STAGES if stage.name == "source_model")
    store, study = trained.home.store, trained.study
    manifest = store.manifest("shapes", "source_model", "round")
    assert manifest is not None
    store.manifest_path("shapes", "source_model", "round").unlink()
    assert trained.tick() == {
        "source_model": {"round"}, "embedding": {"round"}, "transfer": {"round"}, "bound": {"round"},
    }, "what follows in the same run goes along, and returns at once there"  # fmt: skip
    store.commit(
        "shapes", "source_model", "round",
        identity=model.identity(study, trained.home, "round") or {}, paths=[], data_version=manifest.data_version,
    )  # fmt: skip
    assert trained.tick() == {}


def test_what_is_being_made_is_not_asked_for_and_a_change_meanwhile_is_not_lost(
    cheap: Evaluations, made: Any
) -> None:
    made.change("round")
    assert cheap.run(LABELS, partition="round").success
    assert cheap.tick().keys() == STATISTICS
    job = cheap.definitions.resolve_implicit_global_asset_job_def()
    run = cheap.instance.create_run_for_job(
        job,
        asset_selection=frozenset(cheap.key(stage) for stage in CHEAP),
        status=dg.DagsterRunStatus.STARTED,
    )
    made.change("colour")
    assert cheap.run(LABELS, partition="colour").success
    assert cheap.tick() == {}, "a run is at it"
    cheap.instance.report_run_failed(run)
    assert cheap.tick() == ALL_STATISTICS, "it is over, and the labels are others by now"


def test_labels_that_are_being_read_are_waited_for(cheap: Evaluations, made: Any) -> None:
    made.change("round")
    made.change("big")
    assert cheap.run(LABELS, partition="round").success
    assert cheap.run(LABELS, partition="big").success
    job = cheap.definitions.resolve_implicit_global_asset_job_def()
    tags = {"dagster/asset_partition_range_start": "round", "dagster/asset_partition_range_end": "big"}
    run = cheap.instance.create_run_for_job(
        job, asset_selection=frozenset([cheap.key(LABELS)]), status=dg.DagsterRunStatus.STARTED, tags=tags
    )
    assert cheap.tick() == {}
    cheap.instance.report_run_canceled(run)
    assert cheap.tick().keys() == STATISTICS


@pytest.mark.slow
def test_a_failing_step_is_asked_for_a_few_times_and_again_when_its_labels_change(
    cheap: Evaluations, made: Any
) -> None:
    made.change("round")
    assert cheap.run(LABELS, partition="round").success
    assert cheap.tick().keys() == STATISTICS
    place = cheap.home.store.table_path("shapes", "hardness", None).parent
    shutil.rmtree(place)
    place.write_text("in the way")
    assert not cheap.run(*CHEAP).success
    assert cheap.tick().keys() == {"hardness", "label_report"}, "the others were made"
    assert not cheap.run(*(stage for stage in CHEAP if stage.name == "hardness")).success
    assert cheap.tick() == {}, "the same making has failed on its own now"
    assert cheap.tick(after=300) == {}
    for _ in range(2):
        assert cheap.tick(after=601).keys() == {"hardness", "label_report"}
        assert cheap.tick() == {}
    assert cheap.tick(after=86_400) == {}, "three times at most"
    place.unlink()
    made.change("round", row=5)
    assert cheap.run(LABELS, partition="round").success
    assert cheap.tick() == ALL_STATISTICS, "other labels are another making"
    assert cheap.run(*CHEAP).success
    assert cheap.tick() == {}


def test_a_source_that_was_not_made_holds_up_the_report_and_not_the_other_sources(
    trained: Evaluations, made: Any
) -> None:
    by_name = {stage.name: stage for stage in STAGES}
    made.change("round")
    trained.settle(LABELS, partitions=["round"])
    trained.settle(*CHEAP)
    assert trained.tick()["source_model"] == {"round"}
    trained.settle(by_name["transfer"], by_name["bound"], partitions=["colour", "big"])
    assert trained.tick() == {}, "asked for, and not there: the report waits for it"
    made.change("round", row=5)
    trained.settle(LABELS, partitions=["round"])
    assert trained.tick()["source_model"] == {"round"}, "other labels are another making"


def test_a_failing_check_holds_up_what_builds_on_it_until_the_data_are_mended(
    cheap: Evaluations, made: Any
) -> None:
    by_name = {stage.name: stage for stage in STAGES}
    table = cheap.home.store.read_table("shapes", "labels", [None])
    store, identity = cheap.home.store, by_name["label_table"].identity(cheap.study, cheap.home, None)
    assert identity is not None
    rest = [store.table_path("shapes", name, None) for name in ("tasks", "label_values")]
    broken = store.write_table("shapes", "labels", None, table.vstack(table.head(1)))
    store.commit("shapes", "label_table", None, identity=identity, paths=[broken, *rest])
    assert cheap.tick() == {}, "image_keys fails"
    sound = store.write_table("shapes", "labels", None, table.tail(79).vstack(table.head(1)).sort("image_id"))
    store.commit(
        "shapes", "label_table", None, identity=identity, paths=[sound, *rest], data_version="another"
    )
    assert cheap.tick().keys() == STATISTICS - {"label_table"}


def test_labels_that_cannot_be_read_ask_for_nothing_and_break_nothing(cheap: Evaluations, made: Any) -> None:
    cheap.home.store.manifest_path("shapes", "hardness", None).unlink()
    whole = made.table.read_text()
    made.table.write_text("picture,colour\n1.png\n")
    assert cheap.tick() == {}
    made.table.write_text(whole)
    assert cheap.tick().keys() == {"hardness", "label_report"}


ALL = {"colour", "round", "big"}


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"title": "Another title", "owner": "team:other"}, {}),
        (
            {"uncertainty": {"permutations": 30}},
            {key: {""} for key in ("label_uncertainty", "label_report", "report")},
        ),
        ({"probe": {"c": 0.5}}, {"transfer": ALL, "bound": ALL}),
        (
            {"networks": {"round": {"head": "cosface"}}},
            {name: {"round"} for name in ("source_model", "embedding", "transfer", "bound")},
        ),
        ({"recipe": {"epochs": 2}}, dict.fromkeys(("source_model", "embedding", "transfer", "bound"), ALL)),
        ({"recipe": {"image_size": 32}}, {"pixels": {""}}),
    ],
    ids=["title", "uncertainty", "probe", "one network", "recipe", "image size"],
)
def test_a_changed_setting_of_the_study_is_stale_just_where_it_counts(
    made: Any, home: Home, changes: dict[str, Any], asked: Asked
) -> None:
    before = {"uncertainty": {"permutations": 20}}
    Evaluations(made.open(), home, ()).settle(*TRAINED)
    assert Evaluations(made.open(**{**before, **changes}), home, (*CHEAP, *TRAINED)).tick() == asked


def test_every_asset_but_the_labels_and_what_is_asked_for_by_hand_has_a_condition(
    tiny: Study, home: Home
) -> None:
    specs = Evaluations(tiny, home, ()).definitions.resolve_all_asset_specs()
    without = {spec.key.path[1] for spec in specs if spec.automation_condition is None}
    assert without == {"labels", "sample_efficiency"}
