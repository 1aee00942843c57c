"""The promised speed of label statistics, asserted with room, as ratios of times in one process."""

import importlib.util
import time
import warnings
from pathlib import Path
from types import ModuleType

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


@pytest.mark.slow
@pytest.mark.parametrize(("name", "times_faster"), [("CELEBA", 60), ("AWA2", 60), ("CUB", 150)])
def test_faster_than_the_best_loop_and_near_the_gram_product(
    benchmark: ModuleType, name: str, times_faster: float
) -> None:
    labels = benchmark.make_labels(getattr(benchmark, name)).drop("split")
    names = labels.columns
    pairs = [(z, y) for z in names[:6] for y in names[-6:]]
    every = len(names) * (len(names) - 1)
    loops = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for way, work in benchmark.pair_loops(labels, pairs).items():
            start = time.perf_counter()
            work()
            loops[way] = (time.perf_counter() - start) * every / len(pairs)
    ours = benchmark.seconds(lambda: label_statistics(labels))
    assert min(loops.values()) / ours > times_faster, loops
    assert ours / benchmark.seconds(lambda: benchmark.plain_gram(labels)) < 30
    assert (
        benchmark.seconds(lambda: benchmark.matrix(labels))
        / benchmark.seconds(lambda: benchmark.plain_gram(labels))
        < 20
    )


@pytest.mark.slow
def test_a_thousand_tasks_and_a_long_file_stay_within_their_bounds(benchmark: ModuleType) -> None:
    seconds, _ = benchmark.from_parquet(100_000, 1_000)
    assert seconds < 60
    _, gigabytes = benchmark.from_parquet(4_000_000, 40)
    assert gigabytes < 3
