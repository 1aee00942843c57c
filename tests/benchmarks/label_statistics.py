"""How long label statistics take at the sizes of the paper's data sets, beside loops over pairs.

Run: python -m tests.benchmarks.label_statistics [--pairs 60] [--full] [--large]
It prints Markdown tables. A loop is timed on `--pairs` pairs drawn at random and scaled to all of them;
`--full` times every pair (half an hour). `--large` adds 1,000 tasks and the growth in rows up to 20 million,
from Parquet.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[2]))

from assets.statistics import label_statistics
from assets.statistics.coding import task_codings
from assets.statistics.counts import Indicators, gram
from assets.statistics.entropy import estimates, pair_sums
from assets.statistics.from_labels import count_labels

SEED = 0


@dataclass(frozen=True)
class Size:
    """One data set's shape."""

    name: str
    rows: int
    tasks: int
    missing: float = 0.0
    identity: int = 0


CELEBA = Size("CelebA 202,599×40", 202_599, 40)
CELEBA_IDENTITY = Size("CelebA and identity (10,177 values)", 202_599, 40, identity=10_177)
AWA2 = Size("AwA2 37,322×85", 37_322, 85)
CUB = Size("CUB 11,788×312, 20 % missing", 11_788, 312, missing=0.2)
SIZES = {size.name: size for size in (CELEBA, CELEBA_IDENTITY, AWA2, CUB)}


def make_labels(size: Size, seed: int = SEED) -> pl.DataFrame:
    """Random labels of one size: attributes of 2 to 50 % positives, a tenth of the rows in split test."""
    rng = np.random.default_rng(seed)
    columns: dict[str, pl.Series] = {}
    for i in range(size.tasks):
        values = pl.Series((rng.random(size.rows) < rng.uniform(0.02, 0.5)).astype(np.int8))
        if size.missing:
            values = values.zip_with(
                pl.Series(rng.random(size.rows) >= size.missing), pl.Series([None], dtype=pl.Int8)
            )
        columns[f"task_{i:03d}"] = values
    if size.identity:
        columns["identity"] = pl.Series(rng.integers(0, size.identity, size.rows))
    columns["split"] = pl.Series(np.where(rng.random(size.rows) < 0.9, "train", "test"))
    return pl.DataFrame(columns)


def seconds(work: Callable[[], object], repeats: int = 7) -> float:
    """The median of several runs after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def matrix(labels: pl.DataFrame) -> object:
    """The matrix of conditional entropies alone, one split, without frames."""
    counted = count_labels(labels)
    return estimates(pair_sums(counted.counts, 0), counted.sources, counted.targets)


def plain_gram(labels: pl.DataFrame) -> object:
    """The least that any Gram method does: 0/1 columns (and those of validity) as float32, and their product."""
    columns = []
    for task in labels.columns:
        column = labels[task]
        if column.null_count():
            columns.append(column.is_not_null().to_numpy())
            column = column.fill_null(0)
        columns.append(column.to_numpy())
    one_hot = np.array(columns, dtype=np.float32)
    return one_hot @ one_hot.T


def pair_loops(labels: pl.DataFrame, pairs: list[tuple[str, str]]) -> dict[str, Callable[[], object]]:
    """The usual ways, each a loop over pairs on the rows where both labels are known."""
    from pyitlib import discrete_random_variable as drv
    from sklearn.metrics import mutual_info_score

    raw = {t: labels[t].fill_null(-1).to_numpy() for t in labels.columns}

    def known(z: str, y: str) -> tuple[np.ndarray, np.ndarray]:
        if not (labels[z].null_count() or labels[y].null_count()):
            return raw[z], raw[y]
        both = (raw[z] >= 0) & (raw[y] >= 0)
        return raw[z][both], raw[y][both]

    def crosstab() -> None:
        for z, y in pairs:
            table = pd.crosstab(*known(z, y)).to_numpy()
            margin = table.sum(axis=1, keepdims=True)
            with np.errstate(divide="ignore", invalid="ignore"):
                np.nansum(table * np.log(margin / table)) / table.sum()

    def mutual_information() -> None:
        for z, y in pairs:
            of_z, of_y = known(z, y)
            p = np.bincount(of_y) / len(of_y)
            -(p[p > 0] * np.log(p[p > 0])).sum() - mutual_info_score(of_z, of_y)

    def pyitlib() -> None:
        for z, y in pairs:
            of_z, of_y = known(z, y)
            drv.entropy_conditional(of_y, of_z, base=np.e)

    return {
        "pandas.crosstab": crosstab,
        "scikit-learn mutual_info_score": mutual_information,
        "pyitlib": pyitlib,
    }


def compare(size: Size, pairs: int | None) -> list[str]:
    """Rows of the Markdown table for one size."""
    labels = make_labels(size)
    plain = labels.drop("split")
    names = plain.columns
    every = [(z, y) for z in names for y in names if z != y]
    rng = np.random.default_rng(SEED)
    drawn = (
        every
        if pairs is None
        else [every[i] for i in rng.choice(len(every), min(pairs, len(every)), replace=False)]
    )
    ours = {
        "label_statistics, all frames, splits train, test, all": seconds(
            lambda: label_statistics(labels, split_column="split")
        ),
        "label_statistics, all frames": seconds(lambda: label_statistics(plain)),
        "the matrix alone": seconds(lambda: matrix(plain)),
    }
    base = ours["label_statistics, all frames"]
    limit = None if size.identity else seconds(lambda: plain_gram(plain))
    loops: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, work in pair_loops(plain, drawn).items():
            start = time.perf_counter()
            work()
            loops[name] = (time.perf_counter() - start) * len(every) / len(drawn)
    rows = [
        f"| {size.name} | {name} | {value * 1e3:,.1f} ms | {value / base:,.2f} |"
        for name, value in ours.items()
    ]
    if limit is not None:
        rows.append(
            f"| {size.name} | NumPy one-hot Gram product alone | {limit * 1e3:,.1f} ms | {limit / base:,.2f} |"
        )
    for name, value in loops.items():
        note = "" if len(drawn) == len(every) else f" ({len(drawn)} of {len(every):,} pairs, scaled)"
        rows.append(f"| {size.name} | {name}{note} | {value:,.1f} s | {value / base:,.0f} |")
    return rows


def compare_recount() -> list[str]:
    """One task changed: only its pairs, against everything."""
    rows = []
    for size in (CELEBA, CUB):
        plain = make_labels(size).drop("split")
        before = label_statistics(plain)

        def only_its_pairs(plain: pl.DataFrame = plain, before: object = before) -> object:
            _, codings = task_codings(plain.lazy(), plain.schema, plain.columns)
            x = Indicators(codings).fill(plain.select(c.places(plain.schema[c.task]) for c in codings))
            gram(x[:2], x)
            kept = (pl.col("source") != plain.columns[0]) & (pl.col("target") != plain.columns[0])
            return [frame.filter(kept) for frame in (before.joint_counts, before.conditional_entropy)]

        part, whole = seconds(only_its_pairs), seconds(lambda plain=plain: label_statistics(plain))
        rows.append(f"| {size.name} | {part * 1e3:,.0f} ms | {whole * 1e3:,.0f} ms | {whole / part:.1f} |")
    return rows


_FROM_PARQUET = """
import sys, time
from assets.statistics import label_statistics
from tests.processes import own_peak_gb
start = time.perf_counter()
result = label_statistics(sys.argv[1], split_column="split")
print(time.perf_counter() - start, own_peak_gb(), result.conditional_entropy["n"].max())
"""


_IN_MEMORY = """
import sys
from assets.statistics import label_statistics
from tests.benchmarks.label_statistics import SIZES, make_labels
from tests.processes import own_peak_gb
label_statistics(make_labels(SIZES[sys.argv[1]]), split_column="split")
print(own_peak_gb())
"""


def peak_memory(size: Size) -> float:
    """Peak memory (GB) of a process that makes the labels and all frames of splits train, test and all."""
    done = subprocess.run(
        [sys.executable, "-c", _IN_MEMORY, size.name],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def from_parquet(rows: int, tasks: int) -> tuple[float, float]:
    """Seconds and peak memory (GB) of a process that reads a Parquet file of that size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.parquet"
        part = make_labels(Size("", min(rows, 1_000_000), tasks))
        pl.concat([part.lazy()] * (rows // part.height)).sink_parquet(path, row_group_size=250_000)
        root = Path(__file__).parents[2]
        done = subprocess.run(
            [sys.executable, "-c", _FROM_PARQUET, str(path)],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    taken, memory, _ = map(float, done.stdout.split())
    return taken, memory


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=60, help="pairs on which a loop is timed")
    parser.add_argument("--full", action="store_true", help="time the loops on every pair")
    parser.add_argument("--large", action="store_true", help="add 1,000 tasks and up to 20 million rows")
    arguments = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, load {load:.1f}, ",
        end="",
    )
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, Polars {pl.__version__}\n")
    print("| labels | way | time | relative to label_statistics, all frames |\n|---|---|---:|---:|")
    for size in SIZES.values():
        print(*compare(size, None if arguments.full else arguments.pairs), sep="\n", flush=True)
    print("\n| labels, all frames of three splits | peak memory |\n|---|---:|")
    for size in SIZES.values():
        print(f"| {size.name} | {peak_memory(size):.2f} GB |", flush=True)
    print(
        "\n| one task changed | its pairs only, at least | everything again | ratio |\n|---|---:|---:|---:|"
    )
    print(*compare_recount(), sep="\n", flush=True)
    if arguments.large:
        print("\n| from Parquet, three splits | time | peak memory |\n|---|---:|---:|")
        for rows, tasks in ((100_000, 1_000), (1_000_000, 40), (5_000_000, 40), (20_000_000, 40)):
            taken, memory = from_parquet(rows, tasks)
            print(f"| {rows:,}×{tasks:,} | {taken:.1f} s | {memory:.2f} GB |", flush=True)


if __name__ == "__main__":
    main()
