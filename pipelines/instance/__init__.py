"""The project's own Dagster instance in the home folder, shared by the command line and the UI."""

import os
import shutil
from pathlib import Path

import dagster as dg

from resources.errors import StoreError

_SETTINGS = Path(__file__).parent / "dagster.yaml"


def prepare_instance(home: Path) -> Path:
    """Make the instance's folder, with the shipped settings unless it has its own, and name it in DAGSTER_HOME.

    Raises:
        StoreError: if the home folder cannot be written.
    """
    folder = home / "dagster"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "dagster.yaml").exists():
            shutil.copyfile(_SETTINGS, folder / "dagster.yaml")
    except OSError as error:
        raise StoreError(
            f"home folder {home}: cannot be written ({error.strerror}); choose another by TRANSFERABILITY_HOME"
        ) from None
    os.environ["DAGSTER_HOME"] = str(folder)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    return folder


def open_instance(home: Path) -> dg.DagsterInstance:
    """The instance, opened; use it as a context manager."""
    prepare_instance(home)
    return dg.DagsterInstance.get()
