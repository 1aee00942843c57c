"""Processes that tests start to have them gone."""

import subprocess
import sys


def dead_process() -> str:
    """The name of a process of this machine that has ended."""
    script = "from resources.processes import this_process; print(this_process())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()
