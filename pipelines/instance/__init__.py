"""The project's own Dagster instance in the home folder, shared by the command line and the UI."""

import os
from pathlib import Path

import dagster as dg
from filelock import FileLock

from resources.errors import StoreError
from resources.store import write_bytes

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
            write_bytes(folder / "dagster.yaml", _SETTINGS.read_bytes())
    except OSError as error:
        raise StoreError(
            f"home folder {home}: cannot be written ({error.strerror}); choose another by TRANSFERABILITY_HOME"
        ) from None
    os.environ["DAGSTER_HOME"] = str(folder)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    return folder


def open_instance(home: Path) -> dg.DagsterInstance:
    """The instance, opened; use it as a context manager."""
    with FileLock(prepare_instance(home) / ".open.lock"):  # several processes making a fresh one would race
        instance = dg.DagsterInstance.get()
        instance.get_runs(limit=1)
        instance.all_asset_keys()
        return instance
