"""The home folder as one Dagster resource: where the store, the warehouse, MLflow and the reports lie.

Which environment variables choose it is decided here and nowhere else.
"""

import os
from functools import cache
from pathlib import Path

import dagster as dg
from pydantic import Field

from resources.addresses import without_credentials
from resources.store import Store
from resources.tracking import Tracking
from resources.warehouse import Warehouse

PROJECT_ROOT = Path(__file__).parents[1]


def default_home() -> Path:
    """`TRANSFERABILITY_HOME`, or `.transferability` in the project's root."""
    return Path(os.environ.get("TRANSFERABILITY_HOME") or PROJECT_ROOT / ".transferability").absolute()


def default_data(home: Path) -> Path:
    """`TRANSFERABILITY_DATA`, or `data` in the home folder."""
    return Path(os.environ.get("TRANSFERABILITY_DATA") or home / "data").absolute()


def mlflow_address() -> str:
    """Where people open MLflow's pages: the server itself, or the port that `transferability ui` serves.

    A name and password in the server's address are left out: links stand in manifests and on pages.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith("http"):
        return f"http://127.0.0.1:{os.environ.get('TRANSFERABILITY_MLFLOW_PORT', '5000')}"
    return without_credentials(uri)


def dagster_address() -> str:
    """Where people open Dagster's pages."""
    return f"http://127.0.0.1:{os.environ.get('TRANSFERABILITY_UI_PORT', '3000')}"


class Home(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The folder that holds everything the project writes."""

    path: str = Field(description="The home folder, absolute")
    mlflow_uri: str | None = Field(None, description="A tracking server; empty: SQLite in the home folder")

    @classmethod
    def default(cls) -> "Home":
        """The home that the environment names."""
        return cls(path=str(default_home()), mlflow_uri=os.environ.get("MLFLOW_TRACKING_URI") or None)

    @property
    def folder(self) -> Path:
        """The home folder."""
        return Path(self.path)

    @property
    def data(self) -> Path:
        """Where the data sets lie."""
        return default_data(self.folder)

    @property
    def store(self) -> Store:
        """The files of all studies."""
        return Store(self.folder / "store")

    @property
    def warehouse(self) -> Warehouse:
        """The DuckDB files of all studies."""
        return Warehouse(self.folder / "warehouse")

    @property
    def reports(self) -> Path:
        """The folder of the report pages."""
        return self.folder / "reports"

    @property
    def tracking(self) -> Tracking:
        """MLflow; one object a process, since Dagster makes its resources anew for every run."""
        return _tracking(self.folder, self.mlflow_uri, mlflow_address())


@cache
def _tracking(folder: Path, uri: str | None, ui: str) -> Tracking:
    return Tracking(folder, uri, ui)
