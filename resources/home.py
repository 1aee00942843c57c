"""The home folder as one Dagster resource: where the store, the warehouse, MLflow and the reports lie.

Which environment variables choose it is decided here and nowhere else.
"""

import os
from functools import cache
from pathlib import Path

import dagster as dg
from pydantic import ConfigDict, Field, field_validator

from resources.addresses import credentials, page_address, without_credentials
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


def tracking_server() -> str | None:
    """`MLFLOW_TRACKING_URI`, which may hold a password; None where runs go to the embedded store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or None


class Home(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The folder that holds everything the project writes."""

    model_config = ConfigDict(hide_input_in_errors=True)  # what is refused may hold a password

    path: str = Field(description="The home folder, absolute")
    mlflow_uri: str | None = Field(
        None,
        description="A tracking server, without a password; empty: the one that MLFLOW_TRACKING_URI names",
    )

    @field_validator("mlflow_uri")
    @classmethod
    def _holds_no_password(cls, value: str | None) -> str | None:
        if value and credentials(value):
            raise ValueError(
                "mlflow_uri: holds a password, which Dagster would store; set MLFLOW_TRACKING_URI instead"
            )
        return value

    @classmethod
    def default(cls) -> "Home":
        """The home that the environment names.

        Its tracking server is looked up when it is asked for: Dagster writes the values of a resource into its
        database with every job, and the server's address may hold a password.
        """
        return cls(path=str(default_home()), mlflow_uri=None)

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
        server = self.mlflow_uri or tracking_server()
        # A name and password in a server's address are left out: links stand in manifests and on pages.
        serves_pages = server is not None and server.startswith("http")
        ui = without_credentials(server or "") if serves_pages else page_address(self.folder, "mlflow")
        return _tracking(self.folder, server, ui)

    @property
    def dagster_address(self) -> str:
        """Where people open Dagster's pages."""
        return page_address(self.folder, "dagster")


@cache
def _tracking(folder: Path, uri: str | None, ui: str) -> Tracking:
    return Tracking(folder, uri, ui)
