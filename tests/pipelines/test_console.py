"""What the command line shows while it works: bars on a terminal of any size, lines elsewhere."""

import os
import pty
import subprocess
import sys

import pytest

SCRIPT = """
from assets.chain import STAGES
from pipelines.console import Console
console = Console()
console.announce(STAGES[0], 2)
for task in ("a", "b"):
    console.hear("labels", task, "started", 0.0)
    console.hear("labels", task, "done", 1.0)
console.close()
"""


@pytest.mark.slow
def test_a_terminal_that_says_no_size_shows_a_bar_all_the_same() -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, "-c", SCRIPT], stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "labels" in shown
    assert "100%" in shown
    assert "2/2" in shown


@pytest.mark.slow
def test_elsewhere_there_is_a_line_a_stage() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.startswith("labels: 2 of 2 in ")
    assert done.stderr.count("\n") == 1
