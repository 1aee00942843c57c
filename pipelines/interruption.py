"""Whether Ctrl-C was pressed, whoever took it. What an interrupted run leaves behind is the reconciliation's matter."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interruptions() -> Iterator[Callable[[], None]]:
    """Notice every SIGINT within the block; the function that it gives raises KeyboardInterrupt once one has come.

    An exception raised by a signal's handler is not enough: Dagster only takes note of signals while it writes its
    events and forgets them when a run ends, and an exception in a finalizer goes nowhere. Python writes the number of
    every signal to a file descriptor whatever its handler does. Must be used in the main thread.
    """
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def check() -> None:
        try:
            received = os.read(reading, 4096)
        except BlockingIOError:
            return
        if signal.SIGINT in received:
            raise KeyboardInterrupt

    try:
        yield check
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
