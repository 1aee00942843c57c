"""Runs one study from several places at once and compares the tables with those of an undisturbed run.

`python -m tests.stress.together` tries: two command-line runs at once; eight processes that each train one source; a
reader that holds the DuckDB file open while a run publishes; a job launched as the web server launches it, beside a run
on the command line. It prints how many were tried, came out equal, and lost something. `--rounds N` repeats each.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb

from pipelines.instance import prepare_instance

TASKS = ("digit", "is_0", "is_1", "is_2", "is_3", "even", "prime", "curved")
STUDY = f"""\
dataset: {{reader: digits, options: {{per_class: 6, tasks: [{", ".join(TASKS)}]}}}}
recipe: {{image_size: 16, epochs: 1, batch_size: 16}}
uncertainty: {{permutations: 20}}
"""
VOLATILE = {"seconds", "publications"}  # how long a training took; when pieces were written

Rows = dict[str, list[tuple[object, ...]]]


def new_home(root: Path, name: str) -> Path:
    """A home folder with the study and nothing else."""
    home = root / name
    (home / "studies").mkdir(parents=True)
    (home / "studies" / "small.yaml").write_text(STUDY)
    return home


def start(
    home: Path, *arguments: str, threads: int = 1, before: Sequence[str] = ()
) -> "subprocess.Popen[str]":
    """The command line, in a process of its own; `before` is a command that starts it."""
    return subprocess.Popen(
        [*before, sys.executable, "-m", *arguments], env=_environment(home, threads), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def _environment(home: Path, threads: int = 1) -> dict[str, str]:
    return {
        **os.environ, "TRANSFERABILITY_HOME": str(home), "DAGSTER_HOME": str(home / "dagster"), "OMP_NUM_THREADS": str(threads),
        "MLFLOW_TRACKING_URI": "", "DAGSTER_DISABLE_TELEMETRY": "1",
    }  # fmt: skip


def finish(*processes: "subprocess.Popen[str]") -> list[str]:
    """What the processes said, once all have ended well; others raise."""
    said = []
    for process in processes:
        out, err = process.communicate(timeout=900)
        assert process.returncode == 0, f"exit code {process.returncode}: {out[-500:]} {err[-1500:]}"
        assert "Traceback" not in err, err[-1500:]
        said.append(out + err)
    return said


def rows(home: Path) -> Rows:
    """The rows of all tables, without what may differ between two equal runs."""
    with duckdb.connect(home / "warehouse" / "small.duckdb", read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        found = {}
        for name in names:
            if name in VOLATILE:
                continue
            columns = [column[0] for column in connection.execute(f'FROM "{name}" LIMIT 0').description]
            kept = ", ".join(f'"{column}"' for column in columns if column not in VOLATILE)
            found[name] = connection.execute(f'SELECT {kept} FROM "{name}" ORDER BY ALL').fetchall()
        return found


def two_runs(home: Path) -> None:
    """Two plain runs of the whole chain at once: the second says that it waits."""
    said = finish(start(home, "pipelines.cli", "run", "small"), start(home, "pipelines.cli", "run", "small"))
    assert sum("another run of small is under way" in text for text in said) == 1
    assert sum("everything is up to date" in text for text in said) == 1


_ONE_PARTITION = """
import sys
import dagster as dg
from pipelines.definitions import study_definitions
from pipelines.instance import open_instance
from pipelines.studies import find_studies
from resources.home import Home
home = Home.default()
study = find_studies(home.folder, home.data).get("small")
definitions = dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))
with open_instance(home.folder) as instance:
    for name in ("source_model", "embedding", "transfer"):
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(["small", name])], partition_key=sys.argv[1]
        )
        assert result.success
"""


def eight_partitions(home: Path) -> None:
    """Eight processes, each with one source's model, embedding and probes."""
    finish(start(home, "pipelines.cli", "run", "small", "--only", "statistics"))
    finish(
        start(home, "pipelines.cli", "run", "small", "--only", "models", "--sources", TASKS[0])
    )  # the pixels
    script = home / "one_partition.py"
    script.write_text(_ONE_PARTITION)
    command = [sys.executable, str(script)]
    environment = {**_environment(home), "PYTHONPATH": str(Path(__file__).parents[2])}
    finish(*[
        subprocess.Popen([*command, task], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for task in TASKS
    ])  # fmt: skip
    finish(start(home, "pipelines.cli", "run", "small"))


def a_reader(home: Path) -> None:
    """A reader holds the file open, and asks it again and again, until the run has ended and a minute has gone by."""
    finish(start(home, "pipelines.cli", "run", "small", "--only", "statistics"))
    began, asked = time.monotonic(), 0
    with duckdb.connect(home / "warehouse" / "small.duckdb", read_only=True) as connection:
        first = connection.execute("SELECT count(*), sum(hardness) FROM hardness").fetchone()
        run = start(home, "pipelines.cli", "run", "small")
        done = threading.Thread(target=lambda: finish(run))
        done.start()
        while done.is_alive() or time.monotonic() - began < 60:
            assert connection.execute("SELECT count(*), sum(hardness) FROM hardness").fetchone() == first
            with duckdb.connect(home / "warehouse" / "small.duckdb", read_only=True) as fresh:
                assert fresh.execute("SELECT count(*), sum(hardness) FROM hardness").fetchone() == first
            asked += 1
            time.sleep(0.1)
        done.join()
    assert run.returncode == 0
    assert asked > 50


def a_launched_job(home: Path) -> None:
    """The job as Dagster's own command launches it, and the command line's run, at once."""
    prepare_instance(home)
    job = ["dagster", "job", "execute", "-m", "pipelines.definitions", "-j", "small_study"]
    finish(start(home, *job), start(home, "pipelines.cli", "run", "small"))
    finish(start(home, "pipelines.cli", "run", "small"))


TRIALS: dict[str, Callable[[Path], None]] = {
    "two runs at once": two_runs,
    "eight partitions in eight processes": eight_partitions,
    "a reader holds the file open": a_reader,
    "a launched job and a run": a_launched_job,
}


def main() -> int:
    """The command line of this script."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--only", choices=TRIALS)
    chosen = options.parse_args()
    lost = 0
    with tempfile.TemporaryDirectory() as name:
        alone = new_home(Path(name), "alone")
        finish(start(alone, "pipelines.cli", "run", "small"))
        undisturbed = rows(alone)
        for trial in [chosen.only] if chosen.only else TRIALS:
            bad = []
            for number in range(chosen.rounds):
                home = new_home(Path(name), f"{trial.replace(' ', '-')}-{number}")
                try:
                    TRIALS[trial](home)
                    bad += [
                        f"{table} differs" for table, r in undisturbed.items() if rows(home).get(table) != r
                    ]
                except (AssertionError, subprocess.TimeoutExpired, duckdb.Error) as error:
                    bad.append(str(error))
            lost += len(bad)
            print(f"{trial}: {chosen.rounds} tried, {len(bad)} lost", flush=True)
            for text in bad:
                print(f"  {text}", flush=True)
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
