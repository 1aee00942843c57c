"""`transferability` as a user runs it, in a process of its own; nothing of the caller's own home is seen there."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Cli = Callable[..., subprocess.CompletedProcess[str]]


def command_line(home: Path, *, timeout: float = 280, threads: int = 1, **variables: str) -> Cli:
    """The command line over a home folder.

    Args:
        home: the home folder.
        timeout: seconds that a command may take.
        threads: how many it computes with.
        variables: of its environment.
    """
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("TRANSFERAB", "DAGSTER_H"))
    }
    environment |= {"TRANSFERABILITY_HOME": str(home), "OMP_NUM_THREADS": str(threads), **variables}

    def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *map(str, arguments)],
            env=environment, capture_output=True, text=True, check=False, timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return cli
