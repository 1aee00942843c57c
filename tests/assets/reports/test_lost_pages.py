"""A report that is lost, cut short or changed is made again by a plain run; a half-written one leaves nothing."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from assets.reports.assets import LABEL_REPORT
from assets.reports.publish import replace_folder
from assets.stage import State
from assets.study import Study
from pipelines.definitions import study_definitions
from pipelines.reconcile import Outcome, Request, reconcile
from resources.home import Home
from tests.stress.kills import left_behind

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


KILLED = """
import sys, time
from pathlib import Path
from assets.reports.publish import replace_folder

def fill(fresh):
    (fresh / "index.html").write_text("half")
    print("half", flush=True)
    time.sleep(60)

replace_folder(Path(sys.argv[1]), fill)
"""


def killed_while_writing(folder: Path) -> None:
    """SIGKILL a process in the middle of its report."""
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "half\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()


def test_what_a_killed_process_left_of_a_report_is_swept_by_the_next_run(made, home: Home) -> None:
    names = {path.name for path in home.reports.iterdir()}
    killed_while_writing(home.reports / "shapes-labels")
    killed_while_writing(home.reports / "all-studies")
    assert len(list(left_behind(home.folder))) == 2, "half a report shows in the stress test of kills"
    assert run(made.open(), home).seconds == {}, "the report itself is as it was"
    assert {path.name for path in home.reports.iterdir()} == names
    assert list(left_behind(home.folder)) == []


def test_writing_a_report_sweeps_what_a_killed_process_left_of_it(tmp_path: Path) -> None:
    killed_while_writing(tmp_path / "study")
    replace_folder(tmp_path / "study", lambda fresh: (fresh / "index.html").write_text("whole") and None)
    assert [path.name for path in tmp_path.iterdir()] == ["study"]
