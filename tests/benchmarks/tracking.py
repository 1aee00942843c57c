"""What tracking by MLflow adds to a run: the time spent inside it, import and first touch included, against the rest.

    python tests/benchmarks/tracking.py [STUDY] [--sources A,B]

runs a study from nothing in a fresh home folder (default: digits) and exits with 1 if the share is 5 % or more. The
arguments are those of `transferability run`.
"""

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

LIMIT = 0.05
METHODS = {
    "Tracking": ("_open", "failed", "end_orphans"),
    "TrackedRun": ("params", "metrics", "tags", "artifact", "keep", "end"),
}


class Stopwatch:
    """Adds up the seconds inside some methods; what they call of each other counts once."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._inside = False

    def wrap(self, owner: type, name: str) -> None:
        """Time a method of a class from now on."""
        method: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return method(*arguments, **named)
            self._inside, began = True, time.perf_counter()
            try:
                return method(*arguments, **named)
            finally:
                self._inside = False
                self.seconds[name] += time.perf_counter() - began
                self.calls[name] += 1

        setattr(owner, name, timed)


def main(arguments: list[str]) -> int:
    """Run the study and print the share; 1 if it is too large."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as home:
        os.environ["TRANSFERABILITY_HOME"] = home
        from pipelines.cli import main as run
        from resources import tracking

        for owner, names in METHODS.items():
            for name in names:
                watch.wrap(getattr(tracking, owner), name)
        began = time.perf_counter()
        code = run(["run", *arguments])
        whole = time.perf_counter() - began
    inside = sum(watch.seconds.values())
    print(f"\n{'inside MLflow':<16}{'calls':>8}{'seconds':>10}")
    for name, seconds in watch.seconds.most_common():
        print(f"{name:<16}{watch.calls[name]:>8}{seconds:>10.2f}")
    share = inside / (whole - inside)
    print(f"{whole:.1f} s, {inside:.1f} s of it tracking: adds {share:.1%} (limit {LIMIT:.0%})")
    return code or int(share >= LIMIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["digits"]))
