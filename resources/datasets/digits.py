"""scikit-learn's handwritten digits (1,797 real images of 8×8) with 28 fixed binary attributes of the digit.

The attributes are fixed here, before any result, in the manner of AwA2's class attributes: one-vs-rest, the
segments of a seven-segment display, and eleven facts of the digit.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from resources.datasets.base import Dataset, LabelTable, TaskInfo, build_label_table, select_tasks
from resources.datasets.splits import stratified_split

SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
"""The lit segments of a seven-segment display, by digit."""

FACTS: dict[str, tuple[str, frozenset[int]]] = {
    "even": ("The digit is even", frozenset({0, 2, 4, 6, 8})),
    "prime": ("The digit is prime", frozenset({2, 3, 5, 7})),
    "closed_loop": ("The digit is drawn with a closed loop", frozenset({0, 6, 8, 9})),
    "square": ("The digit is a square number", frozenset({0, 1, 4, 9})),
    "at_least_five": ("The digit is at least five", frozenset({5, 6, 7, 8, 9})),
    "triangular": ("The digit is a triangular number", frozenset({0, 1, 3, 6})),
    "fibonacci": ("The digit is a Fibonacci number", frozenset({0, 1, 2, 3, 5, 8})),
    "multiple_of_three": ("The digit is a multiple of three", frozenset({0, 3, 6, 9})),
    "power_of_two": ("The digit is a power of two", frozenset({1, 2, 4, 8})),
    "three_letter_name": ("The digit's English name has three letters", frozenset({1, 2, 6})),
    "curved": ("The digit is drawn with curved strokes", frozenset({0, 2, 3, 5, 6, 8, 9})),
}

ATTRIBUTES: dict[str, tuple[str, frozenset[int]]] = {
    **{f"is_{digit}": (f"The digit is {digit}", frozenset({digit})) for digit in range(10)},
    **{
        f"segment_{segment}": (
            f"A seven-segment display of the digit lights segment {segment}",
            frozenset(digit for digit, lit in enumerate(SEGMENTS) if segment in lit),
        )
        for segment in "abcdefg"
    },
    **FACTS,
}
"""The 28 binary tasks: description and the digits for which the label is 1, by name."""


class Digits(Dataset):
    """The digits study's data set; it ships with scikit-learn and needs no folder.

    Args:
        seed: Of the split.
        test_fraction: Share of each digit that is test.
        per_class: Take only the first so many images of each digit; None takes all.
        tasks: Take only these tasks; None takes all 29.
    """

    name = "digits"

    def __init__(
        self,
        *,
        seed: int = 0,
        test_fraction: float = 0.3,
        per_class: int | None = None,
        tasks: Sequence[str] | None = None,
    ) -> None:
        self._seed = seed
        self._test_fraction = test_fraction
        self._per_class = per_class
        self._tasks = select_tasks(("digit", *ATTRIBUTES), tasks, "digits")

    def task_names(self) -> tuple[str, ...]:
        """``digit``, then the 28 binary attributes, as far as they were asked for."""
        return self._tasks

    def source_only_tasks(self) -> tuple[str, ...]:
        """``digit``: a target with ten values does not belong in one correlation with binary ones."""
        return tuple(name for name in self._tasks if name == "digit")

    def read(self) -> LabelTable:
        """The labels, in scikit-learn's order of the images; ``image`` is null, the pixels are an array."""
        digit, rows = self._load()[1:]
        split = stratified_split((str(row) for row in rows), digit, self._test_fraction, self._seed)
        tasks = [self._task(name) for name in self._tasks]
        columns = {name: digit if name == "digit" else self._attribute(name)[digit] for name in self._tasks}
        return build_label_table("digits", images=None, split=split, columns=columns, tasks=tasks)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """The images, (n, 8, 8) uint8: the 17 grey levels 0..16 spread over 0..255."""
        images = self._load()[0]
        return np.rint(images * (255.0 / 16.0)).astype(np.uint8)

    def published_counts(self) -> dict[str, int]:
        """1,797 images of ten digits."""
        return {"images": 1797, "digit": 10}

    def _load(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Images, digits and original row numbers, after ``per_class``."""
        # Here, not above: importing scikit-learn takes most of two seconds, and the code location must load
        # fast.
        from sklearn.datasets import load_digits

        bunch = load_digits()
        digit = np.asarray(bunch.target, dtype=np.int64)
        rows = np.arange(len(digit))
        if self._per_class is not None:
            rows = np.sort(np.concatenate([np.flatnonzero(digit == k)[: self._per_class] for k in range(10)]))
        return np.asarray(bunch.images)[rows], digit[rows], rows

    @staticmethod
    def _attribute(name: str) -> npt.NDArray[np.int64]:
        return np.array([digit in ATTRIBUTES[name][1] for digit in range(10)], dtype=np.int64)

    @staticmethod
    def _task(name: str) -> TaskInfo:
        if name == "digit":
            return TaskInfo.of(name, "The digit itself", map(str, range(10)), source_only=True)
        return TaskInfo.of(name, ATTRIBUTES[name][0], ("no", "yes"))
