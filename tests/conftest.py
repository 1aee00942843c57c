"""Fixtures that every part of the suite shares: the optional folder of real data, and a tiny real study."""

import os
import shutil

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # before torch is imported: tests that run side by side take a core each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets.study import Study, open_study
from resources.home import Home

TINY: Mapping[str, Any] = {
    "dataset": {"reader": "digits", "options": {"per_class": 6, "tasks": ["digit", "is_0", "even", "prime"]}},
    "recipe": {"image_size": 16, "epochs": 1, "batch_size": 16},
    "uncertainty": {"permutations": 20},
}
"""Sixty real images, four tasks, one epoch: every stage in seconds."""


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A function from a data set's name to its folder; it skips the test, with the reason, where that is absent."""
    default = Path(__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("TRANSFERABILITY_TEST_DATA", default))

    def find(name: str) -> Path:
        folder = root / name
        if not folder.exists():
            pytest.skip(
                f"real data '{name}' is not here; set TRANSFERABILITY_TEST_DATA to a folder that holds it"
            )
        return folder

    return find


@pytest.fixture(scope="session", autouse=True)
def _no_home_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test may write to the user's own home folder, nor see the user's studies or tracking server."""
    for name in ("TRANSFERABILITY_DATA", "TRANSFERABILITY_STUDIES", "MLFLOW_TRACKING_URI", "DAGSTER_HOME"):
        os.environ.pop(name, None)
    os.environ["TRANSFERABILITY_HOME"] = str(tmp_path_factory.mktemp("users-home"))
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home folder; MLflow is not tracked to, which saves seconds (tests of tracking use their own)."""
    return Home(path=str(tmp_path / "home"), mlflow_uri="http://127.0.0.1:9")


@pytest.fixture(scope="session")
def instance() -> dg.DagsterInstance:
    """One Dagster instance in memory for all tests that need no history of their own."""
    return dg.DagsterInstance.ephemeral()


@pytest.fixture(scope="session")
def tiny_content() -> Mapping[str, Any]:
    """What the tiny study's file would say."""
    return TINY


@pytest.fixture(scope="session")
def tiny() -> Study:
    """A tiny study over real digits."""
    return open_study("tiny", TINY, Path("unused"))


class TableStudy:
    """A study over a small CSV that a test may rewrite."""

    def __init__(self, folder: Path) -> None:
        self.table = folder / "labels.csv"
        self.columns: dict[str, list[str]] = {
            "picture": [f"{i:03}.png" for i in range(80)],
            "colour": [("red", "green", "blue", "green")[i % 4] for i in range(80)],
            "round": [("yes", "no")[i % 2] for i in range(80)],
            "big": [("yes", "no")[i // 40] for i in range(80)],
        }
        self.write()

    def write(self) -> None:
        """Write the columns as they stand, with a new modification time."""
        before = self.table.stat().st_mtime_ns if self.table.exists() else 0
        pl.DataFrame(self.columns).write_csv(self.table)
        if self.table.stat().st_mtime_ns <= before:
            os.utime(self.table, ns=(before + 1, before + 1))

    def change(self, task: str, row: int = 0) -> None:
        """Give one row another label."""
        values = self.columns[task]
        values[row] = next(value for value in values if value != values[row])
        self.write()

    @property
    def content(self) -> dict[str, Any]:
        """What the study's file would say."""
        options = {"table": str(self.table), "image_column": "picture", "tasks": ["colour", "round", "big"]}
        return {"dataset": {"reader": "table", "options": options}, "uncertainty": {"permutations": 20}}

    def open(self, **changes: Any) -> Study:
        """The study as a fresh process would open it."""
        return open_study("shapes", {**self.content, **changes}, self.table.parent)


@pytest.fixture
def table_study(tmp_path: Path) -> TableStudy:
    """A study over a table that the test may change."""
    return TableStudy(tmp_path)


@pytest.fixture(scope="session")
def _made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the table study's table, and a home folder in which its statistics are up to date."""
    from pipelines.definitions import study_definitions
    from pipelines.reconcile import Request, reconcile

    folder = tmp_path_factory.mktemp("made")
    study = TableStudy(folder).open()
    home = Home(path=str(folder / "home"), mlflow_uri="http://127.0.0.1:9")
    definitions = dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))
    outcome = reconcile(study, home, definitions, dg.DagsterInstance.ephemeral(), Request(only="statistics"))
    assert not outcome.failed
    return folder


@pytest.fixture
def made(_made_once: Path, table_study: TableStudy, home: Home) -> TableStudy:
    """The table study, with a home folder (`home`) in which its statistics are up to date."""
    shutil.copytree(_made_once / "home", home.folder)
    shutil.copy2(_made_once / table_study.table.name, table_study.table)
    return table_study


# Not for the session: as long as Playwright runs, its event loop is the main thread's, and Dagster's own
# `asyncio.run` is refused in every test of another file.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; the test is skipped, with the reason, where none is installed."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the Python package playwright is not installed"
    )
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium is installed; set CHROMIUM to the path of one")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()
