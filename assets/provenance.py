"""What a materialization was made from, as the tags that Dagster's stale mark reads.

Events logged by hand carry no provenance of their own; these few lines write it. The tag names are Dagster's internal
ones and are pinned by a test.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import dagster as dg

from resources.home import PROJECT_ROOT

DATA_VERSION = "dagster/data_version"
DATA_VERSION_IS_USER_PROVIDED = "dagster/data_version_is_user_provided"
CODE_VERSION = "dagster/code_version"
INPUT_DATA_VERSION = "dagster/input_data_version"
INPUT_EVENT_POINTER = "dagster/input_event_pointer"

EVENTS_ARE_LOGGED = "__source_asset_observation__"
"""In an output's metadata: the events of the asset have been logged, and the output stands for none."""


@dataclass(frozen=True)
class Parents:
    """The latest events of an asset's parents at the moment before it began to read them.

    Args:
        latest: by parent key, the event's storage id and its data version.
    """

    latest: dict[str, tuple[int, str]]

    def tags(self, data_version: str, code_version: str) -> dict[str, str]:
        """The tags of a materialization with that version, made from these parents.

        The partition is none of them: Dagster takes few characters in a tag, and tasks may be called anything.
        """
        tags = {
            DATA_VERSION: data_version,
            DATA_VERSION_IS_USER_PROVIDED: "true",
            CODE_VERSION: code_version,
        }
        for key, (storage_id, version) in self.latest.items():
            tags[f"{INPUT_DATA_VERSION}/{key}"] = version
            tags[f"{INPUT_EVENT_POINTER}/{key}"] = str(storage_id) if storage_id else "NULL"
        return tags


def parents_now(instance: dg.DagsterInstance, keys: Sequence[list[str]]) -> Parents:
    """The state of the given assets as the instance knows it now."""
    latest = {}
    for path in keys:
        key = dg.AssetKey(path)
        records = instance.fetch_materializations(key, limit=1).records
        if records:
            event = records[0].asset_materialization
            version = (event.tags or {}).get(DATA_VERSION, "INITIAL") if event else "INITIAL"
            latest[key.to_user_string()] = (records[0].storage_id, version)
        else:
            latest[key.to_user_string()] = (0, "INITIAL")
    return Parents(latest)


@cache
def git_commit() -> str | None:
    """The commit of the project's working tree, or None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - git is found on the path, as everywhere
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
