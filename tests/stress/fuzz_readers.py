"""Feeds damaged files to every reader for a while: it may read them or refuse them in one line, and nothing else.

`python -m tests.stress.fuzz_readers --reader celeba --minutes 10` prints how many damaged inputs were tried, read and
refused, and every crash or hang with the number of its case; `--case N` repeats one and shows the traceback. The cases
run in a worker process with a limit on its memory, so that a death of the interpreter is a finding like any other.
"""

import argparse
import contextlib
import faulthandler
import io
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from assets.study import load_study
from resources.datasets import open_dataset
from resources.errors import TransferabilityError
from tests.resources.datasets.official_formats import write_awa2, write_celeba, write_cub
from tests.stress.mutate import damage_folder, damaged

READERS = ("celeba", "awa2", "cub", "table", "parquet", "study")
HANG_SECONDS = 60
MEMORY_BYTES = 6 << 30
LONGEST_MESSAGE = 1200  # file names of 300 characters may stand in it

STUDY = b"""\
title: A study
description: "with everything: that a file may hold"
dataset:
  reader: digits
  options: {per_class: 6, tasks: [digit, is_0, even, prime], seed: 3, test_fraction: 0.3}
sources: [digit, is_0]
targets: [is_0, even]
recipe: {image_size: 16, epochs: 1, batch_size: 16, learning_rate: 0.001, seed: 0}
network: &net {backbone: resnet18}
networks:
  is_0: *net
probe: {c_grid: [0.1, 1.0], tolerance: 0.001}
uncertainty: {permutations: 20}
tolerate_unreadable_images: 0
owner: team:vision
nightly: "0 3 * * *"
"""

CSV = b'''\
image,split,colour,round,size,weight,comment
0.png,train,red,yes,1,0.5,"a, b"
1.png,train,green,no,2,1.25,"say ""hi"""
2.png,test,blue,yes,3,NaN,
3.png,train,red,no,1,3e2,"two
lines"
4.png,test,green,,2,,-
5.png,train,blue,yes,3,1,x
6.png,train,red,no,1,2,y
7.png,test,green,yes,2,3,z
'''

TABLE_OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"tasks": ["colour", "round"]},
    {"image_column": "image", "split_column": "split", "tasks": ["colour", "size"]},
    {"image_column": "image", "stratify_by": "colour"},
    {"group_by": "colour", "bins": {"weight": 2}},
    {"one_vs_rest": {"colour": {"min_count": 1}}, "tasks": ["round"]},
    {"one_vs_rest": {"colour": {"values": ["red", "blue"]}}, "categorical": ["weight"]},
    {"source_only": ["colour"], "tasks": ["colour", "round", "size"]},
    {"seed": -(2**62), "test_fraction": 0.999},
)

VALUES: tuple[tuple[Any, ...], ...] = (
    (None,), (True, False, None), (0, 1, 2**31, -(2**63)), (0, 2**64 - 1), (0.0, float("nan"), float("inf"), 1e308),
    ("", " ", "a", "A", "\x00", "🦆", "x" * 300, "1", "01"), (b"", b"\xff"), ([1, 2], []), ({"a": 1}, {"a": None}),
    (date(2019, 10, 27), None), (datetime(2019, 10, 27), datetime(1, 1, 1)), (Decimal("1.10"), Decimal("2")),
)  # fmt: skip


def prepare(reader: str, folder: Path) -> None:
    """The undamaged files that a reader's cases start from."""
    if reader == "celeba":
        write_celeba(folder / "celeba", 20, images=False)
    elif reader == "awa2":
        write_awa2(folder / "awa2", 20, images=False)
    elif reader == "cub":
        write_cub(folder / "cub" / "CUB_200_2011", 10, images=False)


def run_case(reader: str, pristine: Path, folder: Path, generator: random.Random) -> str:
    """Damage, read, and say `read` or `refused`; anything else that is raised is a finding."""
    make: Callable[[], object]
    if reader in {"table", "parquet"}:
        suffix = ".parquet" if reader == "parquet" else generator.choice((".csv", ".csv", ".tsv"))
        path = folder / f"labels{suffix}"
        path.write_bytes(_parquet(generator) if reader == "parquet" else _csv(suffix, generator))
        options = {**generator.choice(TABLE_OPTIONS), "table": path.name}

        def make() -> object:
            return open_dataset("table", folder, options).read()
    elif reader == "study":
        path = folder / "mine.yaml"
        path.write_bytes(damaged(STUDY, generator))

        def make() -> object:
            return load_study(path, folder)
    else:
        shutil.copytree(pristine, folder, dirs_exist_ok=True)
        damage_folder(folder, generator)

        def make() -> object:
            return open_dataset(reader, folder, {}).read()

    try:
        result = make()
    except TransferabilityError as error:
        _check_message(str(error))
        return "refused"
    _check_result(result)
    return "read"


def _csv(suffix: str, generator: random.Random) -> bytes:
    content = CSV
    if suffix == ".tsv":
        content = content.replace(b",", b"\t")
    elif generator.random() < 0.3:
        content = content.replace(b",", b";")
    return damaged(content, generator)


def _parquet(generator: random.Random) -> bytes:
    """A table of columns of any type, sometimes with names that collide with others, often with damaged bytes."""
    names = ["image", "split", "colour", "round", "size", "weight", "Colour", "image_id", " ", "é"]
    generator.shuffle(names)
    columns = []
    for name in names[: generator.randint(1, len(names))]:
        values = generator.choice(VALUES)
        columns.append(pl.Series(name, [generator.choice(values) for _ in range(12)], strict=False))
    stream = io.BytesIO()
    pl.DataFrame(columns).write_parquet(stream)
    return stream.getvalue() if generator.random() < 0.5 else damaged(stream.getvalue(), generator)


def _check_message(message: str) -> None:
    assert message.strip(), "an error without a text"
    assert len(message.splitlines()) == 1, f"more than one line: {message!r}"
    assert message.isprintable() or "\t" in message, f"control characters: {message!r}"
    assert len(message) < LONGEST_MESSAGE, f"{len(message)} characters: {message[:200]!r}"


def _check_result(result: object) -> None:
    frame = getattr(result, "frame", None)
    if frame is None:
        return
    assert frame["image_id"].to_list() == list(range(len(frame)))
    assert set(frame["split"].unique()) <= {"train", "test"}
    for task in result.tasks:  # type: ignore[attr-defined]
        known = frame[task.name].drop_nulls()
        assert known.is_between(0, len(task.value_names) - 1).all(), f"a code without a name in {task.name}"


def generator_of(seed: int, reader: str, case: int) -> random.Random:
    """The case's own generator, so that any case can be repeated alone."""
    return random.Random(f"{seed} {reader} {case}")  # noqa: S311 - of damage, not of secrets


def work(reader: str, seed: int, first: int, until: float, journal: Path) -> None:
    """Run cases until the time is up; the journal's lines are `case begin`, then `case outcome`."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with tempfile.TemporaryDirectory() as name, journal.open("a", buffering=1, encoding="utf-8") as log:
        pristine, folder = Path(name) / "pristine", Path(name) / "data"
        pristine.mkdir()
        prepare(reader, pristine)
        case = first
        while time.time() < until:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            log.write(f"{case} begin\n")
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            try:
                outcome = run_case(reader, pristine, folder, generator_of(seed, reader, case))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                outcome = f"FINDING {type(error).__name__}: {str(error)[:300]!r}"
            faulthandler.cancel_dump_traceback_later()
            log.write(f"{case} {outcome}\n")
            case += 1


def fuzz(reader: str, minutes: float, seed: int) -> tuple[Counter[str], list[str]]:
    """Run a worker, and another where it died, until the time is up; the counts and the findings."""
    until, first = time.time() + 60 * minutes, 0
    counts: Counter[str] = Counter()
    findings: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        while time.time() < until:
            journal = Path(name) / f"{first}.txt"
            journal.touch()
            command = [sys.executable, "-m", __spec__.name, "--reader", reader, "--seed", str(seed)]
            done = subprocess.run(
                [*command, "--worker", str(first), str(until), str(journal)], check=False, capture_output=True
            )
            lines = [line.split(" ", 1) for line in journal.read_text(encoding="utf-8").splitlines()]
            ended = {case: outcome for case, outcome in lines if outcome != "begin"}
            counts.update(outcome.split(" ", 1)[0] for outcome in ended.values())
            findings += [f"case {case}: {outcome}" for case, outcome in ended.items() if "FINDING" in outcome]
            if done.returncode == 0:
                break
            assert lines, done.stderr.decode()[-2000:]
            counts["FINDING"] += 1
            findings.append(
                f"case {lines[-1][0]}: the process ended with {done.returncode}: {done.stderr[-300:]!r}"
            )
            first = int(lines[-1][0]) + 1
    return counts, findings


def main() -> int:
    """The command line of this script."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--reader", choices=READERS, help="only this one (default: all)")
    options.add_argument("--minutes", type=float, default=10.0, help="for each reader")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--case", type=int, help="repeat one case of a reader and show its traceback")
    options.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.worker:
        first, until, journal = chosen.worker
        work(chosen.reader, chosen.seed, int(first), float(until), Path(journal))
        return 0
    if chosen.case is not None:
        return repeat(chosen.reader, chosen.seed, chosen.case)
    found = 0
    for reader in [chosen.reader] if chosen.reader else READERS:
        counts, findings = fuzz(reader, chosen.minutes, chosen.seed)
        print(
            f"{reader}: {counts.total()} damaged inputs in {chosen.minutes:g} min (seed {chosen.seed}): "
            f"{counts['read']} read, {counts['refused']} refused in one line, {counts['FINDING']} crashes or hangs",
            flush=True,
        )
        for finding in findings[:20]:
            print(f"  {finding}")
        found += len(findings)
    return int(found > 0)


def repeat(reader: str, seed: int, case: int) -> int:
    """Run one case here, leave its files behind, and let what it raises through."""
    root = Path(tempfile.mkdtemp())
    (root / "data").mkdir()
    (root / "pristine").mkdir()
    with contextlib.suppress(OSError):
        prepare(reader, root / "pristine")
    print(f"files in {root / 'data'}", flush=True)
    print(run_case(reader, root / "pristine", root / "data", generator_of(seed, reader, case)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
