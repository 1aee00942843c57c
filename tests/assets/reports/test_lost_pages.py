"""A report that is lost, cut short or changed is made again by a plain run; a half-written one leaves nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from assets.reports.assets import LABEL_REPORT
from assets.stage import State
from assets.study import Study
from pipelines.definitions import study_definitions
from pipelines.reconcile import Outcome, Request, reconcile
from resources.home import Home

DAMAGE: dict[str, Callable[[Path], object]] = {
    "everything is gone": shutil.rmtree,
    "the page is gone": lambda folder: (folder / "index.html").unlink(),
    "the page is cut short": lambda folder: (folder / "index.html").write_text("<!doctype html>"),
    "a figure is gone": lambda folder: (folder / "figures" / "heat-map.pdf").unlink(),
    "a table is changed": lambda folder: (folder / "tables" / "hardness.csv").write_text("split\n"),
}


def run(study: Study, home: Home) -> Outcome:
    definitions = dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))
    return reconcile(study, home, definitions, dg.DagsterInstance.ephemeral(), Request(only="statistics"))


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_lost_report_is_made_again_by_a_plain_run(made, home: Home, damage) -> None:
    study, folder = made.open(), home.reports / "shapes-labels"
    assert LABEL_REPORT.states(study, home) == {None: State.DONE}, "a home that was copied as a whole"
    whole = {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    damage(folder)
    assert LABEL_REPORT.states(study, home) == {None: State.MISSING}
    outcome = run(study, home)
    assert list(outcome.seconds) == ["label_report"], "and nothing else"
    again = {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    assert again.keys() == whole.keys()
    assert "</html>" in (folder / "index.html").read_text()
    assert LABEL_REPORT.states(study, home) == {None: State.DONE}


def test_a_manifest_names_files_outside_the_store_without_the_home(made, home: Home) -> None:
    manifest = home.store.manifest("shapes", "label_report", None)
    assert manifest is not None
    assert "../../reports/shapes-labels/index.html" in manifest.files
    assert not any(str(home.folder) in name or name.startswith("/") for name in manifest.files)
