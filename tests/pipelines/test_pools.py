"""Runs that want the same pool take turns, whichever process they are in; others go on beside them."""

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from pipelines.instance import open_instance

_WORKER = """
import json, sys, time
from itertools import pairwise
from pathlib import Path
import dagster as dg
from assets.materialize import stage_asset
from assets.stage import Stage
from assets.study import open_study
from pipelines.instance import open_instance
from resources.home import Home
folder, name, pool = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
home = Home(path=str(folder), mlflow_uri="http://127.0.0.1:9")
def make(work):
    began = time.time()
    time.sleep(2.0)
    with work.file(".txt") as path:
        path.write_text("content")
    (folder / f"{name}.json").write_text(json.dumps([began, time.time()]))
study = open_study("tiny", {"dataset": {"reader": "digits"}}, Path("unused"))
with open_instance(folder) as instance:
    (folder / f"{name}.ready").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    asset = stage_asset(Stage(name, name, make=make, pool=pool), study)
    sys.exit(0 if dg.materialize([asset], resources={"home": home}, instance=instance).success else 1)
"""


def overlap(folder: Path, *pools: str) -> bool:
    """Whether assets of those pools, each made by a process of its own, were being made at one time."""
    names = [f"asset_{i}" for i in range(len(pools))]
    workers = [
        subprocess.Popen([sys.executable, "-c", _WORKER, str(folder), name, pool], stderr=subprocess.DEVNULL)
        for name, pool in zip(names, pools, strict=True)
    ]
    while not all((folder / f"{name}.ready").exists() for name in names):
        assert all(worker.poll() is None for worker in workers)
        time.sleep(0.05)
    (folder / "go").touch()
    assert [worker.wait(timeout=200) for worker in workers] == [0] * len(pools)
    spans = sorted(json.loads((folder / f"{name}.json").read_text()) for name in names)
    return any(later[0] < earlier[1] for earlier, later in pairwise(spans))


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["duckdb_writer", "gpu"])
def test_two_runs_of_one_pool_never_overlap(tmp_path: Path, pool: str) -> None:
    assert not overlap(tmp_path, pool, pool)
    with open_instance(tmp_path) as instance:
        assert instance.event_log_storage.get_concurrency_info(pool).claimed_slots == []


@pytest.mark.slow
def test_runs_of_different_pools_go_side_by_side(tmp_path: Path) -> None:
    """What shows that the test above could fail."""
    assert overlap(tmp_path, "duckdb_writer", "gpu")
