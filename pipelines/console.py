"""What the command line shows while it works: a progress bar a stage on a terminal, plain lines otherwise."""

import shutil
import sys
import time
from typing import Any

from tqdm import tqdm

from assets.stage import Stage


class Console:
    """Turns the stages' progress into bars or lines on standard error."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._stage = ""
        self._n = self._done = 0
        self._began = 0.0
        self._fancy = sys.stderr.isatty()

    def say(self, text: str) -> None:
        """One line."""
        self._end_stage()
        print(text, file=sys.stderr, flush=True)

    def announce(self, stage: Stage, outputs: int) -> None:
        """A stage begins."""
        self._end_stage()
        self._stage, self._n, self._done, self._began = stage.name, outputs, 0, time.monotonic()
        if self._fancy:
            # Some terminals say that they are 0 by 0, and tqdm would then show nothing.
            width = min(shutil.get_terminal_size().columns, 110)
            self._bar = tqdm(total=outputs, desc=f"{stage.name:<22}", file=sys.stderr, ncols=width, nrows=20)

    def hear(self, stage: str, partition: str | None, event: str, seconds: float) -> None:
        """An output of the stage began, ended or failed."""
        del seconds
        if event == "started":
            if self._bar is not None:
                self._bar.set_postfix_str(partition or "", refresh=True)
            return
        self._done += 1
        if self._bar is not None:
            self._bar.update(1)
        if event == "failed":
            self._write(f"{stage}{f' [{partition}]' if partition else ''}: failed")

    def close(self) -> None:
        """The last stage has ended."""
        self._end_stage()

    def _write(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def _end_stage(self) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str("")
            self._bar.close()
            self._bar = None
        elif self._stage:
            took = time.monotonic() - self._began
            print(f"{self._stage}: {self._done} of {self._n} in {took:.1f} s", file=sys.stderr, flush=True)
        self._stage = ""
