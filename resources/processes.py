"""Which process something belongs to, and whether it still lives; so that what a killed process left can be told."""

import os
import socket
from pathlib import Path


def this_process() -> str:
    """A name for this process, `host:pid:start`, that no later process of the same number has."""
    return f"{socket.gethostname()}:{os.getpid()}:{_state_and_start(os.getpid())[1]}"


def lives(process: str) -> bool:
    """Whether the process of that name lives; another machine's is not ours to judge and is taken to."""
    host, _, rest = process.partition(":")
    pid, _, start = rest.partition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return True
    now = _state_and_start(int(pid))[1]
    return pid_lives(int(pid)) and (not start or not now or start == now)


def pid_lives(pid: int) -> bool:
    """Whether a process of this number runs; a killed one that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return _state_and_start(pid)[0] not in {"Z", "X"}


def _state_and_start(pid: int) -> tuple[str, str]:
    """The state's letter and the start in clock ticks after boot, as Linux tells them; empty elsewhere."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError, UnicodeDecodeError):
        return "", ""
