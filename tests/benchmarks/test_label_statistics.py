"""The promised speed of label statistics, as ratios of times in one process."""

import importlib.util
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from assets.statistics import label_statistics


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parent / "label_statistics.py"
    specification = importlib.util.spec_from_file_location("label_statistics_benchmark", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    import sys

    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def seconds_of_all_pairs(benchmark: ModuleType, labels: pl.DataFrame) -> dict[str, float]:
    """Every loop, timed on some pairs of each kind and scaled to all of them; pairs with an identity take longer."""
    names = labels.columns
    attributes = [name for name in names if name != "identity"]
    every = len(attributes) * (len(attributes) - 1)
    kinds = [([(z, y) for z in attributes[:6] for y in attributes[-6:]], every)]
    if len(attributes) < len(names):
        mixed = [pair for name in attributes[:6] for pair in ((name, "identity"), ("identity", name))]
        kinds.append((mixed, 2 * len(attributes)))
    loops: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for pairs, number in kinds:
            for way, work in benchmark.pair_loops(labels, pairs).items():
                loops[way] = loops.get(way, 0.0) + least_seconds(work, 3) * number / len(pairs)
    return loops


def least_seconds(work: Callable[[], object], repeats: int = 15) -> float:
    """The least of several runs, for both sides alike: what other processes take from one run says nothing of it."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "times_faster"), [("CELEBA", 100), ("CELEBA_IDENTITY", 100), ("AWA2", 100), ("CUB", 300)]
)
def test_faster_than_the_best_loop_and_near_the_gram_product(
    benchmark: ModuleType, name: str, times_faster: float
) -> None:
    labels = benchmark.make_labels(getattr(benchmark, name)).drop("split")
    loops = seconds_of_all_pairs(benchmark, labels)
    ours = least_seconds(lambda: label_statistics(labels))
    assert min(loops.values()) / ours > times_faster, (loops, ours)
    if "identity" not in labels.columns:  # a dense one-hot of it would not fit
        gram = least_seconds(lambda: benchmark.plain_gram(labels))
        assert ours / gram < 10
        assert least_seconds(lambda: benchmark.matrix(labels)) / gram < 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CELEBA", "CELEBA_IDENTITY", "AWA2", "CUB"])
def test_a_gigabyte_is_enough(benchmark: ModuleType, name: str) -> None:
    assert benchmark.peak_memory(getattr(benchmark, name)) < 1


@pytest.mark.slow
def test_a_thousand_tasks_and_a_long_file_stay_within_their_bounds(benchmark: ModuleType) -> None:
    seconds, _ = benchmark.from_parquet(100_000, 1_000)
    assert seconds < 60
    _, gigabytes = benchmark.from_parquet(4_000_000, 40)
    assert gigabytes < 3
