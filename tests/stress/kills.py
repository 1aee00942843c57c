"""Kill a small study with SIGKILL again and again, run it again each time, and compare with an undisturbed run.

``python -m tests.stress.kills [--kills N] [--mode chain|random] [--stages A B] [--seed S] [--folder DIR]`` exits
with 1 if anything differs. A round starts with an empty home folder and ends with a plain run to the end.

* ``chain``: one kill in every stage of the chain, at a random moment of it, each run going on from the kill before;
  rounds until N kills are done. Fifty kills meet every stage three times or more.
* ``random``: one kill a round, at a random moment of the whole run.

At the end of every round: the embeddings' bytes and all final tables (without `seconds`) are those of the undisturbed
run; what was finished at a kill was not made again; no temporary file, checkpoint or open run is left; DuckDB's file can
be read whole, and MLflow's and Dagster's SQLite files pass `PRAGMA integrity_check`.
"""

import argparse
import collections
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.stress.together import rows

ROOT = Path(__file__).parents[2]
STUDY = """
dataset:
  reader: digits
  options: {per_class: 12, tasks: [digit, is_0, even, segment_c, prime, curved]}
recipe: {image_size: 16, epochs: 2, batch_size: 32, learning_rate: 0.05}
uncertainty: {permutations: 20}
"""
STAGES = (
    "labels", "label_table", "label_counts", "joint_counts", "conditional_entropy", "hardness", "label_uncertainty",
    "label_report", "pixels", "source_model", "embedding", "transfer", "bound", "transfer_correlation",
    "hardness_correlation", "report",
)  # fmt: skip
_SHARE = 0.5  # of a stage's time in the undisturbed run: a kill that comes too late hits the stage after it
TEMPORARY = (".tmp", ".partial", ".shards", ".checkpoint", ".wal")
CHILD = """
import sys
from pipelines import cli, console
announce = console.Console.announce
def told(self, stage, n):
    print("@" + stage.name, flush=True)
    announce(self, stage, n)
console.Console.announce = told
sys.exit(cli.main(["run", "small"]))
"""


class Run:
    """One `transferability run` in a process of its own that says which stage it is at."""

    def __init__(self, home: Path) -> None:
        environment = {**os.environ, "TRANSFERABILITY_HOME": str(home), "OMP_NUM_THREADS": "2"}
        self.began = time.monotonic()
        self.stages: list[tuple[str, float]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD], cwd=ROOT, env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._arrived = threading.Condition()
        self._said: list[str] = []
        self._readers = [threading.Thread(target=self._listen), threading.Thread(target=self._drain)]
        for reader in self._readers:
            reader.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._arrived:
                if line.startswith("@"):
                    self.stages.append((line[1:].strip(), time.monotonic()))
                self._arrived.notify()
        with self._arrived:
            self._arrived.notify()

    def _drain(self) -> None:
        assert self.process.stderr is not None
        self._said.extend(self.process.stderr)

    def await_stage(self, stage: str) -> None:
        """Return when the stage has begun, or the run has ended."""
        with self._arrived:
            while stage not in [name for name, _ in self.stages] and self.process.poll() is None:
                self._arrived.wait(0.5)

    def stay(self, stage: str, seconds: float) -> None:
        """Return after so many seconds of the stage, or as soon as the next one has begun."""
        end = time.monotonic() + seconds
        with self._arrived:
            while self.stages and self.stages[-1][0] == stage and (left := end - time.monotonic()) > 0:
                if self.process.poll() is not None:
                    return
                self._arrived.wait(min(left, 0.5))

    def kill(self) -> str | None:
        """End it as a power cut would; the stage that it was at, or None where it had ended already."""
        if self.process.poll() is not None:
            self.end()
            return None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.end()
        return self.stages[-1][0] if self.stages else "start"

    def end(self) -> str:
        """Wait for it; its standard error."""
        self.process.wait()
        for reader in self._readers:
            reader.join()
        return "".join(self._said)

    def seconds(self) -> dict[str, float]:
        """How long each stage took."""
        ends = [began for _, began in self.stages[1:]] + [time.monotonic()]
        return {name: end - began for (name, began), end in zip(self.stages, ends, strict=True)}


def fresh_home(folder: Path) -> Path:
    """An empty home folder with the study in it."""
    (folder / "studies").mkdir(parents=True)
    (folder / "studies" / "small.yaml").write_text(STUDY)
    return folder


def run_to_the_end(home: Path) -> Run:
    """A plain run, which must succeed."""
    run = Run(home)
    said = run.end()
    if run.process.returncode != 0:
        raise SystemExit(f"the run failed with {run.process.returncode}:\n{said}")
    return run


def embeddings(home: Path) -> dict[str, str]:
    """SHA-256 of every embedding file."""
    files = sorted((home / "store" / "small" / "embedding").glob("*.safetensors"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def finished(home: Path) -> dict[str, str]:
    """When every finished output was made, by its manifest."""
    found = {}
    for path in (home / "store").rglob("*.manifest.json"):
        with contextlib.suppress(ValueError, OSError):
            found[path.relative_to(home).as_posix()] = json.loads(path.read_text())["created"]
    return found


def left_behind(home: Path) -> Iterator[str]:
    """Temporary files, open runs and damaged databases of a home in which nothing runs."""
    for path in home.rglob("*"):
        # Of the reports folder's own entries every hidden one, whatever its name, is half a report.
        if path.name.endswith(TEMPORARY) or (path.parent == home / "reports" and path.name.startswith(".")):
            yield f"left: {path.relative_to(home)}"
    for path in home.rglob("*.db"):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchall()
            if found != [("ok",)]:
                yield f"{path.relative_to(home)}: {found[:3]}"
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if "runs" in names:
                sql = "SELECT count(*) FROM runs WHERE status IN ('RUNNING', 'STARTED', 'STARTING', 'CANCELING')"
                ((open_runs,),) = connection.execute(sql).fetchall()
                if open_runs:
                    yield f"{path.relative_to(home)}: {open_runs} runs are open"


@dataclass
class Stress:
    """The kills, what each hit, and what was wrong after them."""

    folder: Path
    seed: int = 0
    hits: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    redone: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)  # noqa: S311 - moments, not secrets
        home = fresh_home(self.folder / "undisturbed")
        run = run_to_the_end(home)
        self.lasts = run.seconds()
        self.whole = time.monotonic() - run.began
        self.embeddings, self.tables = embeddings(home), rows(home)
        self.wrong += [f"undisturbed: {what}" for what in left_behind(home)]

    def chain_round(self, stages: Sequence[str]) -> None:
        """One kill in each of the stages, then a plain run to the end."""
        home = self._home()
        kept: dict[str, str] = {}
        for stage in stages:
            run = Run(home)
            run.await_stage(stage)
            run.stay(stage, self.draw.uniform(0, _SHARE * self.lasts[stage]))
            self._note(run, run.kill(), stage)
            kept |= {path: made for path, made in finished(home).items() if path not in kept}
        self._close_round(home, kept)

    def random_round(self) -> None:
        """One kill at a random moment of the whole run, then a plain run to the end."""
        home = self._home()
        run = Run(home)
        moment = self.draw.uniform(0, self.whole)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.process.wait(moment)
        self._note(run, run.kill(), f"{moment:.1f} s")
        self._close_round(home, finished(home))

    def _home(self) -> Path:
        return fresh_home(self.folder / f"round-{len(self.hits)}")

    def _note(self, run: Run, hit: str | None, aim: str) -> None:
        if hit is None:
            code, last = run.process.returncode, run.end().strip().rpartition("\n")[2]
            print(f"aimed at {aim}: the run had ended already ({code}), which is no kill", flush=True)
            if code != 0:
                self.wrong.append(f"a run that nobody killed ended with {code}: {last}")
            return
        self.hits.append(hit)
        print(f"kill {len(self.hits)}: aimed at {aim}, hit {hit}", flush=True)

    def _close_round(self, home: Path, kept: dict[str, str]) -> None:
        run_to_the_end(home)
        name = home.name
        if embeddings(home) != self.embeddings:
            self.wrong.append(f"{name}: embeddings differ from the undisturbed run's")
        found = rows(home)
        differing = [t for t in self.tables.keys() | found.keys() if found.get(t) != self.tables.get(t)]
        if differing:
            self.wrong.append(f"{name}: tables differ: {', '.join(sorted(differing))}")
        after = finished(home)
        redone = sorted(path for path, made in kept.items() if after.get(path) != made)
        self.redone += len(redone)
        self.wrong += [f"{name}: made again although finished: {path}" for path in redone]
        self.wrong += [f"{name}: {what}" for what in left_behind(home)]
        shutil.rmtree(home)


def main() -> int:
    """Do the kills and print what was found; 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--mode", choices=["chain", "random"], default="chain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="where `chain` kills")
    parser.add_argument("--folder", type=Path, help="where the homes are made (default: a temporary folder)")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        stress = Stress(given.folder or Path(folder), given.seed)
        print(f"undisturbed run: {stress.whole:.0f} s, {len(stress.tables)} tables", flush=True)
        while len(stress.hits) < given.kills:
            if given.mode == "chain":
                rare = [stage for stage in given.stages if stress.hits.count(stage) < 3]
                stress.chain_round((rare or given.stages)[: given.kills - len(stress.hits)])
            else:
                stress.random_round()
    print(f"{len(stress.hits)} kills in {time.monotonic() - began:.0f} s, seed {given.seed}")
    for stage, count in collections.Counter(stress.hits).most_common():
        print(f"  {stage}: {count}")
    print(f"finished outputs made again: {stress.redone}")
    for what in stress.wrong:
        print(f"WRONG: {what}")
    print(
        "embeddings, tables and databases as in the undisturbed run"
        if not stress.wrong
        else "not as it should be"
    )
    return 1 if stress.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
