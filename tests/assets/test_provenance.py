"""What Dagster marks as stale is what the manifests say; its own code is the judge, in tests only."""

from dataclasses import replace

import dagster as dg
import pytest
from dagster._core.definitions import data_version as dagsters
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.loader import LoadingContextForTest

from assets import provenance
from assets.chain import STAGES, study_assets
from assets.labels.assets import LABEL_TABLE, LABELS
from assets.materialize import stage_asset
from assets.stage import Stage, State
from assets.statistics.assets import CONDITIONAL_ENTROPY, HARDNESS, JOINT_COUNTS, LABEL_COUNTS
from assets.study import Study
from resources.home import Home
from resources.names import partition_key

SHOWN = (LABELS, LABEL_TABLE, LABEL_COUNTS, JOINT_COUNTS, CONDITIONAL_ENTROPY, HARDNESS)


def test_the_tags_are_those_that_dagster_reads() -> None:
    assert provenance.DATA_VERSION == dagsters.DATA_VERSION_TAG
    assert provenance.DATA_VERSION_IS_USER_PROVIDED == dagsters.DATA_VERSION_IS_USER_PROVIDED_TAG
    assert provenance.CODE_VERSION == dagsters.CODE_VERSION_TAG
    assert provenance.INPUT_DATA_VERSION == dagsters.INPUT_DATA_VERSION_TAG_PREFIX
    assert provenance.INPUT_EVENT_POINTER == dagsters.INPUT_EVENT_POINTER_TAG_PREFIX
    assert provenance.EVENTS_ARE_LOGGED == SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
    key = dg.AssetKey(["study", "labels"])
    assert dagsters.get_input_data_version_tag(key) == f"{provenance.INPUT_DATA_VERSION}/study/labels"
    assert dagsters.get_input_event_pointer_tag(key) == f"{provenance.INPUT_EVENT_POINTER}/study/labels"


def make(study: Study, stage: Stage, home: Home, instance: dg.DagsterInstance) -> None:
    """Bring one stage up to date in one run."""
    outputs = stage.outputs(study)
    tags = {}
    if outputs[0] is not None and outputs[-1] is not None:
        tags = {
            "dagster/asset_partition_range_start": partition_key(outputs[0]),
            "dagster/asset_partition_range_end": partition_key(outputs[-1]),
        }
    key = dg.AssetKey([study.name, stage.name])
    dg.materialize(
        study_assets(study), selection=[key], instance=instance, resources={"home": home}, tags=tags
    )


def dagsters_view(study: Study, home: Home, instance: dg.DagsterInstance) -> dict[str, StaleStatus]:
    """Dagster's own status of every output of the cheap stages."""
    graph = dg.Definitions(assets=study_assets(study), resources={"home": home}).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    return {
        f"{stage.name} {partition or ''}".strip(): resolver.get_status(
            dg.AssetKey([study.name, stage.name]), partition_key(partition) if partition else None
        )
        for stage in SHOWN
        for partition in stage.outputs(study)
    }


def our_view(study: Study, home: Home) -> dict[str, State]:
    return {
        f"{stage.name} {partition or ''}".strip(): state
        for stage in SHOWN
        for partition, state in stage.states(study, home).items()
    }


@pytest.fixture
def own_instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def test_dagsters_stale_mark_follows_a_label_change_step_by_step(
    table_study, home: Home, own_instance: dg.DagsterInstance
) -> None:
    study: Study = table_study.open()
    for stage in SHOWN:
        make(study, stage, home, own_instance)
    assert set(dagsters_view(study, home, own_instance).values()) == {StaleStatus.FRESH}
    assert set(our_view(study, home).values()) == {State.DONE}

    make(study, LABELS, home, own_instance)  # nothing new: the events say so too
    assert set(dagsters_view(study, home, own_instance).values()) == {StaleStatus.FRESH}

    table_study.change("round", row=2)
    assert [name for name, state in our_view(study, home).items() if state is State.STALE] == ["labels round"]
    for stage, stale in (
        (LABELS, {"label_table"}),
        (LABEL_TABLE, {"label_counts", "joint_counts"}),
        (LABEL_COUNTS, {"joint_counts", "conditional_entropy", "hardness"}),
        (JOINT_COUNTS, {"conditional_entropy", "hardness"}),
        (CONDITIONAL_ENTROPY, {"hardness"}),
        (HARDNESS, set()),
    ):
        make(study, stage, home, own_instance)
        ours = {name for name, state in our_view(study, home).items() if state is not State.DONE}
        view = dagsters_view(study, home, own_instance)
        assert {name for name, status in view.items() if status is not StaleStatus.FRESH} == stale == ours, (
            stage.name
        )


def test_a_new_code_version_is_shown_stale(table_study, home: Home, own_instance: dg.DagsterInstance) -> None:
    study: Study = table_study.open()
    for stage in SHOWN:
        make(study, stage, home, own_instance)
    changed: Study = table_study.open(targets=["round", "big"])
    view = dagsters_view(changed, home, own_instance)
    ours = {name for name, state in our_view(changed, home).items() if state is not State.DONE}
    assert (
        {name for name, status in view.items() if status is not StaleStatus.FRESH} == ours == {"joint_counts"}
    )


@pytest.mark.parametrize(
    ("changes", "affected"),
    [
        ({"title": "Another title"}, set()),
        ({"recipe": {"epochs": 7}}, {"source_model", "sample_efficiency"}),
        ({"recipe": {"image_size": 32}}, {"pixels", "source_model", "sample_efficiency"}),
        ({"networks": {"round": {"head": "cosface"}}}, {"source_model", "sample_efficiency"}),
        ({"probe": {"c": 0.5}}, {"transfer", "bound", "sample_efficiency"}),
        ({"uncertainty": {"permutations": 30}}, {"label_uncertainty"}),
        ({"tolerate_unreadable_images": 3}, {"pixels"}),
    ],
)
def test_a_setting_is_part_of_the_code_version_of_what_depends_on_it(
    table_study, changes: dict[str, object], affected: set[str]
) -> None:
    before, after = table_study.open(), table_study.open(**changes)
    found = {stage.name for stage in STAGES if stage.code_version(before) != stage.code_version(after)}
    assert found == affected


def test_a_stages_new_code_is_stale_and_nothing_else(
    table_study, home: Home, own_instance: dg.DagsterInstance
) -> None:
    study: Study = table_study.open()
    for stage in SHOWN:
        make(study, stage, home, own_instance)
    newer = replace(HARDNESS, code="next")
    assert newer.code_version(study) != HARDNESS.code_version(study)
    assert newer.states(study, home) == {None: State.STALE}
    assets = [stage_asset(newer if stage is HARDNESS else stage, study) for stage in SHOWN]
    graph = dg.Definitions(assets=assets, resources={"home": home}).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(own_instance, graph, LoadingContextForTest(own_instance))
    view = {stage.name: resolver.get_status(dg.AssetKey(["shapes", stage.name])) for stage in SHOWN[1:]}
    assert {name for name, status in view.items() if status is not StaleStatus.FRESH} == {"hardness"}


def test_materialising_in_the_middle_says_which_parents_it_saw(
    table_study, home: Home, own_instance: dg.DagsterInstance
) -> None:
    study: Study = table_study.open()
    for stage in (LABELS, LABEL_TABLE):
        make(study, stage, home, own_instance)
    event = own_instance.fetch_materializations(dg.AssetKey(["shapes", "label_table"]), limit=1).records[0]
    labels = own_instance.fetch_materializations(dg.AssetKey(["shapes", "labels"]), limit=1).records[0]
    tags = event.asset_materialization.tags
    assert tags["dagster/input_event_pointer/shapes/labels"] == str(labels.storage_id)
    assert (
        tags["dagster/input_data_version/shapes/labels"]
        == labels.asset_materialization.tags["dagster/data_version"]
    )


def test_stages_depend_in_dagster_on_what_they_are_made_from(tiny: Study, home: Home) -> None:
    graph = dg.Definitions(assets=study_assets(tiny), resources={"home": home}).resolve_asset_graph()
    for stage in STAGES:
        parents = {key.path[1] for key in graph.get(dg.AssetKey(["tiny", stage.name])).parent_keys}
        assert parents == {parent.name for parent in stage.after}, stage.name


def test_each_output_has_one_event_and_later_stages_of_its_run_follow(
    table_study, home: Home, own_instance: dg.DagsterInstance
) -> None:
    study: Study = table_study.open()
    make(study, LABELS, home, own_instance)
    keys = [dg.AssetKey(["shapes", stage.name]) for stage in SHOWN[1:]]
    dg.materialize(study_assets(study), selection=keys, instance=own_instance, resources={"home": home})
    assert set(our_view(study, home).values()) == {State.DONE}
    assert set(dagsters_view(study, home, own_instance).values()) == {StaleStatus.FRESH}
    for stage in SHOWN:
        records = own_instance.fetch_materializations(dg.AssetKey(["shapes", stage.name]), limit=10).records
        assert sorted(record.partition_key or "" for record in records) == sorted(
            partition_key(p) if p else "" for p in stage.outputs(study)
        )
