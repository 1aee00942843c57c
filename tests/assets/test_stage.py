"""What an output is made from decides whether it is up to date: nothing more, nothing less."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from assets.chain import STAGES
from assets.labels import reading
from assets.labels.assets import LABEL_TABLE, LABELS, PIXELS
from assets.labels.reading import files_state, read_labels
from assets.models.assets import SOURCE_MODEL
from assets.reports.assets import TRANSFER_CORRELATION
from assets.stage import Stage, State
from assets.statistics.assets import (
    CONDITIONAL_ENTROPY,
    HARDNESS,
    JOINT_COUNTS,
    LABEL_COUNTS,
    LABEL_UNCERTAINTY,
)
from assets.study import Study, open_study
from resources.errors import DataError
from resources.home import Home
from resources.store import write_bytes
from resources.warehouse import Table


def commit(stage: Stage, study: Study, home: Home, partition: str | None = None, text: str = "x") -> Path:
    """Commit an output by hand, as a finished stage would."""
    identity = stage.identity(study, home, partition)
    assert identity is not None
    path = home.store.path(study.name, stage.name, partition, ".txt")
    write_bytes(path, text.encode())
    home.store.commit(study.name, stage.name, partition, identity=identity, paths=[path])
    return path


def test_an_output_is_missing_done_missing_again(tiny: Study, home: Home) -> None:
    assert LABELS.states(tiny, home) == dict.fromkeys(tiny.tasks, State.MISSING)
    path = commit(LABELS, tiny, home, "even")
    assert LABELS.states(tiny, home) == dict.fromkeys(tiny.tasks, State.MISSING) | {"even": State.DONE}
    path.unlink()
    assert LABELS.states(tiny, home)["even"] is State.MISSING


def test_a_stage_waits_until_all_it_is_made_from_is_there(tiny: Study, home: Home) -> None:
    assert LABEL_TABLE.states(tiny, home) == {None: State.WAITING}
    for task in tiny.tasks[:-1]:
        commit(LABELS, tiny, home, task)
    assert LABEL_TABLE.states(tiny, home) == {None: State.WAITING}
    commit(LABELS, tiny, home, tiny.tasks[-1])
    assert LABEL_TABLE.states(tiny, home) == {None: State.MISSING}
    commit(LABEL_TABLE, tiny, home)
    assert LABEL_TABLE.states(tiny, home) == {None: State.DONE}


def test_a_new_version_of_an_input_makes_stale_and_the_same_again_does_not(tiny: Study, home: Home) -> None:
    for task in tiny.tasks:
        commit(LABELS, tiny, home, task)
    commit(LABEL_TABLE, tiny, home)
    commit(LABEL_COUNTS, tiny, home)
    commit(LABEL_TABLE, tiny, home, text="x")
    assert LABEL_COUNTS.states(tiny, home) == {None: State.DONE}
    commit(LABEL_TABLE, tiny, home, text="other rows")
    assert LABEL_COUNTS.states(tiny, home) == {None: State.STALE}
    assert LABEL_TABLE.states(tiny, home) == {None: State.DONE}


def test_a_source_model_hangs_on_its_own_labels_only(tiny: Study, home: Home) -> None:
    for task in tiny.tasks:
        commit(LABELS, tiny, home, task)
    commit(PIXELS, tiny, home)
    for task in tiny.tasks:
        commit(SOURCE_MODEL, tiny, home, task)
    commit(LABELS, tiny, home, "even", text="changed")
    expected = {task: State.STALE if task == "even" else State.DONE for task in tiny.tasks}
    assert SOURCE_MODEL.states(tiny, home) == expected


def test_partitions_are_the_tasks_the_sources_or_none(tiny_content: Mapping[str, Any]) -> None:
    study = open_study("some", {**tiny_content, "sources": ["digit", "even"]}, Path("unused"))
    assert LABELS.outputs(study) == ("digit", "is_0", "even", "prime")
    assert SOURCE_MODEL.outputs(study) == ("digit", "even")
    assert LABEL_TABLE.outputs(study) == (None,)
    assert not set(LABELS.outputs(study)) & {None}


# --- code versions -------------------------------------------------------------------------------------------

_CHANGES = {
    "epochs": ({"recipe": {"image_size": 16, "epochs": 2, "batch_size": 16}}, {SOURCE_MODEL}),
    "image size": ({"recipe": {"image_size": 32, "epochs": 1, "batch_size": 16}}, {SOURCE_MODEL, PIXELS}),
    "one source's network": ({"networks": {"even": {"backbone": "resnet34"}}}, {SOURCE_MODEL}),
    "permutations": ({"uncertainty": {"permutations": 21}}, {LABEL_UNCERTAINTY}),
    "sources": ({"sources": ["digit", "even"]}, {JOINT_COUNTS, LABEL_UNCERTAINTY, SOURCE_MODEL}),
    "title": ({"title": "Another"}, set()),
}


@pytest.mark.parametrize(("change", "affected"), _CHANGES.values(), ids=_CHANGES.keys())
def test_a_setting_changes_the_code_version_of_what_depends_on_it(
    tiny: Study, tiny_content: Mapping[str, Any], change: dict[str, Any], affected: set[Stage]
) -> None:
    changed = open_study("tiny", {**tiny_content, **change}, Path("unused"))
    watched = {
        LABELS, LABEL_TABLE, LABEL_COUNTS, JOINT_COUNTS, CONDITIONAL_ENTROPY, HARDNESS, LABEL_UNCERTAINTY, PIXELS,
        SOURCE_MODEL, TRANSFER_CORRELATION,
    }  # fmt: skip
    moved = {stage.name for stage in watched if stage.code_version(tiny) != stage.code_version(changed)}
    assert {stage.name for stage in affected} <= moved
    assert not {"labels", "label_counts", "hardness"} & moved
    if change.keys() != {"sources"}:
        assert moved == {stage.name for stage in affected}


def test_one_sources_network_makes_that_source_stale_only(
    tiny: Study, tiny_content: Mapping[str, Any], home: Home
) -> None:
    for task in tiny.tasks:
        commit(LABELS, tiny, home, task)
    commit(PIXELS, tiny, home)
    for task in tiny.tasks:
        commit(SOURCE_MODEL, tiny, home, task)
    changed = open_study(
        "tiny", {**tiny_content, "networks": {"even": {"backbone": "resnet34"}}}, Path("unused")
    )
    expected = {task: State.STALE if task == "even" else State.DONE for task in tiny.tasks}
    assert SOURCE_MODEL.states(changed, home) == expected


def test_rows_of_an_older_shape_are_made_again_and_not_published(tiny: Study, home: Home) -> None:
    """A home folder written before a table got another column is brought up to date, never half used."""
    sql = "CREATE TABLE counted (  -- Rows\n    n BIGINT NOT NULL,  -- How many\n)"
    old = Stage("counted", "Rows", make=lambda work: None, tables=(Table(sql),))
    new = Stage(
        "counted",
        "Rows",
        make=lambda work: None,
        tables=(Table(sql.replace(",  --", ",  -- x\n    m BIGINT,  --")),),
    )
    assert new.tables[0].columns[1].name == "m"
    identity = old.identity(tiny, home, None)
    assert identity is not None
    piece = home.store.write_table("tiny", "counted", None, old.tables[0].frame([{"n": 1}]))
    home.store.commit("tiny", "counted", None, identity=identity, paths=[piece])
    assert old.states(tiny, home) == {None: State.DONE}
    assert old.publish(tiny, home) == ["counted"]
    assert new.states(tiny, home) == {None: State.STALE}
    assert new.code_version(tiny) != old.code_version(tiny)
    assert new.publish(tiny, home) == []


def test_a_file_that_was_replaced_but_never_committed_is_neither_done_nor_published(
    tiny: Study, home: Home
) -> None:
    """A process killed between a file and its manifest; the labels then went back to what the manifest says."""
    table = Table("CREATE TABLE counted (  -- Rows\n    n BIGINT NOT NULL,  -- How many\n)")
    stage = Stage("counted", "Rows", make=lambda work: None, tables=(table,))
    identity = stage.identity(tiny, home, None)
    assert identity is not None
    piece = home.store.write_table("tiny", "counted", None, table.frame([{"n": 1}]))
    home.store.commit("tiny", "counted", None, identity=identity, paths=[piece])
    assert stage.publish(tiny, home) == ["counted"]
    size = piece.stat().st_size
    home.store.write_table("tiny", "counted", None, table.frame([{"n": 2}]))
    assert piece.stat().st_size == size, "the length alone would not show it"
    assert stage.states(tiny, home) == {None: State.MISSING}
    assert stage.publish(tiny, home) == []
    with home.warehouse.reading("tiny") as connection:
        assert connection.execute("FROM counted").fetchall() == [(1,)]


def test_every_stage_comes_after_those_it_is_made_from() -> None:
    for place, stage in enumerate(STAGES):
        assert set(stage.after) <= set(STAGES[:place]), stage.name


# --- labels from outside -------------------------------------------------------------------------------------


def test_only_the_column_that_changed_has_a_new_version(table_study: Any) -> None:
    study = table_study.open()
    before = read_labels(study).versions
    table_study.write()
    assert read_labels(study).versions == before
    table_study.change("round", row=3)
    after = read_labels(study).versions
    assert {task for task in before if before[task] != after[task]} == {"round"}


def test_touching_a_file_changes_its_state_and_not_the_labels(table_study: Any, home: Home) -> None:
    study = table_study.open()
    for task in study.tasks:
        commit(LABELS, study, home, task)
    state = files_state(study)
    table_study.write()
    assert files_state(study) != state
    assert set(LABELS.states(study, home).values()) == {State.DONE}
    table_study.change("big")
    assert LABELS.states(study, home) == {"colour": State.DONE, "round": State.DONE, "big": State.STALE}


def test_a_change_while_the_labels_are_read_is_seen_next_time(
    table_study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state that is kept belongs to before the reading, so a later look cannot take the old labels for new."""
    study = table_study.open()
    versions = reading.label_versions

    def and_then_the_file_changes(table):
        found = versions(table)
        table_study.change("round", row=5)
        return found

    monkeypatch.setattr(reading, "label_versions", and_then_the_file_changes)
    first = read_labels(study)
    monkeypatch.setattr(reading, "label_versions", versions)
    assert first.state != files_state(study)
    assert read_labels(study).versions["round"] != first.versions["round"]


def test_a_column_that_vanished_is_named(table_study: Any) -> None:
    options = {"table": str(table_study.table), "image_column": "picture"}
    study = table_study.open(dataset={"reader": "table", "options": options})
    assert study.tasks == ("colour", "round", "big")
    del table_study.columns["round"]
    table_study.write()
    with pytest.raises(DataError, match="shapes: task 'round' is no longer in the labels"):
        read_labels(study)
