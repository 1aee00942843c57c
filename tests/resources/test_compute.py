"""Device, precision and threads; and that asking for them does not load torch before it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from resources.compute import (
    choose_device,
    choose_double_device,
    choose_precision,
    describe_device,
    free_memory,
    processor_count,
    processor_multiplies_bfloat16,
    use_threads,
)
from resources.errors import ComputeError


def test_importing_the_module_loads_no_torch():
    code = "import sys, resources.compute; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode
        == 0
    )


def test_the_device_wished_for_or_the_best_there_is():
    import torch

    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device() == best
    assert choose_device("cpu") == "cpu"
    with pytest.raises(ComputeError, match="unknown device 'tpu'"):
        choose_device("tpu")
    with pytest.raises(ComputeError, match="device 'cuda:99' is not available"):
        choose_device("cuda:99")


def test_what_needs_float64_stays_off_apples_gpu(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device() == "mps"
    assert choose_double_device() == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_double_device() == "cuda"


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 fma sha_ni\n", False),
        ("flags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags\t\t: avx512f avx512bw\n", False),
        ("flags\t\t: amx_tile amx_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("model name\t: avx512_bf16 in a name\n", False),
    ],
)
def test_bfloat16_is_told_by_the_processors_flags(info, expected, tmp_path):
    (tmp_path / "cpuinfo").write_text(info)
    assert processor_multiplies_bfloat16(tmp_path / "cpuinfo") is expected
    assert processor_multiplies_bfloat16(tmp_path / "absent") is False


def test_precision_follows_the_wish_then_the_hardware():
    assert choose_precision("cpu", "bfloat16") == "bfloat16"
    assert choose_precision("cuda", "float32") == "float32"
    assert choose_precision("mps") == "float32"
    assert choose_precision("cpu") == ("bfloat16" if processor_multiplies_bfloat16() else "float32")


@pytest.mark.parametrize(
    ("quota", "bound"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("", None)]
)
def test_processors_are_bounded_by_the_containers_quota(quota, bound, tmp_path):
    (tmp_path / "cpu.max").write_text(quota)
    unbounded = processor_count(tmp_path / "absent")
    assert processor_count(tmp_path / "cpu.max") == (bound or unbounded)


def test_threads_are_set_and_never_raised_unasked():
    import torch

    before = torch.get_num_threads()
    try:
        assert use_threads(1) == torch.get_num_threads() == 1
        assert use_threads() == 1
        with pytest.raises(ComputeError, match="at least 1, not 0"):
            use_threads(0)
    finally:
        torch.set_num_threads(before)


def test_the_device_is_described_and_has_memory():
    assert describe_device("cpu").startswith("cpu (")
    assert free_memory("cpu") > 10_000_000
