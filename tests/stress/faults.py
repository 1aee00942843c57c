"""Runs a small study on a disk that fills up, on a read-only home, without memory for one source, with times in the future.

`python -m tests.stress.faults` prints what it tried, that each failure was said in a line without a traceback, and that
the next plain run gave the tables of an undisturbed run. Small disks are mounted as tmpfs, which only root may do; where
that is refused, those trials are skipped and say so.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.stress.together import Rows, finish, new_home, rows, start

DISKS_MB = (1, 30, 130, 300)
"""From no room for Dagster's own files to room for most of the eight source models of 45 MB and their embeddings."""

_NO_MEMORY = """
import sys
import numpy as np
from assets.models.assets import SOURCE_MODEL
from pipelines.cli import main
make = SOURCE_MODEL.make
def greedy(work):
    if work.partition == "even":
        np.ones(1 << 46)
    make(work)
object.__setattr__(SOURCE_MODEL, "make", greedy)
sys.exit(main(["run", "small"]))
"""


class NotHereError(Exception):
    """A trial that this machine does not allow."""


def small_disk(place: Path, megabytes: int, *options: str) -> None:
    """Mount a tmpfs, or with the option `remount` change it."""
    chosen = ",".join([*options, f"size={megabytes}m"])
    command = ["mount", "-t", "tmpfs", "-o", chosen, "tmpfs", str(place)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotHereError(f"a small disk cannot be mounted here ({done.stderr.strip()})")


def refused(home: Path, *words: str) -> None:
    """A run that fails with a clear line, and leaves no temporary file."""
    process = start(home, "pipelines.cli", "run", "small")
    out, err = process.communicate(timeout=900)
    assert process.returncode not in {0, None}, "the run did not notice"
    assert "Traceback" not in out + err, err[-1500:]
    said = [line for line in err.splitlines() if line.startswith(("transferability: ", "failed: "))]
    assert any(word in line for line in said for word in words), f"no clear line: {err[-1500:]}"
    assert not list(home.rglob("*.tmp")), [path.name for path in home.rglob("*.tmp")]


def heals(home: Path, undisturbed: Rows) -> None:
    """A plain run ends well with the tables of an undisturbed run."""
    finish(start(home, "pipelines.cli", "run", "small"))
    found = rows(home)
    different = [table for table in undisturbed if found.get(table) != undisturbed[table]]
    assert not different, f"other rows in {different}"


def disk_full(root: Path, undisturbed: Rows) -> int:
    """Disks of several sizes, each enlarged after it was full."""
    for size in DISKS_MB:
        home = root / f"disk-{size}"
        home.mkdir()
        small_disk(home, size)
        try:
            new_home(root, home.name)
            refused(home, "space", "disk", "full", "cannot be written")
            small_disk(home, 4000, "remount")
            heals(home, undisturbed)
        except AssertionError as error:
            raise AssertionError(f"{size} MB: {error}") from error
        finally:
            subprocess.run(["umount", str(home)], check=True)
    return len(DISKS_MB)


def read_only_home(root: Path, undisturbed: Rows) -> int:
    """A home that is read-only before anything is in it but the study, and one that becomes so half-way."""
    for done in ("nothing", "statistics"):
        home = root / f"read-only-{done}"
        home.mkdir()
        small_disk(home, 4000)
        try:
            new_home(root, home.name)
            if done == "statistics":
                finish(start(home, "pipelines.cli", "run", "small", "--only", "statistics"))
            small_disk(home, 4000, "remount", "ro")
            refused(home, "Read-only", "read-only", "readonly", "cannot be written")
            small_disk(home, 4000, "remount", "rw")
            heals(home, undisturbed)
        except AssertionError as error:
            raise AssertionError(f"after {done}: {error}") from error
        finally:
            subprocess.run(["umount", str(home)], check=True)
    return 2


def out_of_memory(root: Path, undisturbed: Rows) -> int:
    """One source's training asks for 512 TB; the other sources are made all the same and not made again."""
    home = new_home(root, "memory")
    process = subprocess.Popen(
        [sys.executable, "-c", _NO_MEMORY], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "TRANSFERABILITY_HOME": str(home), "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": ""},
    )  # fmt: skip
    out, err = process.communicate(timeout=900)
    assert process.returncode == 1, out + err
    assert "Traceback" not in err, err[-1500:]
    assert any(line.startswith("failed: ") and "allocate" in line for line in err.splitlines()), err[-1500:]
    models = sorted((home / "store" / "small" / "source_model").glob("*.safetensors"))
    assert len(models) == 7, [path.name for path in models]
    before = {path: path.stat().st_mtime_ns for path in models}
    heals(home, undisturbed)
    assert all(path.stat().st_mtime_ns == before[path] for path in models), "finished sources were made again"
    return 1


def clock_set_back(root: Path, undisturbed: Rows) -> int:
    """Everything was written while the clock was a year ahead: nothing is made again, nothing is lost."""
    home = new_home(root, "clock")
    ahead = ("faketime", "-f", "+365d")  # Debian's package of that name
    finish(start(home, "pipelines.cli", "run", "small", "--only", "statistics", before=ahead))
    manifests = [path.read_text() for path in (home / "store").rglob("*.json")]
    year = str((datetime.now(UTC) + timedelta(days=365)).year)
    assert any(f'"{year}-' in text for text in manifests), "the clock was not ahead"
    written = time.time_ns() + 365 * 24 * 3600 * 10**9  # the kernel's own clock, which dates files, was not
    for folder in ("store", "warehouse", "reports"):
        for path in (home / folder).rglob("*"):
            os.utime(path, ns=(written, written))
    (said,) = finish(start(home, "pipelines.cli", "run", "small", "--only", "statistics"))
    assert "everything is up to date" in said, said
    heals(home, undisturbed)
    return 1


TRIALS: dict[str, Callable[[Path, Rows], int]] = {
    "disk full": disk_full,
    "read-only home": read_only_home,
    "out of memory in one source": out_of_memory,
    "clock set back": clock_set_back,
}


def main() -> int:
    """The command line of this script; the names of trials may follow."""
    lost = 0
    with tempfile.TemporaryDirectory() as name:
        alone = new_home(Path(name), "alone")
        finish(start(alone, "pipelines.cli", "run", "small"))
        undisturbed = rows(alone)
        for trial in sys.argv[1:] or TRIALS:
            try:
                print(f"{trial}: {TRIALS[trial](Path(name), undisturbed)} tried, 0 lost", flush=True)
            except NotHereError as reason:
                print(f"{trial}: skipped, {reason}", flush=True)
            except AssertionError as error:
                lost += 1
                print(f"{trial}: LOST {error}", flush=True)
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
