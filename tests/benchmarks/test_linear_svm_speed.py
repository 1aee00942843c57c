"""The probes' speed against LinearSVC in the same process, with room: the figures themselves are linear_svm.py's."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "linear_svm_benchmark", Path(__file__).with_name("linear_svm.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("n", "d", "n_targets", "missing", "kind", "ratio"),
    [
        (8_000, 256, 40, 0.1, "digits", 40),
        (20_000, 512, 40, 0.0, "digits", 80),
        (20_000, 512, 40, 0.0, "latent", 50),
        (20_000, 512, 40, 0.0, "noise", 25),
    ],
)
def test_many_targets_at_once_beat_a_loop_of_linear_svc(
    benchmark, n, d, n_targets, missing, kind, ratio
) -> None:
    row = benchmark.measure(benchmark.Case(n, d, n_targets, missing, 2, kind))
    assert row.converged == n_targets
    assert row.worst_objective <= 1e-6
    assert row.same_predictions >= 0.999
    assert row.ratio >= ratio
