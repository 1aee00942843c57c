"""Which device, number format and how many threads a stage computes with; it computes nothing itself.

Importing this module imports neither torch nor anything that does: the code location must load without it.
"""

import os
import platform
from pathlib import Path
from typing import Literal

from resources.errors import ComputeError

Precision = Literal["float32", "bfloat16"]

_CPU_INFO = Path("/proc/cpuinfo")
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 AVX-512, x86 AMX, Arm


def choose_device(wish: str = "auto") -> str:
    """Name the torch device to compute on.

    Args:
        wish: `auto` (CUDA, else Apple's MPS, else CPU), `cpu`, `mps`, `cuda` or `cuda:1`.

    Returns:
        A name that `torch.device` takes.

    Raises:
        ComputeError: The device is unknown or not there.
    """
    import torch

    if wish == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = wish.partition(":")
    there = {
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
        "cuda": torch.cuda.is_available() and (not index or int(index or 0) < torch.cuda.device_count()),
    }
    if kind not in there:
        raise ComputeError(f"unknown device '{wish}': use auto, cpu, mps or cuda")
    if not there[kind]:
        raise ComputeError(f"device '{wish}' is not available here: use auto or cpu")
    return wish


def choose_double_device() -> str:
    """Name the torch device for what needs float64, such as probes: CUDA, else the CPU, since Apple's MPS has none."""
    device = choose_device()
    return "cpu" if device == "mps" else device


def choose_precision(device: str, wish: Literal["auto", "float32", "bfloat16"] = "auto") -> Precision:
    """Choose the number format of the training's matrix products (weights and sums stay float32).

    `auto` takes bfloat16 only where the hardware multiplies it: CUDA devices that support it and processors
    with AVX-512 BF16, AMX or Arm BF16, where it is the faster one (ResNet-18 on two cores of an AMD EPYC with
    AVX-512 BF16: 1.2 times at 16 px to 2.2 times at 128 px). Elsewhere it is emulated and slower. The
    choice hangs on the hardware and not on a timing, so that the same machine gives the same weights each
    time.
    """
    if wish != "auto":
        return wish
    if device.startswith("cuda"):
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if device == "cpu" and processor_multiplies_bfloat16() else "float32"


def processor_multiplies_bfloat16(cpu_info: Path = _CPU_INFO) -> bool:
    """Whether the processor has bfloat16 instructions, by the flags that Linux lists; else False."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return False
    flags = {
        flag
        for line in lines
        if line.partition(":")[0].strip() in {"flags", "Features"}
        for flag in line.partition(":")[2].split()
    }
    return bool(flags & _BFLOAT16_FLAGS)


def processor_count(cpu_quota: Path = _CPU_QUOTA) -> int:
    """Processors that this process may use: its affinity, bounded by the container's quota (at least 1)."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cpu_quota.read_text().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, round(int(quota) / int(period))))


def use_threads(count: int | None = None) -> int:
    """Set torch's number of threads in this process and return it; None takes `processor_count()` at most.

    Args:
        count: Threads, at least 1. None never raises what is set already (torch counts physical cores).

    Raises:
        ComputeError: `count` is below 1.
    """
    import torch

    if count is not None and count < 1:
        raise ComputeError(f"the number of threads must be at least 1, not {count}")
    chosen = count or min(torch.get_num_threads(), processor_count())
    if chosen != torch.get_num_threads():
        torch.set_num_threads(chosen)
    return chosen


def describe_device(device: str) -> str:
    """Name the hardware of a device for the record, for example `cuda (NVIDIA H100)` or `cpu (x86_64)`."""
    if device.startswith("cuda"):
        import torch

        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.machine()})"


def free_memory(device: str) -> int:
    """Bytes that are free on `device` now (main memory for the CPU and for Apple's shared memory)."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return _available_main_memory()
    except (OSError, ValueError):
        return 0


def _available_main_memory() -> int:
    """Linux's MemAvailable (free memory and what it would take from its caches), else half of the memory."""
    information = Path("/proc/meminfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
