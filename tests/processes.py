"""Processes that tests start to have them gone, and what a process held at most."""

import resource
import subprocess
import sys
from pathlib import Path


def dead_process() -> str:
    """The name of a process of this machine that has ended."""
    script = "from resources.processes import this_process; print(this_process())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def own_peak_gb() -> float:
    """Peak resident memory of this program, GB.

    `getrusage` would also count what the process held that started this one: Linux carries that over.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
