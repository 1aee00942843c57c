"""Whether a named process lives: numbers are used again, and other machines' are not ours to judge."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resources.processes import lives, pid_lives, this_process


def test_this_process_lives() -> None:
    assert lives(this_process())
    assert pid_lives(os.getpid())


def test_a_process_that_ended_does_not() -> None:
    script = "from resources.processes import this_process; print(this_process())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not lives(done.stdout.strip())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells when a process began")
def test_an_earlier_process_of_the_same_number_does_not() -> None:
    host, pid, start = this_process().split(":")
    assert not lives(f"{host}:{pid}:{int(start) - 1}")


def test_another_machines_process_and_a_name_of_another_kind_are_left_alone() -> None:
    assert lives(f"elsewhere.example:{2**22 + 1}:1")
    assert lives("")
    assert lives("no process at all")


def test_a_number_beyond_all_processes_does_not_live() -> None:
    assert not pid_lives(10**30)
